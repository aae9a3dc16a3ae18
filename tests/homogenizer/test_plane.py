"""The plane rotation against the matrix exponential, and every degenerate pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rotogbml.homogenizer.plane import direction, largest_angle, orthogonalised, plane_rotation

SIDES = ("left", "right")


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def rotation(seed: int, d: int) -> torch.Tensor:
    q, r = torch.linalg.qr(random(seed, d, d))
    q = q * r.diagonal().sign()
    q[:, 0] *= torch.linalg.det(q).sign()
    return q


def angle_between(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = direction(a), direction(b)
    return 2 * math.atan2(float((a - b).norm()), float((a + b).norm()))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 9), st.floats(1e-5, 3.0), st.sampled_from(SIDES))
def test_equals_the_matrix_exponential(seed, d, angle, side):
    γ, u, target = rotation(seed, d), random(seed + 1, d), random(seed + 2, d)
    α = min(angle, angle_between(u, target))
    e1 = u / u.norm()
    e2 = target - (target @ e1) * e1
    e2 = e2 / e2.norm()
    # In 1024 parts: torch's matrix exponential of the whole is off by 1e-11 at some angles.
    part = torch.matrix_exp(α / 1024 * (torch.outer(e2, e1) - torch.outer(e1, e2)))
    R = torch.linalg.matrix_power(part, 1024)
    expected = R @ γ if side == "left" else γ @ R.T
    torch.testing.assert_close(plane_rotation(γ, u, target, angle, side), expected, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 9), st.floats(1e-4, 3.0), st.sampled_from(SIDES))
def test_turns_by_the_angle_and_never_past_the_target(seed, d, angle, side):
    γ, g, target = rotation(seed, d), random(seed + 1, d), random(seed + 2, d)
    # left: γ g is turned; right: γᵀ a is turned, a = γ g' for the g' at hand.
    u = γ @ g if side == "left" else g
    new = plane_rotation(γ, u, target, angle, side)
    turned = new @ g if side == "left" else new.T @ (γ @ g)
    between = angle_between(u, target)
    assert angle_between(turned, target) == pytest.approx(max(0.0, between - angle), abs=1e-7)
    assert float(turned.norm()) == pytest.approx(float(g.norm()))
    torch.testing.assert_close(new @ new.T, torch.eye(d, dtype=torch.float64), rtol=0, atol=1e-13)
    assert float(torch.linalg.det(new)) == pytest.approx(1.0)


@pytest.mark.parametrize("side", SIDES)
def test_only_the_plane_moves(side):
    γ, u, target = rotation(1, 6), random(2, 6), random(3, 6)
    basis = torch.linalg.qr(torch.stack([u, target, *random(4, 4, 6)], dim=1))[0]
    new = plane_rotation(γ, u, target, 0.3, side)
    R = new @ γ.T if side == "left" else (γ.T @ new).T
    torch.testing.assert_close(R @ basis[:, 2:], basis[:, 2:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300, 3.0])
def test_zero_and_parallel_leave_it_exactly(side, scale):
    γ, u = rotation(5, 4), random(6, 4)
    zero = torch.zeros(4, dtype=torch.float64)
    for a, b in ((zero, u), (u, zero), (zero, zero), (u, u * scale), (u * scale, u)):
        assert plane_rotation(γ, a, b, 0.1, side) is γ
    assert plane_rotation(γ, u, random(7, 4), 0.0, side) is γ


@pytest.mark.parametrize("side", SIDES)
def test_opposite_vectors_leave_the_saddle_the_same_way_each_time(side):
    γ = rotation(8, 5)
    for u in (random(9, 5), torch.eye(5, dtype=torch.float64)[0], torch.ones(5, dtype=torch.float64)):
        new = plane_rotation(γ, u, -2.0 * u, 0.25, side)
        assert torch.equal(new, plane_rotation(γ, u, -2.0 * u, 0.25, side))
        turned = new @ γ.T @ u if side == "left" else new.T @ γ @ u
        assert angle_between(turned, u) == pytest.approx(0.25)
        assert float(torch.linalg.det(new)) == pytest.approx(1.0)


def test_one_dimension_has_no_rotation():
    γ = torch.ones(1, 1)
    assert plane_rotation(γ, torch.tensor([1.0]), torch.tensor([-2.0]), 0.1, "left") is γ


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("tilt", [2e-9, 1e-8, 1e-6])
def test_nearly_parallel_and_nearly_opposite_stay_orthogonal(side, tilt):
    γ, u, across = rotation(10, 6), random(11, 6), random(12, 6)
    for sign in (1.0, -1.0):
        new = plane_rotation(γ, u, sign * u + tilt * across, 1.0, side)
        torch.testing.assert_close(new @ new.T, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-14)


def test_nothing_is_written_to():
    γ, u, target = rotation(13, 4), random(14, 4), random(15, 4)
    kept = [v.clone() for v in (γ, u, target)]
    for side in SIDES:
        plane_rotation(γ, u, target, 0.2, side)
    assert all(torch.equal(a, b) for a, b in zip((γ, u, target), kept, strict=True))


def test_newton_schulz_squares_the_error():
    exact = rotation(16, 8)
    off = exact + 1e-4 * random(17, 8, 8)
    before = (off @ off.T - torch.eye(8)).abs().max()
    new = orthogonalised(off)
    after = (new @ new.T - torch.eye(8)).abs().max()
    assert float(after) < 10 * float(before) ** 2


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 40), st.floats(0.001, 1.0))
def test_the_largest_turn_is_the_largest_angle_of_the_eigenvalues(seed, d, size):
    A = size * random(seed, d, d)
    γ = torch.matrix_exp(A - A.T)
    found = largest_angle(γ)
    true = float(torch.linalg.eigvals(γ).angle().abs().max())
    assert found <= true + 1e-7
    assert math.sin(found / 2) >= 0.95 * math.sin(true / 2) - 1e-7  # of the norm ‖γ − I‖


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.5, math.pi])
def test_the_turn_of_one_plane_is_its_angle(angle):
    γ = plane_rotation(torch.eye(8, dtype=torch.float64), *torch.eye(8, dtype=torch.float64)[:2], angle, "left")
    expected = min(angle, math.pi / 2)  # never past the target
    assert largest_angle(γ) == pytest.approx(expected, abs=1e-9)
    assert largest_angle(-torch.eye(2)) == pytest.approx(math.pi)
