"""The fused residual block: stock autograd's numbers in float64, both derivatives, in every awkward case."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from benchmarks.rounding import BOUND, Given, worst_error
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks import rounding
from rotogbml.encoders import create_encoder, fused, maps, residual
from rotogbml.encoders.norm import EPS, NormPass
from rotogbml.encoders.residual import _NormSumRelu
from rotogbml.encoders.resnet import SimpleBlock
from rotogbml.episodes import Episode, Examples
from rotogbml.learners import Network, create_head, create_learner

ALWAYS = 0
NEVER = 1 << 62
SHAPES = [(1, False), (1, True), (2, False), (2, True)]
"""How many maps are normed, and whether one is added as it is."""
Sum = Callable[..., Tensor]


@pytest.fixture(params=[ALWAYS, NEVER], ids=["large", "small"])
def both_sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take maps of every size as large ones, then as small ones; none is too tiny."""
    for module in (fused, residual):
        monkeypatch.setattr(module, "_LARGE", request.param)
    monkeypatch.setattr(fused, "_TINY", 0)


def stock(slope: float, plain: Tensor | None, *terms: Tensor) -> Tensor:
    """Return what the encoders compute where nothing is fused; terms are y₁, γ₁, β₁, y₂, …"""
    return act(
        slope,
        plain,
        [
            F.batch_norm(y, None, None, weight, bias, training=True)
            for y, weight, bias in zip(terms[::3], terms[1::3], terms[2::3], strict=True)
        ],
    )


def primitives(images: int) -> Sum:
    """Return the sum with statistics of the first images, from primitives."""

    def of(slope: float, plain: Tensor | None, *terms: Tensor) -> Tensor:
        normed = []
        for y, weight, bias in zip(terms[::3], terms[1::3], terms[2::3], strict=True):
            variance, mean = torch.var_mean(y[:images], (0, 2, 3), correction=0, keepdim=True)
            x = (y - mean) * (variance + EPS).rsqrt()
            normed.append(x * weight.view(-1, 1, 1) + bias.view(-1, 1, 1))
        return act(slope, plain, normed)

    return of


def act(slope: float, plain: Tensor | None, normed: Sequence[Tensor]) -> Tensor:
    p = normed[0]
    for other in normed[1:] if plain is None else [*normed[1:], plain]:
        p = p + other
    return F.relu(p) if slope == 0 else p if slope == 1 else F.leaky_relu(p, slope)


def ours(slope: float, plain: Tensor | None, *terms: Tensor, images: int | None = None) -> Tensor:
    return _NormSumRelu.apply(len(terms[0]) if images is None else images, slope, plain, *terms)


def draw(shape: tuple[int, ...], maps: int, plain: bool, seed: int = 0) -> list[Tensor | None]:
    """Return x or None, then y, γ, β of each map."""
    g = torch.Generator().manual_seed(seed)

    def one() -> Tensor:
        y = torch.randn(shape, generator=g, dtype=torch.float64) * 2 + 1
        return y.contiguous(memory_format=torch.channels_last)

    terms = [t for _ in range(maps) for t in (one(), *torch.randn(2, shape[1], generator=g, dtype=torch.float64))]
    return [one() if plain else None, *terms]


def everything(f: Sum, slope: float, tensors: Given) -> list[Tensor]:
    return rounding.everything(partial(f, slope), tensors)


def assert_same(f: Sum, reference: Sum, slope: float, tensors: Given, images: int | None = None) -> None:
    error, at = worst_error(partial(f, slope), partial(reference, slope), tensors, slope, images)
    assert error <= BOUND, at


@pytest.mark.usefixtures("both_sizes")
@pytest.mark.parametrize(("maps", "plain"), SHAPES)
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(4, 5, 8, 8), (1, 3, 5, 7), (1, 3, 2, 2), (5, 1, 3, 4), (20, 64, 22, 22)])
def test_numbers_and_both_derivatives_are_stocks(shape: tuple[int, ...], slope: float, maps: int, plain: bool) -> None:
    """Odd sizes, one image, one channel, more images than a group takes; γ of both signs; either layout."""
    tensors = draw(shape, maps, plain)
    assert_same(ours, stock, slope, tensors)
    assert_same(ours, stock, slope, [t if t is None else t.contiguous() for t in tensors])


