"""The best weights against scipy's non-negative least squares, and against what is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

from rotogbml.agreement import weights
from rotogbml.agreement.products import Products
from rotogbml.seeds import torch_generator

Draw = Callable[[Tensor, int, float, int], Tensor]
Keep = Callable[[Tensor, int], Products]


@pytest.mark.parametrize("seed", range(20))
def test_they_are_non_negative_least_squares(seed: int) -> None:
    generator = torch_generator(seed, "cone")
    a = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    b = torch.randn(12, generator=generator, dtype=torch.float64)
    omega = weights.nearest(a.T @ a, a.T @ b)
    expected, _ = nnls(a.numpy(), b.numpy())
    np.testing.assert_allclose(omega.numpy(), expected, atol=1e-6)


def test_the_best_weights_leave_out_who_pulls_away(drawn: Draw, keep: Keep) -> None:
    """Sources e₁, e₂ and −e₁ for a target e₁ + e₂: even weights go toward e₂ alone, the best ones all the way."""
    means = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [-1.0, 0, 0], [1.0, 1.0, 0]], dtype=torch.float64)
    found = keep(drawn(means, 64, 0.05, seed=0), 8)
    assert weights.even(found) == pytest.approx(0.5**0.5, abs=0.02)
    assert weights.best(found) == pytest.approx(1.0, abs=0.01)
    torch.testing.assert_close(
        weights.hindsight(found), torch.tensor([1.5, 1.5, 0.0], dtype=torch.float64), rtol=0, atol=0.05
    )


def test_noise_is_not_taken_for_a_gain(drawn: Draw, keep: Keep) -> None:
    """Where equal weights are the best there are, the best ones in hindsight do not look better on other tasks."""
    means = torch.zeros(5, 300, dtype=torch.float64)
    means[:4] = torch.eye(4, 300, dtype=torch.float64)
    means[4, :4] = 0.5
    gains = []
    for seed in range(10):
        found = keep(drawn(means, 64, 0.2, seed), 8)
        gains.append(weights.best(found) - weights.even(found))
    assert -0.25 < sum(gains) / 10 <= 0.01


def test_a_target_that_everybody_pulls_away_from(drawn: Draw, keep: Keep) -> None:
    means = torch.tensor([[1.0, 0], [0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    found = keep(drawn(means, 16, 0.01, seed=0), 8)
    assert weights.even(found) == pytest.approx(-1.0, abs=0.01)
    assert weights.best(found) == 0.0
