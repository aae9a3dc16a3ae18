"""The fused block: stock autograd's numbers in float64, first and second derivatives, in every awkward case."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from benchmarks.oracles import make_network, make_task
from benchmarks.rounding import BOUND, worst_error
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks import rounding
from rotogbml.encoders import create_encoder, fused, maps
from rotogbml.encoders.conv4 import Block
from rotogbml.encoders.fused import fits, norm_pool_relu
from rotogbml.encoders.norm import EPS, NormPass
from rotogbml.learners import create_learner
from rotogbml.native import available

Map = Callable[[Tensor, Tensor, Tensor], Tensor]
ALWAYS = 0
NEVER = 1 << 62


WAYS = {"compiled": ALWAYS, "large": ALWAYS, "small": NEVER}
"""Of doing the passes; the last two are torch's."""


def take(way: str, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fused, "_LARGE", WAYS[way])
    patch.setattr(fused, "_COMPILED", 0)
    if way != "compiled":
        patch.setattr("rotogbml.native.passes.library", lambda: None)
    elif not available():
        pytest.skip("no C compiler here")


@pytest.fixture(params=WAYS)
def every_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do the passes in C, then by torch, taking maps of every size as large ones, then as small; none is too tiny."""
    take(request.param, monkeypatch)
    monkeypatch.setattr(fused, "_TINY", 0)


def stock(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.relu(F.max_pool2d(F.batch_norm(y, None, None, weight, bias, training=True), 2))


def ours(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return norm_pool_relu(y, weight, bias, len(y))


def draw(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randn(shape, generator=g, dtype=torch.float64) * 2 + 1
    weight, bias = torch.randn(2, shape[1], generator=g, dtype=torch.float64)
    return y.contiguous(memory_format=torch.channels_last), weight, bias


def with_none_beside(f: Map) -> Callable[..., Tensor]:
    return lambda _, *given: f(*given)


def everything(f: Map, *given: Tensor) -> list[Tensor]:
    return rounding.everything(with_none_beside(f), [None, *given])


def assert_same(f: Map, reference: Map, *given: Tensor, images: int | None = None) -> None:
    ways = with_none_beside(f), with_none_beside(reference)
    error, at = worst_error(*ways, [None, *given], images=images, pool=True)
    assert error <= BOUND, at


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize(
    "shape", [(4, 5, 8, 8), (3, 5, 9, 7), (1, 3, 6, 6), (1, 3, 2, 2), (2, 3, 3, 5), (5, 1, 4, 4), (20, 64, 22, 22)]
)
def test_numbers_and_both_derivatives_are_stocks(shape: tuple[int, ...]) -> None:
    """Odd sizes, one image, one channel, outputs of one pixel, more images than a group takes; γ of both signs."""
    y, weight, bias = draw(shape)
    assert_same(ours, stock, y, weight, bias)
    assert_same(ours, stock, y.contiguous(), weight, bias)  # the other layout
    assert_same(ours, stock, y, -weight.abs(), bias)
    assert_same(ours, stock, y, weight.abs(), bias)


@pytest.mark.usefixtures("every_way")
def test_ties_go_to_the_first_as_in_stock() -> None:
    y, weight, bias = draw((3, 6, 8, 7))
    y, weight[0] = y.mul(0.7).round(), 0.0  # γ = 0 ties all
    windows = y[:, :, :, :6].unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert (windows == windows.amax(-1, keepdim=True)).sum(-1).max() == 4
    assert_same(ours, stock, y, weight, bias.abs() + 1)
    assert_same(ours, stock, y, weight, bias)


@pytest.mark.usefixtures("every_way")
def test_dead_channels() -> None:
    y, weight, bias = draw((3, 4, 6, 6))
    y[:, 0], y[:, 1] = 0.0, 2.0  # no variance, with and without a mean
    bias[:2] = torch.tensor([1.0, -1.0])
    assert_same(ours, stock, y, weight, bias)
    y[:, 2:], bias[:] = 0.0, -1.0  # nothing passes ReLU at all
    z, *rest = everything(ours, y, weight, bias)
    assert not z.any()
    assert all(not t.any() for t in rest[:3])


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 9), st.integers(2, 9)),
    signs=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=5, max_size=5),
    tied=st.booleans(),
    way=st.sampled_from(list(WAYS)),
    seed=st.integers(0, 1000),
)
# y is 4, −1, 4, 4: the winner's place is affine in y, and x̂ leaves 1e-6 of the gradient there (``rounding.py``)
@example(shape=(1, 1, 2, 2), signs=[-1.0] * 5, tied=True, way="large", seed=285)
@example(shape=(1, 1, 2, 2), signs=[0.0] * 5, tied=True, way="small", seed=109)
def test_any_shape_and_signs(shape: tuple[int, ...], signs: list[float], tied: bool, way: str, seed: int) -> None:
    y, weight, bias = draw(shape, seed)
    weight = (weight.abs() + 0.1) * torch.tensor(signs[: shape[1]], dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        take(way, patch)
        assert_same(ours, stock, y.round() if tied else y, weight, bias)


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("images", [1, 2, 3])
def test_finite_differences(images: int) -> None:
    """Also with statistics of the first images alone."""
    y, weight, bias = draw((3, 2, 4, 3), seed=3)
    inputs = [t.requires_grad_() for t in (y, weight, bias + 1)]
    assert torch.autograd.gradcheck(lambda *t: norm_pool_relu(*t, images), inputs)
    assert torch.autograd.gradgradcheck(lambda *t: norm_pool_relu(*t, images), inputs)


@pytest.mark.parametrize("way", ["compiled", "large"])
def test_statistics_of_the_first_images_across_groups(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(way, monkeypatch)

    def primitives(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        variance, mean = torch.var_mean(y[:3], (0, 2, 3), correction=0, keepdim=True)
        affine = (y - mean) * (variance + EPS).rsqrt() * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)
        return F.relu(F.max_pool2d(affine, 2))

    for images_in_a_group in (1, 2, 5, 8):
        monkeypatch.setattr(maps, "_CACHE_BYTES", images_in_a_group * 8 * 4 * 6 * 5)
        assert_same(lambda *t: norm_pool_relu(*t, 3), primitives, *draw((7, 4, 6, 5)), images=3)


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("at", range(3))
def test_a_third_derivative_raises_whatever_it_is_asked_for(at: int) -> None:
    """Half of it would be wrong numbers without a word."""
    inputs = [t.requires_grad_() for t in draw((2, 3, 4, 4))]
    back = torch.ones(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    first = torch.autograd.grad((ours(*inputs) * back).sum(), inputs, create_graph=True)
    wanted = [inputs[0], inputs[1], back]
    second = torch.autograd.grad(sum(t.sin().sum() for t in first), wanted, create_graph=True)
    for t in second:
        with pytest.raises(RuntimeError, match="no third derivative: set ROTOGBML_FUSED=0"):
            torch.autograd.grad(t.sin().sum(), wanted[at], retain_graph=True)


def test_small_maps_are_stocks_to_the_bit_but_for_the_second_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    take("small", monkeypatch)
    given = [t.float() for t in draw((5, 32, 16, 16))]
    for a, b in zip(everything(ours, *given)[:4], everything(stock, *given)[:4], strict=True):
        assert torch.equal(a, b)


def test_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    y, weight = torch.zeros(4, 16, 16, 16), torch.ones(16)
    assert fits(y, weight)
    assert fits(y.double(), weight.double())
    assert not fits(y[:3], weight)  # tiny
    assert not fits(y.double(), weight)
    assert not fits(y.bfloat16(), weight.bfloat16())
    assert not fits(y.to("meta"), weight)
    assert not fits(torch.zeros(1 << 14, 16, 1, 1), weight)
    inside: list[bool] = []
    torch.vmap(lambda x: (inside.append(fits(x, weight)), x)[1])(torch.zeros(2, 4, 16, 16, 16))
    assert inside == [False]
    monkeypatch.setenv("ROTOGBML_FUSED", "0")
    assert not fits(y, weight)


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("policy", ["batch", "support", "per-step"])
def test_a_block_takes_it_unless_it_is_switched_off(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block = Block(3, 4, policy, sets=2).double()
    with torch.no_grad():
        for p in (block.weight, block.bias):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    x = draw((5, 3, 7, 9))[0]
    at = NormPass(step=1, given=2)
    z = block(x, at)
    assert "_NormPoolRelu" in type(z.grad_fn).__name__
    monkeypatch.setenv("ROTOGBML_FUSED", "0")
    expected = block(x, at)
    assert "_NormPoolRelu" not in type(expected.grad_fn).__name__
    torch.testing.assert_close(z, expected, rtol=1e-12, atol=1e-12)
    monkeypatch.delenv("ROTOGBML_FUSED")
    if policy != "batch":
        with pytest.raises(ValueError, match="given=6 for 5 images"):
            block(x, NormPass(given=6))
        with pytest.raises(ValueError, match="step=-1"):
            block(x, NormPass(step=-1))


@pytest.mark.parametrize("policy", ["running", "group", "layer", "none"])
def test_other_policies_stay_stock(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_TINY", 0)
    z = Block(3, 4, policy)(torch.ones(2, 3, 4, 4))
    assert "_NormPoolRelu" not in type(z.grad_fn).__name__


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("norm", ["batch", "support", "per-step"])
@pytest.mark.parametrize("options", [{}, {"first_order": True}, {"checkpoint": True}], ids=str)
def test_meta_gradients_are_those_without_it(
    norm: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, episode = make_network("linear", norm, 3), make_task()
    learner = create_learner("maml", network, inner_lr=0.1, inner_steps=3, **options)
    psi, calls = network.psi(), []
    honest = fused._NormPoolRelu.apply
    monkeypatch.setattr(fused._NormPoolRelu, "apply", lambda *given: (calls.append(None), honest(*given))[1])

    def once() -> list[Tensor]:
        outcome = learner.meta_gradient(psi, learner.prepare(psi, episode))
        return [outcome.loss, *outcome.theta_gradient, *outcome.phi_gradient, outcome.feature_gradient]

    found = once()
    assert len(calls) >= 16  # four blocks, three steps and the queries
    monkeypatch.setenv("ROTOGBML_FUSED", "0")
    calls.clear()
    for a, b in zip(found, once(), strict=True):
        assert (a - b).abs().max() <= 1e-10 * b.abs().max()
    assert not calls


@pytest.mark.usefixtures("every_way")
def test_the_drop_sees_the_maps_and_what_it_drops_sends_nothing_back() -> None:
    encoder = create_encoder("conv4", size=33, width=4)
    x = draw((4, 3, 33, 33))[0].float()
    seen: list[tuple[Tensor, Tensor]] = []

    def drop(layer: int, x: Tensor, z: Tensor) -> Tensor:
        seen.append((x, z))
        return z * (torch.arange(4) != layer).view(-1, 1, 1)

    z = encoder(x, drop)
    assert [tuple(z.shape) for _, z in seen] == [(4, 4, s, s) for s in (16, 8, 4, 2)]
    assert all(z.is_contiguous(memory_format=torch.channels_last) for _, z in seen)
    for (before, z_before), (after, _) in itertools.pairwise(seen):
        assert before.shape[2] > after.shape[2]
        assert z_before.shape == after.shape
    z.square().sum().backward()
    for layer, block in enumerate(encoder.blocks):
        gradient = block.conv.weight.grad.flatten(1).abs().amax(1)
        assert gradient[layer] == 0
        assert gradient.sum() > 0
