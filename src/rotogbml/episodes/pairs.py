"""Two episodes of different sources at once: one to step on, one to see whether the step helps elsewhere."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import torch

from rotogbml.episodes.episode import Elsewhere, Episode
from rotogbml.episodes.sampler import EpisodeSampler
from rotogbml.sources.packed import PackedSource


@dataclass(frozen=True)
class Pair:
    """Two episodes.

    Attributes:
        seen: what is stepped on.
        unseen: what the step is to help; of another source.
    """

    seen: Episode
    unseen: Episode

    @property
    def source(self) -> str:
        """The source of ``seen``."""
        return self.seen.source

    @property
    def key(self) -> int:
        """The seed of ``seen``."""
        return self.seen.key

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Pair:
        """Return the same pair on another device, images in ``dtype`` where given."""
        return Pair(self.seen.to(device, dtype), self.unseen.to(device, dtype))


class PairSampler:
    """Draws N pairs a step.

    Args:
        sampler: draws minibatches of two tasks, ``one-source-per-task``; pair i of a step is its minibatch
            step · N + i.
        pairs_per_batch: N, ≥ 1.
    """

    def __init__(self, sampler: EpisodeSampler, pairs_per_batch: int) -> None:
        self.sampler, self.pairs_per_batch = sampler, pairs_per_batch

    def serving(self) -> list[PackedSource]:
        """Return the sources that are drawn from."""
        return self.sampler.serving()

    def batch(self, step: int, tasks: Container[int] | None = None) -> tuple[Pair | Elsewhere, ...]:
        """Return the N pairs of a step; arguments as those of ``EpisodeSampler.batch``."""
        n = self.pairs_per_batch
        return tuple(self._pair(step * n + i, tasks is None or i in tasks) for i in range(n))

    def _pair(self, index: int, wanted: bool) -> Pair | Elsewhere:
        if not wanted:
            return Elsewhere(self.sampler.batch(index, ())[0].source)
        return Pair(*self.sampler.batch(index))
