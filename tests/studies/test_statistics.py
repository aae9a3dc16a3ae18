"""Bootstrap and Holm's correction against what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rotogbml.studies.cell import packed, unpacked
from rotogbml.studies.statistics import bootstrap, holm


def test_holm_on_a_worked_example() -> None:
    """Four hypotheses: 4 · 0.005, 3 · 0.01, 2 · 0.03, and 0.04 lifted to the one before it."""
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p: dict[str, float]) -> None:
    found = holm(p)
    assert all(p[name] <= found[name] <= 1 for name in p)
    assert all(found[a] <= found[b] for a in p for b in p if p[a] < p[b])


def test_the_bootstrap_of_targets_has_the_known_variance() -> None:
    """One seed, n targets: the variance of a drawn mean is σ² / n with σ² the variance of the n numbers."""
    values = np.linspace(-1, 1, 40)[:, None] ** 3
    found = bootstrap(values, np.zeros_like(values))
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.mean == pytest.approx(0, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((-half, half), rel=0.05)
    assert found.p > 0.9


@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.floats(-1, 1, width=16)))
def test_the_interval_holds_the_mean_and_moves_with_it(d: np.ndarray) -> None:
    sure = np.zeros_like(d)
    found, moved = bootstrap(d, sure, 500), bootstrap(d + 4, sure, 500)
    assert d.min() - 1e-12 <= found.low <= found.high <= d.max() + 1e-12
    assert moved.low == pytest.approx(found.low + 4)
    assert moved.p == pytest.approx(2 / 501)
    assert bootstrap(-d, sure, 500).mean == pytest.approx(-found.mean)


def test_episodes_are_drawn_too() -> None:
    """One target and one seed: what is left is the episodes' own error."""
    found = bootstrap(np.array([[0.01]]), np.array([[0.01]]))
    assert (found.low, found.high) == pytest.approx((0.01 - 0.0196, 0.01 + 0.0196), abs=6e-4)
    assert found.p == pytest.approx(0.317, abs=0.02)  # one standard error, two-sided


def test_no_difference_at_all_has_p_of_one() -> None:
    assert bootstrap(np.zeros((3, 2)), np.zeros((3, 2))) == (0.0, 0.0, 0.0, 1.0)


@given(st.lists(st.integers(0, 75), min_size=1, max_size=50))
def test_accuracies_survive_as_text(right: list[int]) -> None:
    accuracies = np.array(right) / 75
    np.testing.assert_array_equal(unpacked(packed(accuracies, 75), 75), accuracies)
