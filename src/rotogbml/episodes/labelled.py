"""Minibatches of labelled images, as supervised pre-training takes them: a pure function of (seed, step) too."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from rotogbml.episodes.augment import Kind, augment, centre
from rotogbml.episodes.episode import Elsewhere, Examples
from rotogbml.errors import UsageError
from rotogbml.seeds import derive, numpy_generator
from rotogbml.sources.packed import PackedSource

POOLED = "pooled"
"""The source that a minibatch of images of all sources is told under."""


@dataclass(frozen=True)
class Labelled:
    """One minibatch of labelled images.

    Attributes:
        images: b of them, with labels 0 … C − 1 over the training classes of all sources (``labels``).
        source: the one that all come from, or ``POOLED``.
        key: a seed of its own.
    """

    images: Examples
    source: str
    key: int

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Labelled:
        """Return the same minibatch on another device, images in ``dtype`` where given."""
        return Labelled(self.images.to(device, dtype), self.source, self.key)


def labels(classes: dict[str, int]) -> dict[str, range]:
    """Return each source's labels among all: sources by name, one after the other.

    Args:
        classes: how many training classes each source has.
    """
    ranges, first = {}, 0
    for name, n in sorted(classes.items()):
        ranges[name] = range(first, first + n)
        first += n
    return ranges


class LabelledSampler:
    """Draws N minibatches of labelled images a step.

    Args:
        sources: the distributions; their ``train`` classes are drawn from.
        batch_size: images in one, ≥ 2.
        tasks_per_batch: N, ≥ 1.
        seed: names the stream of draws.
        augment: how images vary.
        pooled: for each image a source is drawn, then one of its images, all alike; else each minibatch is of one
            source, and no source comes a second time before each came once.

    Raises:
        UsageError: a number out of its range, or a source with less than two training classes.
    """

    def __init__(
        self,
        sources: Iterable[PackedSource],
        batch_size: int,
        tasks_per_batch: int = 4,
        seed: int = 0,
        augment: Kind = "none",
        pooled: bool = True,
    ) -> None:
        self.sources = sorted(sources, key=lambda source: source.name)
        self.batch_size, self.tasks_per_batch, self.seed = batch_size, tasks_per_batch, seed
        self.augment, self.pooled = augment, pooled
        if batch_size < 2:
            raise UsageError(f"method.batch_size is {batch_size}: a minibatch has at least 2 images")
        if tasks_per_batch < 1:
            raise UsageError(f"tasks_per_batch is {tasks_per_batch}: it must be at least 1")
        for source in self.sources:
            if len(source.classes_of("train")) < 2:
                raise UsageError(
                    f"'{source.name}' has {len(source.classes_of('train'))} training classes, and there is nothing to "
                    f"tell apart in less than 2: leave it out with --holdout {source.name}"
                )
        self.labels = labels({source.name: len(source.classes_of("train")) for source in self.sources})
        self._rows = {source.name: _rows(source) for source in self.sources}

    def serving(self) -> list[PackedSource]:
        """Return the sources that are drawn from: all."""
        return self.sources

    def shares(self) -> dict[str, tuple[int, int]]:
        """Return, by source, how many training images it has and how many a minibatch takes of it, as a mean."""
        wanted = math.ceil(self.batch_size / (len(self.sources) if self.pooled else 1))
        return {name: (len(rows), wanted) for name, (rows, _) in self._rows.items()}

    def batch(self, step: int, tasks: Container[int] | None = None) -> tuple[Labelled | Elsewhere, ...]:
        """Return the N minibatches of a step.

        Args:
            step: which.
            tasks: places whose images are wanted; of the others only the source is told. All where not given.
        """
        rng = numpy_generator(self.seed, "labelled", int(step))
        order = np.concatenate([rng.permutation(len(self.sources)) for _ in range(self.tasks_per_batch)])
        found: list[Labelled | Elsewhere] = []
        for i in range(self.tasks_per_batch):
            alone = None if self.pooled and len(self.sources) > 1 else self.sources[order[i]]
            name = POOLED if alone is None else alone.name
            wanted = tasks is None or i in tasks
            found.append(self._minibatch(alone, name, int(step), i) if wanted else Elsewhere(name))
        return tuple(found)

    def _minibatch(self, alone: PackedSource | None, name: str, step: int, place: int) -> Labelled:
        rng = numpy_generator(self.seed, "labelled", step, place)
        generator = torch.Generator().manual_seed(derive(self.seed, "augment", "labelled", step, place))
        sources = self.sources if alone is None else [alone]
        counts = np.bincount(rng.integers(len(sources), size=self.batch_size), minlength=len(sources))
        x, y = [], []
        for source, count in zip(sources, counts, strict=True):
            if not count:
                continue
            rows, classes = self._rows[source.name]
            at = rng.choice(len(rows), size=count, replace=bool(count > len(rows)))
            x.append(self._images(source, rows[at], generator))
            y.append(torch.from_numpy(classes[at] + self.labels[source.name].start))
        key = derive(self.seed, "labelled", "key", step, place)
        return Labelled(Examples(torch.cat(x), torch.cat(y)), name, key)

    def _images(self, source: PackedSource, rows: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        pixels = source.images[rows]
        if self.augment == "none":
            return centre(pixels, source.size)
        return augment(pixels, source.size, self.augment, generator)


def _rows(source: PackedSource) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of all training images, and each one's label within the source."""
    rows = [np.asarray(source.rows(c)) for c in source.classes_of("train")]
    return np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(each) for each in rows])
