"""Diagnostics against plain arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rotogbml.homogenizer.conflict import angles, by_pair, conflict, cosines, distances, shares


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_cosines_and_distances_are_the_definitions(scale):
    g = scale * random(0, 4, 7)
    cosine, norms = cosines(g), g.norm(dim=1)
    expected = torch.tensor([[float(a @ b / a.norm() / b.norm()) for b in g] for a in g]).double()
    torch.testing.assert_close(cosine, expected, rtol=0, atol=1e-6)
    far = torch.tensor([[float((a - b).norm()) for b in g] for a in g], dtype=torch.float64)
    torch.testing.assert_close(distances(norms, cosine), far, rtol=1e-9, atol=1e-7 * scale)


def test_long_float32_gradients_are_summed_in_parts():
    g = torch.ones(2, 2_500_000)
    g[1, ::2] = -1.0
    torch.testing.assert_close(cosines(g), torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-14)


def test_undefined_is_not_zero():
    g = random(1, 4, 3)
    g[1] = 0.0
    g[2, 0] = float("inf")
    cosine = cosines(g)
    assert torch.isnan(cosine).tolist() == [[i in (1, 2) or j in (1, 2) for j in range(4)] for i in range(4)]
    zero = torch.tensor([2.0, 0.0])
    assert distances(zero, torch.full((2, 2), math.nan))[0, 1] == 2.0


def test_pairs_are_of_different_sources_in_alphabetical_order():
    matrix = torch.arange(16.0).reshape(4, 4)
    matrix = (matrix + matrix.T) / 2
    sources = ("nko", "lao", "nko", "greek")
    pairs = by_pair(matrix, sources)
    assert list(pairs) == [("greek", "lao"), ("greek", "nko"), ("lao", "nko")]
    assert pairs[("lao", "nko")] == [float(matrix[0, 1]), float(matrix[1, 2])]
    assert by_pair(matrix, ["lao"] * 4) == {}


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 10**6), st.booleans())
def test_conflict_is_the_definitions(n: int, d: int, seed: int, negative: bool):
    """With weights below 0 too, as IMTL-G, ConFIG and AlignedMTL give them."""
    g, w = random(seed, n, d), random(seed + 1, n).abs() + 0.1
    if negative:
        w[::2] *= -1
    found = conflict(angles(g), w)
    step = (w[:, None] * g).mean(0)
    torch.testing.assert_close(found.norms, g.norm(dim=1))
    pull, length = w * (g @ step), float(n * step @ step)
    torch.testing.assert_close(found.shares * length, pull, rtol=1e-6, atol=1e-6)
    assert float(found.shares.sum()) == pytest.approx(1, abs=1e-6)
    weighted = w[:, None] * g
    torch.testing.assert_close(found.before, torch.cdist(g, g), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.after, torch.cdist(weighted, weighted), rtol=1e-6, atol=1e-6)


def test_equal_tasks_share_the_step_and_the_opposed_one_is_led_uphill():
    g = random(2, 1, 5)
    torch.testing.assert_close(
        conflict(angles(g.expand(4, 5)), torch.ones(4)).shares, torch.full((4,), 0.25, dtype=torch.float64)
    )
    found = conflict(angles(torch.cat([2 * g, -g])), torch.ones(2))
    torch.testing.assert_close(found.shares, torch.tensor([2.0, -1.0], dtype=torch.float64))
    assert torch.isnan(conflict(angles(torch.cat([g, -g])), torch.ones(2)).shares).all()
    silent = shares(torch.tensor([2.0, 0.0]), torch.tensor([[1.0, math.nan], [math.nan, math.nan]]), torch.ones(2))
    assert silent.tolist() == [1.0, 0.0]


def test_features_have_rows_of_their_own_before():
    before, after = random(3, 3, 4), random(4, 3, 4)
    found = conflict(angles(after), torch.ones(3), angles(before))
    torch.testing.assert_close(found.before, torch.cdist(before, before))
    torch.testing.assert_close(found.after, torch.cdist(after, after))
