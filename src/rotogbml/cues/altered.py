"""A test of ``evaluation/`` whose episodes are altered on the way: same rows, same labels, other pixels.

It is a ``Test``, so that it is scored by the same code, on the same processes, as any other; episode ``index`` is a
pure function of (test seed, alteration, target, index).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch

from rotogbml.cues.conflict import MIXES, looks, textures
from rotogbml.cues.images import DISTORTIONS
from rotogbml.episodes import Episode, EpisodeSampler, Examples
from rotogbml.episodes.augment import normalise
from rotogbml.evaluation.work import Test
from rotogbml.seeds import numpy_generator
from rotogbml.sources.packed import PackedSource

Asks = Literal["shape", "texture", "both"]


@dataclass(frozen=True)
class Altered(Test):
    """Fixed episodes of one target, altered."""

    alteration: str
    """A name in ``DISTORTIONS`` (queries alone; the support stays clean), or a way of ``conflict.kinds``."""
    asks: Asks = "shape"
    """Of cue conflict: what a query's label is. ``both``: no conflict, the texture is of the query's own class."""

    def sampler(self) -> EpisodeSampler:
        """Return the sampler of these episodes, altered."""
        return _Sampler(self)

    def altered(self, episode: Episode, index: int) -> Episode:
        """Return the episode with its queries (of ``look``, its support too) made anew."""
        rng = numpy_generator(self.seed, "shape", self.alteration, self.source.name, index)
        x = pixels(self.source, episode.indices[1])
        if self.alteration in DISTORTIONS:
            return _with(episode, None, DISTORTIONS[self.alteration].act(x, rng), episode.query.y.numpy())
        shape = episode.query.y.numpy()
        texture = shape if self.asks == "both" else textures(shape, self.n_way, rng)
        said = texture if self.asks == "texture" else shape
        if self.alteration == "look":
            support, query = looks(self.source, episode, texture, self.seed, index)
            edge = (self.source.side - self.source.size) // 2
            inner = slice(edge, edge + self.source.size)
            return _with(episode, support[..., inner, inner], query[..., inner, inner], said)
        of = partners(shape, texture, rng)
        return _with(episode, None, MIXES[self.alteration](x, x[of], rng), said)


class _Sampler(EpisodeSampler):
    def __init__(self, test: Altered) -> None:
        task = (test.n_way, test.k_shot, test.n_query, 1, "single-source", test.seed, test.split, "none")
        super().__init__([test.source], *task, respect_groups=test.respect_groups)
        self.test = test

    def batch(self, step: int, tasks: Container[int] | None = None) -> tuple[Episode, ...]:
        """Return the altered episode of a step; there is one task."""
        return tuple(self.test.altered(episode, int(step)) for episode in super().batch(step))


def altered(test: Test, alteration: str, asks: Asks = "shape") -> Altered:
    """Return a test's episodes with an alteration."""
    return Altered(**{f.name: getattr(test, f.name) for f in fields(Test)}, alteration=alteration, asks=asks)


def pixels(source: PackedSource, rows: np.ndarray) -> np.ndarray:
    """Return the test view of some rows before normalisation: float32 [n, 3, size, size] in 0..1."""
    edge = (source.side - source.size) // 2
    cut = source.images[rows][:, edge : edge + source.size, edge : edge + source.size]
    return cut.transpose(0, 3, 1, 2).astype(np.float32) / 255


def partners(shape: np.ndarray, texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each query another query whose class is ``texture``, [q]; itself where there is no other."""
    chosen = []
    for i, label in enumerate(texture):
        others = np.flatnonzero(shape == label)
        others = others[others != i]
        chosen.append(int(rng.choice(others)) if len(others) else i)
    return np.asarray(chosen)


def _with(episode: Episode, support: np.ndarray | None, query: np.ndarray, y: np.ndarray) -> Episode:
    """Return the episode with other images; support None: as it is."""
    asked = Examples(normalise(torch.from_numpy(np.ascontiguousarray(query))), torch.from_numpy(y.copy()))
    if support is None:
        return replace(episode, query=asked)
    shown = Examples(normalise(torch.from_numpy(np.ascontiguousarray(support))), episode.support.y)
    return replace(episode, support=shown, query=asked)
