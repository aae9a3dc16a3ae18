"""Products of means against brute force and against gradients whose means are known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rotogbml.agreement.products import Products, jackknife

Draw = Callable[[Tensor, int, float, int], Tensor]
Keep = Callable[[Tensor, int], Products]


@pytest.mark.parametrize("blocks", [2, 4, 8])
def test_they_are_means_over_pairs_of_different_tasks(blocks: int, drawn: Draw, keep: Keep) -> None:
    """The same by hand: ⟨g_i, g_j⟩ over all i of s and j of t, without i = j where s = t."""
    g = drawn(torch.eye(3, 5, dtype=torch.float64), 8, 0.7, seed=1)
    found = keep(g, blocks).means()
    for s, t in itertools.product(range(3), repeat=2):
        pairs = [float(g[s, i] @ g[t, j]) for i, j in itertools.product(range(8), repeat=2) if s != t or i != j]
        assert float(found[s, t]) == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)


def test_noise_is_taken_out(drawn: Draw, keep: Keep) -> None:
    """Of 2 % signal, cosines of −0.5, 0 and 0.8 come back; those of single tasks are a fiftieth."""
    angle = math.acos(0.8)
    means = torch.zeros(3, 400, dtype=torch.float64)
    means[0, 0] = 1.0
    means[1, 0], means[1, 1] = 0.8, math.sin(angle)
    means[2, 0], means[2, 2] = -0.5, math.sqrt(0.75)
    true = means @ means.T
    noise = math.sqrt(49 / 400)  # E‖ε‖² = 49
    repeats = [keep(drawn(means, 512, noise, seed), 8) for seed in range(20)]
    mean = torch.stack([each.means() for each in repeats]).mean(0)
    torch.testing.assert_close(mean, true, rtol=0, atol=0.02)
    signal = torch.stack([each.signal() for each in repeats]).mean(0)
    torch.testing.assert_close(signal, torch.full((3,), 0.02, dtype=torch.float64), rtol=0, atol=0.001)
    single = torch.stack([each.single() for each in repeats]).mean(0)
    torch.testing.assert_close(single, true / 50, rtol=0, atol=0.001)
    cosines = torch.stack([each.cosines() for each in repeats]).mean(0)
    torch.testing.assert_close(cosines, true, rtol=0, atol=0.05)


def test_the_interval_holds_the_truth_as_often_as_it_says(drawn: Draw, keep: Keep) -> None:
    means = torch.zeros(2, 50, dtype=torch.float64)
    means[0, 0], means[1, 0], means[1, 1] = 1.0, 0.6, 0.8
    held = 0
    for seed in range(300):
        value, half = jackknife(lambda of: float(of.cosines()[0, 1]), keep(drawn(means, 64, 0.3, seed), 8))
        held += abs(value - 0.6) <= half
    assert 0.92 <= held / 300 <= 0.98


def test_agreement_is_one_of_equal_and_nought_of_orthogonal_means(drawn: Draw, keep: Keep) -> None:
    same = torch.ones(4, 6, dtype=torch.float64)
    assert keep(drawn(same, 4, 0.0, 0), 2).agreement() == pytest.approx(1.0)
    assert keep(drawn(torch.eye(4, 6, dtype=torch.float64), 4, 0.0, 0), 2).agreement() == pytest.approx(0.0)
    opposed = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert keep(drawn(opposed, 4, 0.0, 0), 2).agreement() == pytest.approx(-1.0)


def test_where_noise_leaves_nothing_there_is_no_number(keep: Keep) -> None:
    """Two tasks that are opposed: ‖μ‖² comes out negative."""
    g = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]], dtype=torch.float64)
    found = keep(g, 2)
    assert float(found.means()[0, 0]) == -1.0
    assert math.isnan(float(found.cosines()[0, 1]))
    assert float(found.cosines()[1, 1]) == pytest.approx(1.0)


def test_some_sources_and_some_blocks(drawn: Draw, keep: Keep) -> None:
    g = drawn(torch.eye(3, 5, dtype=torch.float64), 8, 0.5, seed=3)
    part = keep(g, 4).among([2, 0]).of([0, 3])
    kept = g[[2, 0]][:, [0, 1, 6, 7]]
    torch.testing.assert_close(part.means(), keep(kept, 2).means())
    torch.testing.assert_close(part.lengths(), keep(kept, 2).lengths())