@pytest.mark.usefixtures("both_sizes")
@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_ties_at_noughts_of_relu_and_dead_channels(slope: float) -> None:
    x, y, weight, bias = draw((3, 4, 6, 6), 1, True)
    assert x is not None
    assert y is not None
    assert weight is not None
    assert bias is not None
    y[:, 0], y[:, 1] = 0.0, 2.0  # no variance, with and without a mean
    bias[:3], weight[2] = 0.0, 0.0  # p is nought wherever x is
    x[:, :3] = x[:, :3].round()
    p = x[:, :3]
    assert 0 < (p == 0).sum() < p.numel()
    assert_same(ours, stock, slope, [x, y, weight, bias])
    assert_same(ours, stock, slope, [None, y, weight, bias])
    bias[:] = -9.0
    x[:] = 0.0
    z, *rest = everything(ours, 0.0, [x, y, weight, bias])  # nothing passes
    assert not z.any()
    assert not any(t.any() for t in rest[:4])


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 7), st.integers(2, 7)),
    signs=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=5, max_size=5),
    kind=st.sampled_from(SHAPES),
    slope=st.sampled_from([0.0, 0.1, 1.0]),
    large=st.booleans(),
    seed=st.integers(0, 1000),
)
# seed 1 draws y = 2 g + 1 of the g that comes back: G is affine in y, and x̂ leaves 1e-5 of it (``rounding.py``)
@example(shape=(1, 1, 2, 2), signs=[0.0, -1.0, -1.0, -1.0, -1.0], kind=(1, False), slope=0.1, large=False, seed=1)
@example(shape=(1, 1, 2, 2), signs=[0.0, -1.0, -1.0, -1.0, -1.0], kind=(1, False), slope=0.1, large=True, seed=1)
@example(shape=(1, 1, 2, 2), signs=[1.0, 1.0, 1.0, 1.0, 1.0], kind=(1, False), slope=1.0, large=True, seed=1)
def test_any_shape_and_signs(
    shape: tuple[int, ...], signs: list[float], kind: tuple[int, bool], slope: float, large: bool, seed: int
) -> None:
    tensors = draw(shape, *kind, seed)
    for weight in tensors[2::3]:
        assert weight is not None
        weight.abs_().add_(0.1).mul_(torch.tensor(signs[: shape[1]], dtype=torch.float64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(residual, "_LARGE", ALWAYS if large else NEVER)
        assert_same(ours, stock, slope, tensors)


@pytest.mark.usefixtures("both_sizes")
@pytest.mark.parametrize("images", [1, 2, 3])
@pytest.mark.parametrize(("maps", "plain"), SHAPES)
def test_finite_differences(maps: int, plain: bool, images: int) -> None:
    """Also with statistics of the first images alone."""
    x, *terms = draw((3, 2, 3, 2), maps, plain, seed=3)
    inputs = [t.requires_grad_() for t in (x, *terms) if t is not None]

    def f(*given: Tensor) -> Tensor:
        return ours(0.1, *(given if plain else (None, *given)), images=images)

    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


@pytest.mark.parametrize("images_in_a_group", [1, 2, 5, 8])
def test_statistics_of_the_first_images_across_groups(images_in_a_group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_CACHE_BYTES", images_in_a_group * 8 * 4 * 6 * 5)
    for kind, slope in itertools.product(SHAPES, (0.0, 0.1, 1.0)):
        assert_same(partial(ours, images=3), primitives(3), slope, draw((7, 4, 6, 5), *kind), images=3)


@pytest.mark.usefixtures("both_sizes")
@pytest.mark.parametrize("at", range(5))
def test_a_third_derivative_raises_whatever_it_is_asked_for(at: int) -> None:
    """Half of it would be wrong numbers without a word."""
    inputs = [t.requires_grad_() for t in draw((2, 3, 4, 4), 2, False)[1:] if t is not None]
    back = torch.ones(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    first = torch.autograd.grad((ours(0.0, None, *inputs) * back).sum(), inputs, create_graph=True)
    wanted = [back, inputs[0], inputs[1], inputs[3], inputs[4]]
    second = torch.autograd.grad(sum(t.sin().sum() for t in first), wanted, create_graph=True)
    for t in second:
        with pytest.raises(RuntimeError, match="no third derivative: set ROTOGBML_FUSED=0"):
            torch.autograd.grad(t.sin().sum(), wanted[at], retain_graph=True)


@pytest.mark.parametrize(("maps", "plain"), SHAPES)
def test_small_maps_are_stocks_to_the_bit_but_for_the_second_derivative(
    maps: int, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residual, "_LARGE", NEVER)
    tensors = [t if t is None else t.float() for t in draw((5, 32, 16, 16), maps, plain)]
    first = 1 + sum(t is not None for t in tensors)
    for a, b in zip(everything(ours, 0.0, tensors)[:first], everything(stock, 0.0, tensors)[:first], strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("both_sizes")
@pytest.mark.parametrize("policy", ["batch", "support", "per-step"])
@pytest.mark.parametrize("c_in", [3, 4], ids=["shortcut by convolution", "shortcut as it is"])
def test_a_block_takes_it_unless_it_is_switched_off(policy: str, c_in: int, monkeypatch: pytest.MonkeyPatch) -> None:
    block = SimpleBlock(c_in, 4, 1, policy, sets=2).double()
    x, at = torch.randn(5, c_in, 7, 9, generator=torch.Generator().manual_seed(0)).double(), NormPass(1, 2)
    calls: list[int] = []
    honest = _NormSumRelu.apply
    monkeypatch.setattr(_NormSumRelu, "apply", lambda *given: (calls.append(given[0]), honest(*given))[1])
    z = block(x, at)
    assert calls == [5 if policy == "batch" else 2] * 2
    monkeypatch.setenv("ROTOGBML_FUSED", "0")
    torch.testing.assert_close(z, block(x, at), rtol=1e-12, atol=1e-12)
    assert len(calls) == 2
    monkeypatch.delenv("ROTOGBML_FUSED")
    if policy != "batch":
        with pytest.raises(ValueError, match="given=6 for 5 images"):
            block(x, NormPass(given=6))
        with pytest.raises(ValueError, match="step=-1"):
            block(x, NormPass(step=-1))


@pytest.mark.parametrize("policy", ["running", "group", "layer", "none"])
def test_other_policies_stay_stock(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_TINY", 0)
    z = SimpleBlock(3, 4, 2, policy, 1)(torch.ones(2, 3, 6, 6), None)
    assert "_NormSumRelu" not in type(z.grad_fn).__name__


@pytest.mark.usefixtures("both_sizes")
@pytest.mark.parametrize("name", ["resnet10", "resnet10-small", "resnet12", "resnet18-small"])
@pytest.mark.parametrize(
    ("norm", "options"),
    [
        ("batch", {}),
        ("support", {}),
        ("per-step", {}),
        ("batch", {"first_order": True}),
        ("batch", {"checkpoint": True}),
    ],
    ids=str,
)
def test_meta_gradients_are_those_without_it(
    name: str, norm: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = create_encoder(name, size=32, width=2, norm=norm, sets=3)
    network = Network(encoder, create_head("linear", encoder.feature_dim, 3))
    network.initialise(0)
    network.encoder.double()
    network.head.double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.psi().theta.values():
            if p.ndim < 4:
                p.add_(0.5 * torch.randn(p.shape, generator=g, dtype=torch.float64))
    learner, psi = create_learner("maml", network, inner_lr=0.05, inner_steps=2, **options), network.psi()
    images = torch.randn(12, 3, 32, 32, generator=g, dtype=torch.float64)
    support, query = (Examples(x, torch.arange(6) % 3) for x in images.split(6))
    episode = Episode(support, query, "made", ("a", "b", "c"), (np.arange(6), np.arange(6, 12)))

    def once() -> list[Tensor]:
        outcome = learner.meta_gradient(psi, learner.prepare(psi, episode))
        return [outcome.loss, *outcome.theta_gradient, *outcome.phi_gradient, outcome.feature_gradient]

    found = once()
    monkeypatch.setenv("ROTOGBML_FUSED", "0")
    for a, b in zip(found, once(), strict=True):
        assert (a - b).abs().max() <= 1e-10 * b.abs().max()
