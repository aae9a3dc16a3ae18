"""Diagnostics against plain arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rotogbml.homogenizer.conflict import by_pair, cosines, distances


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
