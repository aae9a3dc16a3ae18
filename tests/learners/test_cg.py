"""Conjugate gradient against direct solves and against its theory, on matrices of known spectrum."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rotogbml.learners.cg import Solution, conjugate_gradient

N = 24


def matrix(spectrum: Tensor, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(len(spectrum), len(spectrum), generator=g, dtype=torch.float64))
    return q @ torch.diag(spectrum) @ q.T


def spread(condition: float, n: int = N) -> Tensor:
    return torch.logspace(0, math.log10(condition), n, dtype=torch.float64)


def vector(n: int = N, seed: int = 1) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def solve(A: Tensor, b: Tensor, steps: int, tolerance: float = 0.0) -> Solution:
    return conjugate_gradient(lambda v: A @ v, b, steps, tolerance)


def true_residual(A: Tensor, b: Tensor, x: Tensor) -> float:
    return float((b - A @ x).norm() / b.norm())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10**6), st.floats(1, 1e3))
def test_with_as_many_steps_as_unknowns_it_is_the_direct_solve(n: int, seed: int, condition: float) -> None:
    A, b = matrix(spread(condition, n), seed), vector(n, seed + 1)
    found = solve(A, b, 3 * n, 1e-12)
    torch.testing.assert_close(found.x, torch.linalg.solve(A, b), rtol=1e-7, atol=1e-9)
    assert not found.negative_curvature


@pytest.mark.parametrize("condition", [2.0, 30.0, 1e3])
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 16])
def test_the_error_falls_at_least_as_fast_as_theory_says(condition: float, steps: int) -> None:
    """‖x_k − x‖_A ≤ 2 ((√κ − 1)/(√κ + 1))^k ‖x_0 − x‖_A."""
    A, b = matrix(spread(condition)), vector()
    exact = torch.linalg.solve(A, b)
    error = solve(A, b, steps).x - exact
    root = math.sqrt(condition)
    bound = 2 * ((root - 1) / (root + 1)) ** steps * math.sqrt(exact @ A @ exact)
    assert math.sqrt(error @ A @ error) <= bound * (1 + 1e-9)


@pytest.mark.parametrize("distinct", [1, 2, 5])
def test_it_ends_after_as_many_steps_as_there_are_distinct_eigenvalues(distinct: int) -> None:
    A, b = matrix(torch.linspace(1, 9, distinct, dtype=torch.float64).repeat(30 // distinct)), vector(30)
    found = solve(A, b, 100, 1e-10)
    assert found.steps == distinct
    assert true_residual(A, b, found.x) < 1e-10


@pytest.mark.parametrize("steps", [1, 3, 10, 20])
def test_the_residual_it_reports_is_the_true_one(steps: int) -> None:
    A, b = matrix(spread(100.0)), vector()
    found = solve(A, b, steps)
    assert found.residual == pytest.approx(true_residual(A, b, found.x), rel=1e-8)
    assert found.steps == steps


@pytest.mark.parametrize("tolerance", [0.5, 1e-2, 1e-6])
def test_it_stops_at_the_first_step_within_the_tolerance(tolerance: float) -> None:
    A, b = matrix(spread(100.0)), vector()
    found = solve(A, b, 100, tolerance)
    assert true_residual(A, b, found.x) <= tolerance
    assert true_residual(A, b, solve(A, b, found.steps - 1).x) > tolerance


def test_it_counts_the_products_it_takes() -> None:
    A, b, taken = matrix(spread(100.0)), vector(), []

    def product(v: Tensor) -> Tensor:
        taken.append(v)
        return A @ v

    assert conjugate_gradient(product, b, 7, 0.0).steps == len(taken) == 7


def test_of_nothing_the_solution_is_nothing_and_no_product_is_taken() -> None:
    def product(v: Tensor) -> Tensor:
        raise AssertionError

    found = conjugate_gradient(product, torch.zeros(N, dtype=torch.float64), 5, 0.01)
    assert torch.equal(found.x, torch.zeros(N, dtype=torch.float64))
    assert (found.residual, found.steps, found.negative_curvature) == (0.0, 0, False)


def test_a_right_hand_side_that_is_no_number_gives_no_number() -> None:
    """Zero, with a residual of 0, would pass for an answer: a task that has come apart would train nothing, unseen."""
    b = vector()
    b[3] = math.nan
    found = solve(matrix(spread(10.0)), b, 5)
    assert found.x.isnan().any()
    assert not found.residual <= 0.01


def test_negative_curvature_at_once_gives_the_right_hand_side_itself() -> None:
    A, b = -matrix(spread(10.0)), vector()
    found = solve(A, b, 5)
    assert torch.equal(found.x, b)
    assert (found.steps, found.negative_curvature) == (1, True)
    assert found.residual == pytest.approx(true_residual(A, b, b), rel=1e-12)


def test_negative_curvature_on_the_way_gives_what_stood_before_it() -> None:
    spectrum = spread(10.0)
    spectrum[0] = -0.01
    A, b = matrix(spectrum), vector()
    found = solve(A, b, 100)
    assert found.negative_curvature
    assert 1 < found.steps <= N
    torch.testing.assert_close(found.x, solve(A, b, found.steps - 1).x, rtol=0, atol=0)
    assert found.residual == pytest.approx(true_residual(A, b, found.x), rel=1e-6)


def test_a_direction_without_curvature_counts_as_negative() -> None:
    found = solve(torch.zeros(N, N, dtype=torch.float64), vector(), 5)
    assert found.negative_curvature
    assert torch.equal(found.x, vector())


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e140])
def test_the_solution_scales_with_the_right_hand_side(scale: float) -> None:
    A, b = matrix(spread(10.0)), vector()
    torch.testing.assert_close(solve(A, b * scale, 8).x / scale, solve(A, b, 8).x, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-30, 1e-25, 1e25])
def test_single_precision_does_not_lose_a_small_or_large_right_hand_side(scale: float) -> None:
    """Its square leaves float32 long before it does itself."""
    A, b = matrix(spread(10.0)).float(), vector().float()
    found = solve(A, b * scale, 30, 1e-4)
    torch.testing.assert_close(found.x / scale, torch.linalg.solve(A, b), rtol=1e-2, atol=1e-3)
