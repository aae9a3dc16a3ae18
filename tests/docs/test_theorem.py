"""The theorem's problem against sampling and finite differences, and what the page says against what is computed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import theorem

PAGE = Path(__file__).resolve().parents[2] / "docs" / "theorem.md"


def test_total_variation_is_half_the_area_between_the_densities() -> None:
    x = np.linspace(-12, 16, 400_001)

    def density(mean: float) -> np.ndarray:
        return np.exp(-0.5 * (x - mean) ** 2) / math.sqrt(2 * math.pi)

    for shift in theorem.SHIFTS:
        area = np.trapezoid(np.abs(density(0) - density(shift)), x)
        assert theorem.total_variation(shift) == pytest.approx(area / 2, abs=1e-8)


def test_expectations_are_those_of_a_fine_sum_and_of_finite_differences() -> None:
    x = np.linspace(-12, 12, 200_001)
    weight = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    for psi in (-2.0, 0.3, 3.0):
        off = psi - 0.5 - x
        exact = np.trapezoid(weight * off / np.sqrt(1 + off**2), x)
        assert theorem.slope(np.array(psi), 0.5) == pytest.approx(exact, abs=1e-6)
        up, down = (theorem.slope(np.array(psi + h), 0.5) for h in (1e-4, -1e-4))
        assert theorem.curvature(np.array(psi), 0.5) == pytest.approx((up - down) / 2e-4, abs=1e-6)


@given(st.floats(0.01, 6), st.floats(0, 3))
def test_our_bounds_hold_everywhere_and_the_theorem_only_for_large_steps(shift: float, rate: float) -> None:
    found = theorem.case(shift, rate)
    assert found.first_order <= found.first_order_bound
    assert found.second_order <= found.second_order_bound
    assert found.same_data <= 2 * rate * theorem.G * theorem.L * found.tv + 1e-9
    assert found.other_data <= 2 * theorem.G * found.tv
    if rate >= 1 / theorem.L:
        assert found.holds  # there its bound is the larger one
    if rate <= 0.1:
        assert not found.holds


def test_the_page_has_the_table() -> None:
    cases = [theorem.case(shift, rate) for shift in theorem.SHIFTS for rate in theorem.RATES]
    assert theorem.table(cases) in PAGE.read_text(encoding="utf-8")
