"""Episodes as a pure function of (seed, split, step): no iterator, no state, the same in any order and process."""

from __future__ import annotations

import logging
from collections.abc import Collection, Container, Iterable, Mapping
from typing import Literal, overload

import numpy as np
import torch

from rotogbml.episodes.apart import draw_apart, filling
from rotogbml.episodes.augment import Kind, augment, centre
from rotogbml.episodes.episode import Elsewhere, Episode, Examples
from rotogbml.episodes.unequal import check, frequencies, misled
from rotogbml.errors import UsageError
from rotogbml.seeds import derive, numpy_generator
from rotogbml.sources.packed import PackedSource

Mix = Literal["one-source-per-task", "single-source", "uniform", "by-classes"]

_SEVERAL = "one-source-per-task", "by-classes"
"""What a minibatch of one source is not."""

log = logging.getLogger(__name__)

_TRIES = 32
"""Draws of other classes before a task with groups is given up."""


class EpisodeSampler:
    """Draws minibatches of N tasks from several sources.

    Args:
        sources: the distributions, in any order; they are used sorted by name.
        n_way: classes in a task, ≥ 2.
        k_shot: support images a class, or a pair (low, high) drawn anew for each task.
        n_query: query images a class, ≥ 1.
        tasks_per_batch: N, ≥ 1.
        mix: ``one-source-per-task`` gives N different sources while N ≤ their number (no source a second time
            before each came once); ``single-source`` gives one source to the whole minibatch; ``uniform`` draws a
            source for each task on its own; ``by-classes`` too, a source as often as it has classes that fill a
            task, so that every class is drawn alike and small sources are not learned by heart.
        seed: names the stream of draws.
        split: which classes: ``train``, ``val``, ``test``, or ``all``.
        augment: how training images vary; ``none`` for validation and test.
        respect_groups: whether images of one group (a lesion, a leaf, a patient) never stand in support and query
            both, in sources that name groups.
        label_noise: of some sources, the share of labels that are wrong.
        weights: of some sources, how often they are drawn as against the others; with ``uniform`` alone.

    Raises:
        UsageError: no source, one source with ``one-source-per-task`` or ``by-classes``, or no source with n_way
            classes of k_shot + n_query images in this split, or none in which their groups can be kept apart.
    """

    def __init__(
        self,
        sources: Iterable[PackedSource],
        n_way: int,
        k_shot: int | tuple[int, int],
        n_query: int,
        tasks_per_batch: int = 4,
        mix: Mix = "one-source-per-task",
        seed: int = 0,
        split: str = "train",
        augment: Kind = "none",
        respect_groups: bool = True,
        label_noise: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.sources = sorted(sources, key=lambda source: source.name)
        self.n_way, self.n_query = n_way, n_query
        self.k_low, self.k_high = (k_shot, k_shot) if isinstance(k_shot, int) else k_shot
        self.tasks_per_batch, self.mix, self.seed, self.split = tasks_per_batch, mix, seed, split
        self.augment, self.respect_groups = augment, respect_groups
        self.label_noise, self.weights = label_noise or {}, weights or {}
        self._enough: dict[int, dict[str, list[int]]] = {}
        self._check()

    @overload
    def batch(self, step: int) -> tuple[Episode, ...]: ...
    @overload
    def batch(self, step: int, tasks: Container[int]) -> tuple[Episode | Elsewhere, ...]: ...

    def batch(self, step: int, tasks: Container[int] | None = None) -> tuple[Episode | Elsewhere, ...]:
        """Return the N episodes of a step: a pure function of (seed, split, step).

        Args:
            step: which minibatch.
            tasks: places in it whose images are wanted; of the others only the source is told. All where not given.
        """
        return self.favouring({}, step, tasks)

    def favouring(
        self, first: Mapping[str, Collection[str]], step: int, tasks: Container[int] | None = None
    ) -> tuple[Episode | Elsewhere, ...]:
        """Return the N episodes of a step, where of some sources classes, by name, are drawn before any other."""
        step = int(step)  # NumPy's integers would name other streams
        rng = numpy_generator(self.seed, "minibatch", self.split, step)
        shots = [int(rng.integers(self.k_low, self.k_high + 1)) for _ in range(self.tasks_per_batch)]
        return tuple(
            Elsewhere(source.name)
            if tasks is not None and i not in tasks
            else self._episode(source, k, first.get(source.name, ()), step, i)
            for i, (source, k) in enumerate(self._mixed(shots, rng))
        )

    def serving(self) -> list[PackedSource]:
        """Return the sources that can fill a task of at least one k_shot: the others are never drawn."""
        return self._able(self.k_low)

    def _mixed(self, shots: list[int], rng: np.random.Generator) -> list[tuple[PackedSource, int]]:
        """Give each task its source. A source that cannot fill a task is left out for that task alone."""
        if self.mix == "single-source":
            # One source must serve every task of the minibatch, so the largest k decides who is able.
            able = self._able(max(shots))
            source = able[rng.integers(len(able))]
            return [(source, k) for k in shots]
        drawn, used = {}, set()
        # Most shots first: few sources can fill them, and none of those may be spent on a task that any could fill.
        for i in sorted(range(len(shots)), key=lambda i: -shots[i]):
            able = self._able(shots[i])
            if self.mix == "one-source-per-task":
                fresh = [source for source in able if source.name not in used]
                if not fresh:  # N exceeds the number of sources: start the next round
                    used.clear()
                    fresh = able
                able = fresh
            source = able[self._one_of(able, shots[i], rng)]
            used.add(source.name)
            drawn[i] = source, shots[i]
        return [drawn[i] for i in range(len(shots))]

    def _one_of(self, able: list[PackedSource], k: int, rng: np.random.Generator) -> int:
        weights = self.weights
        if self.mix == "by-classes":
            weights = {source.name: len(self._classes(source, k)) for source in able}
        if not weights:
            return int(rng.integers(len(able)))
        return int(rng.choice(len(able), p=frequencies([source.name for source in able], weights)))

    def _episode(self, source: PackedSource, k: int, first: Collection[str], step: int, task: int) -> Episode:
        rng = numpy_generator(self.seed, "episode", self.split, step, task)
        enough = self._classes(source, k)
        chosen, drawn = self._rows(source, enough, k, first, rng)
        support = [(row, label) for label, (rows, _) in enumerate(drawn) for row in rows]
        query = [(row, label) for label, (_, rows) in enumerate(drawn) for row in rows]
        # Shuffled, so that nothing can be read from a position.
        s_rows, s_y = np.asarray(support)[rng.permutation(len(support))].T
        q_rows, q_y = np.asarray(query)[rng.permutation(len(query))].T
        if share := self.label_noise.get(source.name, 0.0):
            wrong = numpy_generator(self.seed, "label noise", self.split, step, task)
            s_y, q_y = (misled(y, self.n_way, share, wrong) for y in (s_y, q_y))
        seed = derive(self.seed, "augment", self.split, step, task)
        x = self._images(source, np.concatenate([s_rows, q_rows]), seed)
        n = len(s_rows)
        return Episode(
            support=Examples(x[:n], torch.from_numpy(s_y.copy())),
            query=Examples(x[n:], torch.from_numpy(q_y.copy())),
            source=source.name,
            classes=tuple(source.classes[int(c)] for c in chosen),
            indices=(s_rows.copy(), q_rows.copy()),
        )

    def _rows(
        self, source: PackedSource, enough: list[int], k: int, first: Collection[str], rng: np.random.Generator
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Draw the classes of a task, and the support and query rows of each."""
        if source.groups is None or not self.respect_groups:
            chosen = self._chosen(source, enough, first, rng)
            drawn = [rng.choice(np.asarray(source.rows(int(c))), size=k + self.n_query, replace=False) for c in chosen]
            return chosen, [(rows[:k], rows[k:]) for rows in drawn]
        # A patient of two findings can leave a class too little; then other classes are drawn, in the end any.
        for i in range(_TRIES):
            chosen = self._chosen(source, enough, first if i < _TRIES // 2 else (), rng)
            rows = [np.asarray(source.rows(int(c))) for c in chosen]
            found = draw_apart(rng, rows, source.groups, k, self.n_query)
            if found is not None:
                return chosen, found
        raise UsageError(
            f"{source.name}: no {self.n_way}-way task of {k} + {self.n_query} images a class was found in which no "
            "group (lesion, leaf, patient) stands on both sides: lower n_query or k_shot, or take respect_groups false"
        )

    def _chosen(
        self, source: PackedSource, enough: list[int], first: Collection[str], rng: np.random.Generator
    ) -> np.ndarray:
        """Draw the classes of a task, in the order of their labels."""
        drawn = rng.permutation(enough)
        if not first:
            return drawn[: self.n_way]
        later = [source.classes[int(c)] not in first for c in drawn]
        return rng.permutation(drawn[np.argsort(later, kind="stable")][: self.n_way])

    def _images(self, source: PackedSource, rows: np.ndarray, seed: int) -> torch.Tensor:
        pixels = source.images[rows]
        if self.augment == "none":
            return centre(pixels, source.size)
        return augment(pixels, source.size, self.augment, torch.Generator().manual_seed(seed))

    def _classes(self, source: PackedSource, k: int) -> list[int]:
        """Classes of the split that hold k + n_query images; worked out once for each k."""
        if k not in self._enough:
            self._enough[k] = {
                each.name: filling(each, self.split, k, self.n_query, apart=self.respect_groups)
                for each in self.sources
            }
        return self._enough[k][source.name]

    def _able(self, k: int) -> list[PackedSource]:
        return [source for source in self.sources if len(self._classes(source, k)) >= self.n_way]

    def _say_who_is_left_out(self) -> None:
        """Say of each source, once, how many classes are never drawn, and from how many shots on it cannot serve."""
        for source in self.sources:
            every, enough = len(source.classes_of(self.split)), len(self._classes(source, self.k_low))
            if self.n_way <= enough < every:
                log.warning(
                    "%s: %d of its %d '%s' classes hold fewer than %d + %d images and are never drawn",
                    *(source.name, every - enough, every, self.split, self.k_low, self.n_query),
                )
            for k in range(self.k_low, self.k_high + 1):
                enough = len(self._classes(source, k))
                if enough < self.n_way:
                    log.warning(
                        "%s is left out of %d-way tasks of %d shots and more: %d '%s' classes hold %d + %d images",
                        *(source.name, self.n_way, k, enough, self.split, k, self.n_query),
                    )
                    break

    def _check(self) -> None:
        if self.n_way < 2:
            raise UsageError(f"n_way is {self.n_way}: a task needs at least 2 classes")
        if not 1 <= self.k_low <= self.k_high:
            given = self.k_low if self.k_low == self.k_high else [self.k_low, self.k_high]
            raise UsageError(f"k_shot is {given}: give a number ≥ 1, or [low, high] with low ≤ high")
        if self.n_query < 1 or self.tasks_per_batch < 1:
            raise UsageError(f"n_query is {self.n_query}, tasks_per_batch is {self.tasks_per_batch}: both must be ≥ 1")
        check([source.name for source in self.sources], self.label_noise, self.weights, self.mix)
        if not self.sources:
            raise UsageError(f"no source to draw '{self.split}' episodes from: name at least one with --sources")
        for k in (self.k_low, self.k_high):
            if not self._able(k):
                raise UsageError(self._why_none(k))
        able = self._able(self.k_low)
        if self.mix in _SEVERAL and self.tasks_per_batch > 1 and len(able) == 1:
            others = (
                "" if len(self.sources) == 1 else f" (the others lack classes or images for {self.n_way}-way tasks)"
            )
            raise UsageError(
                f"mix '{self.mix}' needs two sources or more, here is only '{able[0].name}'{others}: "
                "add sources, or take --shift weak (or --episodes.mix single-source)"
            )
        self._say_who_is_left_out()

    def _why_none(self, k: int) -> str:
        """Say whether classes or images are lacking, and how many there would be."""
        sizes = {
            source.name: sorted((len(source.rows(c)) for c in source.classes_of(self.split)), reverse=True)
            for source in self.sources
        }
        most = max(sizes, key=lambda name: len(sizes[name]))
        if len(sizes[most]) < self.n_way:
            return (
                f"n_way is {self.n_way}, but no source has so many '{self.split}' classes "
                f"(most: '{most}' with {len(sizes[most])}): lower n_way or add classes"
            )
        nth = {name: each[self.n_way - 1] for name, each in sizes.items() if len(each) >= self.n_way}
        best = max(nth, key=nth.__getitem__)
        if nth[best] >= k + self.n_query:
            return (
                f"k_shot + n_query is {k} + {self.n_query} images a class, but no source has {self.n_way} "
                f"'{self.split}' classes of so many once images of one group (lesion, leaf, patient) are kept on one "
                "side: lower n_query or k_shot, or take respect_groups false"
            )
        return (
            f"k_shot + n_query is {k} + {self.n_query} = {k + self.n_query} images a class, but no source has "
            f"{self.n_way} '{self.split}' classes of so many (nearest: '{best}', whose {self.n_way} largest have "
            f"{nth[best]} or more): lower n_query or k_shot, or add images"
        )
