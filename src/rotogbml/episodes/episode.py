"""One few-shot task as the learner sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rotogbml.seeds import derive


@dataclass(frozen=True)
class Examples:
    """Labelled images.

    Attributes:
        x: float32 [b, 3, size, size], normalised.
        y: int64 [b], labels 0 … n_way − 1.
    """

    x: Tensor
    y: Tensor

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Examples:
        """Return the same examples on another device, images in ``dtype`` where given."""
        return Examples(self.x.to(device=device, dtype=dtype), self.y.to(device=device))


@dataclass(frozen=True)
class Episode:
    """A task: adapt on ``support``, judge on ``query``.

    Attributes:
        support: n_way · k_shot examples, balanced, in shuffled order.
        query: n_way · n_query examples, balanced, in shuffled order.
        source: name of the distribution all its images come from.
        classes: class name of each label.
        indices: rows of the source's image array, (support, query); no row stands in both.
    """

    support: Examples
    query: Examples
    source: str
    classes: tuple[str, ...]
    indices: tuple[np.ndarray, np.ndarray]

    @property
    def key(self) -> int:
        """A seed of the task's own: a pure function of its source and rows."""
        return derive(0, "episode", self.source, *(int(row) for side in self.indices for row in side))

    @property
    def n_way(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def asking(self, x: Tensor) -> Episode:
        """Return the episode with queries [q, 3, size, size] that nobody labelled (y is −1)."""
        return replace(self, query=Examples(x, x.new_full((len(x),), -1, dtype=torch.int64)))

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Episode:
        """Return the same episode on another device, images in ``dtype`` where given."""
        support, query = self.support.to(device, dtype), self.query.to(device, dtype)
        return Episode(support, query, self.source, self.classes, self.indices)


@dataclass(frozen=True)
class Elsewhere:
    """A task of the minibatch that another process draws and works on: all that is known of it here."""

    source: str
    """Name of the distribution its images come from."""

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Elsewhere:
        """Return itself: there is nothing to move."""
        return self
