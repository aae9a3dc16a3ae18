"""The measure of rounding in the fused blocks' tests: what it bounds, what it sees, and where cancellation is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from benchmarks.rounding import BOUND, Given, everything, sizes, worst_error
from torch import Tensor

from rotogbml.encoders.norm import EPS

Z = Callable[..., Tensor]


def stock(slope: float, pool: bool) -> Z:
    """Return the sum of batch norms and x, max-pooled or not, and leaky ReLU of it."""

    def z(plain: Tensor | None, *terms: Tensor) -> Tensor:
        p = [F.batch_norm(y, None, None, w, b, training=True) for y, w, b in zip(*[iter(terms)] * 3, strict=True)]
        total = sum(p if plain is None else [*p, plain])
        assert isinstance(total, Tensor)
        return F.leaky_relu(F.max_pool2d(total, 2) if pool else total, slope)

    return z


def draw(maps: int, plain: bool, shape: tuple[int, ...] = (2, 3, 5, 4), seed: int = 1) -> list[Tensor | None]:
    """Seed 1 is that of what comes back: the first map is affine in it."""
    g = torch.Generator().manual_seed(seed)
    y = [torch.randn(shape, generator=g, dtype=torch.float64) * 2 + 1 for _ in range(maps)]
    terms = [t for one in y for t in (one, *torch.randn(2, shape[1], generator=g, dtype=torch.float64))]
    return [torch.randn(shape, generator=g, dtype=torch.float64) if plain else None, *terms]


KINDS = [(1, False, False), (1, True, False), (2, False, False), (2, True, False), (1, False, True)]
each_kind = pytest.mark.parametrize(("maps", "plain", "pool"), KINDS)


@each_kind
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_sum_is_larger_than_its_terms(maps: int, plain: bool, pool: bool, slope: float, seed: int) -> None:
    f, given = stock(slope, pool), draw(maps, plain, seed=seed)
    for found, size in zip(everything(f, given), sizes(f, given, slope, pool=pool), strict=True):
        assert found.shape == size.shape
        assert (found.abs() <= size * (1 + BOUND)).all()


@each_kind
@pytest.mark.parametrize("at", [1, 2])
def test_a_relative_error_of_1e_12_in_scale_or_shift_is_seen(maps: int, plain: bool, pool: bool, at: int) -> None:
    f, given = stock(0.1, pool), draw(maps, plain)
    assert worst_error(f, f, given, 0.1, pool=pool)[0] == 0

    def off(plain: Tensor | None, *terms: Tensor) -> Tensor:
        return f(plain, *(t * (1 + 1e-12) if i == at else t for i, t in enumerate(terms)))

    assert worst_error(off, f, given, 0.1, pool=pool)[0] > BOUND
    assert worst_error(lambda *t: f(*t) * torch.nan, f, given, 0.1, pool=pool)[0] == torch.inf


def test_what_cancels_is_right_to_its_terms_rounding() -> None:
    """One γ of 0 and a G affine in y: r u_γ a (y − μ) ε' / (σ² + ε') is left, a product that cancels nowhere."""
    y, weight, bias = draw(1, False, (1, 1, 2, 2))[1:]
    assert y is not None
    given: Given = [None, y, torch.zeros_like(weight), bias]
    f = stock(1.0, False)
    variance, mean = torch.var_mean(y, correction=0)
    g = torch.Generator().manual_seed(1)
    back, _, u_weight = (torch.randn(n, generator=g, dtype=y.dtype) for n in (y.shape, y.shape, 1))
    assert torch.equal(back * 2 + 1, y)
    left = (variance + EPS).rsqrt() * u_weight * 0.5 * (y - mean) * EPS / (variance + EPS)
    error, size = (everything(f, given)[4] - left).abs(), sizes(f, given, 1.0)[4]
    assert (left.abs() < 1e-4 * size).all()
    assert (error <= BOUND * size).all()
