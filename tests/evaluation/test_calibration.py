"""Brier score and calibration error: hand values, loops, invariances; what is kept of an episode adds up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rotogbml.evaluation.calibration import BINS, Scored, from_text, marks, to_text, unmarked
from rotogbml.learners import accuracy


def of(p: list[list[float]], y: list[int]) -> Scored:
    """Return one episode with these probabilities."""
    return unmarked([marks(torch.tensor(p, dtype=torch.float64).log(), torch.tensor(y))])


def drawn(seed: int, queries: int = 40, n_way: int = 5, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(queries, n_way, generator=g), torch.randint(n_way, (queries,), generator=g)


def by_loops(episodes: list[tuple[Tensor, Tensor]]) -> tuple[list[float], float]:
    """Return each episode's Brier score and the calibration error of all, as their papers write them."""
    briers, bins = [], {m: [0, 0, 0.0] for m in range(1, BINS + 1)}
    for scores, y in episodes:
        total = 0.0
        for row, label in zip(scores.double().tolist(), y.tolist(), strict=True):
            whole = math.fsum(math.exp(s) for s in row)
            p = [math.exp(s) / whole for s in row]
            total += math.fsum((p_c - (c == label)) ** 2 for c, p_c in enumerate(p))
            m = next(m for m in bins if (m - 1) / BINS < max(p) <= m / BINS)
            bins[m][0] += 1
            bins[m][1] += p.index(max(p)) == label
            bins[m][2] += max(p)
        briers.append(total / len(y))
    n = sum(count for count, *_ in bins.values())
    ece = math.fsum(c / n * abs(right / c - confidence / c) for c, right, confidence in bins.values() if c)
    return briers, ece


def test_hand_values() -> None:
    found = of([[0.8, 0.2], [0.8, 0.2], [0.3, 0.7]], [0, 1, 1])
    # (0.04 + 0.04) and (0.64 + 0.64) and (0.09 + 0.09)
    assert found.brier[0] == pytest.approx((0.08 + 1.28 + 0.18) / 3)
    # 0.8 lies on the edge 12/15 and so in bin 12, half of it right; 0.7 in bin 11, right: 2/3·0.3 + 1/3·0.3
    assert found.ece == pytest.approx(0.3)
    assert found.accuracy[0] == pytest.approx(2 / 3)
    counts = found.bins[0, 0]
    assert counts[[11, 10]].tolist() == [2, 1]
    assert counts.sum() == 3


def test_the_ends_of_the_scales() -> None:
    sure_and_right, sure_and_wrong = of([[1, 0], [0, 1]], [0, 1]), of([[1, 0], [0, 1]], [1, 0])
    assert (sure_and_right.brier[0], sure_and_right.ece) == (0, 0)
    assert (sure_and_wrong.brier[0], sure_and_wrong.ece) == (2, 1)


def test_a_guess_of_one_in_n_scores_as_it_must_and_does_not_fall_between_two_bins() -> None:
    for n_way in (2, 3, 5, 10):
        y = torch.arange(4 * n_way) % n_way
        # As float32 leaves scores that should be equal.
        scores = 1e-8 * drawn(n_way, len(y), n_way)[0]
        found = unmarked([marks(scores, y)])
        assert found.brier[0] == pytest.approx(1 - 1 / n_way, abs=1e-6)
        assert (found.bins[0, 0] > 0).sum() == 1
        assert found.ece == pytest.approx(abs(found.accuracy[0] - 1 / n_way), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(2, 9), st.floats(0.01, 30), st.integers(1, 4))
def test_both_are_what_their_papers_write(seed: int, queries: int, n_way: int, scale: float, episodes: int) -> None:
    drawings = [drawn(seed + i, queries, n_way, scale) for i in range(episodes)]
    found = unmarked([marks(*each) for each in drawings])
    briers, ece = by_loops(drawings)
    np.testing.assert_allclose(found.brier, briers, rtol=1e-9, atol=1e-12)
    assert found.ece == pytest.approx(ece, abs=1e-6)
    assert found.accuracy.tolist() == [accuracy(*each) for each in drawings]


def test_labels_drawn_from_the_probabilities_are_calibrated_and_sharper_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    episodes, sharper = [], []
    for seed in range(400):
        scores = drawn(seed, 75, 5, 1.5)[0]
        p = scores.double().softmax(1).numpy()
        y = torch.from_numpy((p.cumsum(1) > rng.random((75, 1))).argmax(1))
        episodes.append(marks(scores, y))
        sharper.append(marks(3 * scores, y))
    good, bad = unmarked(episodes), unmarked(sharper)
    assert good.ece < 0.01  # 30,000 queries in at most 12 bins
    assert bad.ece > 0.1
    assert np.array_equal(good.accuracy, bad.accuracy)
    assert good.brier.mean() < bad.brier.mean()  # a proper score is lowest where labels come from
    # By definition: Σ p² − 2 p_y + 1 has the mean 1 − Σ p².
    expected = np.mean([1 - (drawn(s, 75, 5, 1.5)[0].double().softmax(1) ** 2).sum(1).mean() for s in range(400)])
    assert good.brier.mean() == pytest.approx(expected, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_neither_depends_on_the_order_of_classes_or_queries_nor_on_a_constant(seed: int) -> None:
    scores, y = drawn(seed)
    g = torch.Generator().manual_seed(seed)
    classes, queries = torch.randperm(5, generator=g), torch.randperm(40, generator=g)
    first = unmarked([marks(scores, y)])
    shifted = scores.double() + 100 * torch.randn(40, 1, generator=g)
    for other, labels in (
        (scores[:, classes], classes.argsort()[y]),
        (scores[queries], y[queries]),
        (shifted, y),
    ):
        again = unmarked([marks(other, labels)])
        assert again.brier == pytest.approx(first.brier, rel=1e-9)
        assert again.ece == pytest.approx(first.ece, abs=1e-6)
        assert np.array_equal(again.bins[0, :2], first.bins[0, :2])


def test_episodes_add_up_in_any_order_and_travel_as_text() -> None:
    lines = [marks(*drawn(seed, scale=1 + seed % 3)) for seed in range(12)]
    whole = unmarked(lines)
    parts = [unmarked(from_text(to_text(some))) for some in (lines[8:], lines[:3], lines[3:8])]
    joined = Scored(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("accuracy", "brier", "bins")))
    assert joined.ece == pytest.approx(whole.ece, rel=1e-12)
    assert sorted(joined.brier) == sorted(whole.brier)
    assert from_text(to_text(lines)).tolist() == lines
    # Of all queries together: not the mean of episodes, which noise lifts.
    assert np.mean([unmarked([line]).ece for line in lines]) > whole.ece
    # The share of right ones is the accuracy.
    np.testing.assert_allclose(whole.bins[:, 1].sum(1) / whole.bins[:, 0].sum(1), whole.accuracy)


def test_what_is_not_finite_is_undefined_and_counts_as_accuracy_does() -> None:
    scores, y = drawn(0)
    scores[3] = torch.nan
    found = unmarked([marks(scores, y)])
    assert np.isnan(found.brier[0])
    assert math.isnan(found.ece)
    assert found.accuracy[0] == accuracy(scores, y)
    # A class that cannot be has the probability 0: no fault.
    scores, y = drawn(0)
    scores[:, 4] = -torch.inf
    assert np.isfinite(unmarked([marks(scores, y)]).brier[0])


def test_what_is_kept_of_an_episode_is_small() -> None:
    assert len(marks(*drawn(0))) == 2 + 3 * BINS
