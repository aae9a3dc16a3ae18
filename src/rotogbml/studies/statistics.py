"""What a difference over targets, seeds and episodes is worth: a bootstrap, and Holm's correction over settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rotogbml.seeds import numpy_generator

DRAWS = 10_000


class Difference(NamedTuple):
    """A mean difference and what it is worth; in the unit of what was compared."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided, of no difference; not below 2 / (``DRAWS`` + 1)."""


def bootstrap(differences: np.ndarray, errors: np.ndarray, draws: int = DRAWS) -> Difference:
    """Return the mean of d and its 95 % interval by drawing targets, seeds and episodes anew, with replacement.

    Targets and seeds are crossed (every seed was trained for every target), so a draw takes whole rows and whole
    columns (Owen 2007, the pigeonhole bootstrap). With few of either the interval is too narrow, as every bootstrap
    of few numbers is: four targets and three seeds say more of these than of all there are. What drawing the episodes
    of a cell anew would do to its mean is drawn from a normal distribution of its standard error.

    Args:
        differences: [targets, seeds], each a mean over the same episodes.
        errors: [targets, seeds], the standard errors of these means.
        draws: how many.
    """
    targets, seeds = differences.shape
    generator = numpy_generator(0, "bootstrap", targets, seeds)
    rows = generator.integers(targets, size=(draws, targets))
    columns = generator.integers(seeds, size=(draws, seeds))
    chosen = rows[:, :, None], columns[:, None, :]
    episodes = errors[chosen] * generator.standard_normal((draws, targets, seeds))
    means = (differences[chosen] + episodes).mean((1, 2))
    low, high = np.quantile(means, (0.025, 0.975))
    tail = min((means <= 0).sum(), (means >= 0).sum())
    return Difference(float(differences.mean()), float(low), float(high), min(1.0, 2 * (int(tail) + 1) / (draws + 1)))


def bootstrap_episodes(gaps: np.ndarray) -> Difference:
    """Return the same of differences of single episodes, [targets, seeds, episodes]."""
    return bootstrap(gaps.mean(2), gaps.std(2, ddof=1) / np.sqrt(gaps.shape[2]))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for as many as there are (Holm 1979): the k-th smallest times (n − k + 1), rising."""
    corrected, largest = {}, 0.0
    for k, name in enumerate(sorted(p, key=lambda name: p[name])):
        largest = max(largest, min(1.0, (len(p) - k) * p[name]))
        corrected[name] = largest
    return corrected
