"""Sources made unequal on purpose, to see what becomes of a method: wrong labels in one, one drawn more often."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from rotogbml.errors import UsageError, did_you_mean


def misled(labels: np.ndarray, n_way: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return labels of which each is, with probability ``share``, another class drawn evenly.

    Args:
        labels: int [n], 0 … n_way − 1; not changed.
        n_way: classes of the task.
        share: 0 … 1.
        rng: where the draws come from.
    """
    wrong = rng.random(len(labels)) < share
    shift = rng.integers(1, n_way, len(labels))
    return np.where(wrong, (labels + shift) % n_way, labels)


def frequencies(names: Sequence[str], weights: Mapping[str, float]) -> np.ndarray:
    """Return how often each source is drawn, summing to 1; a source without a weight has 1."""
    each = np.array([weights.get(name, 1.0) for name in names], dtype=np.float64)
    return each / each.sum()


def check(names: Collection[str], noise: Mapping[str, float], weights: Mapping[str, float], mix: str) -> None:
    """Check what was asked for.

    Raises:
        UsageError: a source is unknown, a number is out of range, or weights are given for another mix than uniform.
    """
    for option, given in (("label_noise", noise), ("weights", weights)):
        for name in given:
            if name not in names:
                known = ", ".join(names)
                raise UsageError(
                    f"episodes.{option} names '{name}'{did_you_mean(name, names)}, which is not trained on: there are "
                    f"{known}"
                )
    for name, share in noise.items():
        if not 0 <= share <= 1:
            raise UsageError(f"episodes.label_noise of '{name}' is {share}: give a share, 0 to 1")
    for name, weight in weights.items():
        if not 0 < weight < float("inf"):
            raise UsageError(f"episodes.weights of '{name}' is {weight}: give a number above 0 (20: twenty times)")
    if weights and mix != "uniform":
        raise UsageError(
            f"episodes.weights needs --episodes.mix uniform, here it is {mix}, which says how often each source is "
            "drawn"
        )
