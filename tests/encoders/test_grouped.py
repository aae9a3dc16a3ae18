"""Group norm's fused block: stock autograd's numbers in float64, first and second derivatives, in awkward cases."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from benchmarks.rounding import everything
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rotogbml.encoders import create_encoder, grouped
from rotogbml.encoders.conv4 import Block
from rotogbml.encoders.grouped import group_pool_relu
from rotogbml.encoders.norm import EPS
from rotogbml.native import available

pytestmark = pytest.mark.skipif(not available(), reason="no C compiler here")


def stock(y: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    return F.relu(F.max_pool2d(F.group_norm(y, groups, weight, bias, EPS), 2))


def draw(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randn(shape, generator=g, dtype=torch.float64) * 2 + 1
    weight, bias = torch.randn(2, shape[1], generator=g, dtype=torch.float64)
    return y.contiguous(memory_format=torch.channels_last), weight, bias


def assert_same(groups: int, y: Tensor, weight: Tensor, bias: Tensor) -> None:
    found = everything(lambda *t: group_pool_relu(*t, groups), [y, weight, bias])
    expected = everything(lambda *t: stock(*t, groups), [y, weight, bias])
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        size = 1.0 + b.abs().max().item()
        assert (a - b).abs().max().item() <= 1e-11 * size, i


@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((4, 8, 8, 8), 4),
        ((3, 6, 9, 7), 2),
        ((3, 6, 9, 7), 1),  # layer norm
        ((3, 6, 9, 7), 6),  # a group a channel
        ((1, 4, 6, 6), 2),
        ((2, 4, 2, 2), 2),
        ((20, 64, 22, 22), 8),
        ((3, 70, 5, 4), 7),
    ],
)
def test_numbers_and_both_derivatives_are_stocks(shape: tuple[int, ...], groups: int) -> None:
    """Odd sizes, one image, outputs of one pixel, many images; γ of both signs."""
    y, weight, bias = draw(shape)
    assert_same(groups, y, weight, bias)
    assert_same(groups, y.contiguous(), weight, bias)  # the other layout
    assert_same(groups, y, -weight.abs(), bias)
    assert_same(groups, y, weight.abs(), bias)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(2, 9), st.integers(2, 9)),
    offset=st.sampled_from([0.0, 30.0]),
    seed=st.integers(0, 1000),
)
def test_any_shape(shape: tuple[int, int, int, int, int], offset: float, seed: int) -> None:
    b, groups, n, h, w = shape
    y, weight, bias = draw((b, groups * n, h, w), seed)
    assert_same(groups, y + offset * torch.arange(b, dtype=torch.float64)[:, None, None, None], weight, bias)


def test_ties_go_to_the_first_as_in_stock() -> None:
    y, weight, bias = draw((3, 6, 8, 7))
    y, weight[0] = y.mul(0.7).round(), 0.0  # γ = 0 ties all
    assert_same(3, y, weight, bias.abs() + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blank_images(dtype: torch.dtype) -> None:
    """An image of one value is β, whatever that value is and whatever stands beside it."""
    y, weight, bias = (t.to(dtype) for t in draw((4, 8, 6, 6)))
    y[1], y[2] = 0.0, 37.7
    z = group_pool_relu(y, weight, bias, 4)
    for image in (1, 2):
        torch.testing.assert_close(z[image], F.relu(bias)[:, None, None].expand(8, 3, 3), rtol=0, atol=2e-3)
    torch.testing.assert_close(z[::3], stock(y, weight, bias, 4)[::3], rtol=1e-4, atol=1e-5)


def test_images_do_not_touch_each_other() -> None:
    y, weight, bias = draw((5, 8, 9, 8))
    whole = group_pool_relu(y, weight, bias, 4)
    for i in range(5):
        torch.testing.assert_close(whole[i : i + 1], group_pool_relu(y[i : i + 1], weight, bias, 4), rtol=1e-13, atol=0)


def test_finite_differences() -> None:
    y, weight, bias = draw((2, 4, 4, 3), seed=3)
    inputs = [t.requires_grad_() for t in (y, weight, bias + 1)]
    assert torch.autograd.gradcheck(lambda *t: group_pool_relu(*t, 2), inputs)
    assert torch.autograd.gradgradcheck(lambda *t: group_pool_relu(*t, 2), inputs)


def test_a_third_derivative_raises_and_does_not_pass_by() -> None:
    y, weight, bias = draw((2, 4, 4, 4))
    y.requires_grad_()
    first = torch.autograd.grad(group_pool_relu(y, weight, bias, 2).square().sum(), y, create_graph=True)[0]
    second = torch.autograd.grad(first.square().sum(), y, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="no third derivative"):
        torch.autograd.grad(second.sum(), y)


@pytest.mark.parametrize(("policy", "groups"), [("group", 8), ("layer", 1)])
def test_blocks_and_small_stems_take_it(policy: str, groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(grouped, "group_pool_relu", lambda *t: called.append(t[3]) or group_pool_relu(*t))
    monkeypatch.setattr(grouped, "_COMPILED", 1 << 14)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    Block(3, 16, policy)(x)
    create_encoder("resnet10-small", size=32, width=16, norm=policy)(x)
    assert called == [groups, groups]
    monkeypatch.setattr(grouped, "_COMPILED", 1 << 30)  # a smaller map is stock's
    Block(3, 16, policy)(x)
    monkeypatch.setattr(grouped, "_COMPILED", 1 << 14)
    monkeypatch.setenv("ROTOGBML_FUSED", "0")
    Block(3, 16, policy)(x)
    assert called == [groups, groups]
