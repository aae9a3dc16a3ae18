"""How far the probabilities of a method can be believed: Brier score and calibration error.

    p      softmax of a query's scores, [n_way]: whatever the method, its scores are made so
    Brier  mean over queries of Σ_c (p_c − 1[c = y])², 0 … 2                          (Brier 1950)
    ECE    Σ_b n_b/n · |right_b/n_b − mean of max p in b|, 15 equal bins of max p     (Guo et al. 2017, eq. 3)

ECE is of all queries of all episodes of a row together: of a single episode it would be mostly noise. What an episode
leaves behind for it are three sums a bin, which add up over any episodes.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rotogbml.learners import accuracy

BINS = 15
"""As Guo et al. and most after them."""

_WIDTH = 2 + 3 * BINS
"""Numbers kept of an episode."""

_ON_EDGE = 1e-6
"""So far past a bin's upper edge, of one bin's width, max p is still on it: a guess of 1/5, say, is, to rounding."""


@dataclass(frozen=True)
class Scored:
    """What some episodes of one method on one target came to."""

    accuracy: np.ndarray
    """float64 [episodes], 0 … 1."""
    brier: np.ndarray
    """float64 [episodes], 0 … 2; NaN where a score was not finite."""
    bins: np.ndarray
    """float32 [episodes, 3, BINS]: queries, right ones, and the sum of max p, for each bin of max p."""

    @property
    def ece(self) -> float:
        """The expected calibration error of all queries together, 0 … 1; NaN where a score was not finite."""
        n, right, confidence = self.bins.astype(np.float64).sum(0)
        return float(np.abs(right - confidence).sum() / n.sum())


def marks(scores: Tensor, y: Tensor) -> list[float]:
    """Return what is kept of an episode: its accuracy, its Brier score, then its bins row by row.

    Args:
        scores: [q, n_way]; softmax of a row are the probabilities.
        y: [q] labels.
    """
    right, label = accuracy(scores, y), y.numpy()
    # One episode at a time and in double: the bits do not depend on what it is scored with.
    p = scores.detach().double().numpy()
    with np.errstate(invalid="ignore"):  # what is not finite stays NaN, which is said
        p = np.exp(p - p.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        top = p.max(1)
        brier = np.square(p).sum(1) - 2 * p[np.arange(len(p)), label] + 1
    inside = np.nan_to_num(np.ceil(BINS * top - _ON_EDGE) - 1).astype(np.intp)
    hit = scores.argmax(1).numpy() == label
    sums = [np.bincount(inside, weights, BINS) for weights in (None, hit, top)]
    return [right, float(brier.mean()), *np.concatenate(sums).tolist()]


def unmarked(lines: Sequence[Sequence[float]] | np.ndarray) -> Scored:
    """Return the episodes, of whom each line is what ``marks`` kept."""
    table = np.asarray(lines, dtype=np.float64).reshape(-1, _WIDTH)
    return Scored(table[:, 0], table[:, 1], table[:, 2:].reshape(-1, 3, BINS).astype(np.float32))


def to_text(lines: Sequence[Sequence[float]]) -> str:
    """Return lines of ``marks`` as text, all their bits."""
    return base64.b64encode(np.asarray(lines, dtype="<f8").tobytes()).decode()


def from_text(text: str) -> np.ndarray:
    """Return the lines that ``to_text`` made into text, [episodes, numbers]."""
    return np.frombuffer(base64.b64decode(text), "<f8").reshape(-1, _WIDTH)
