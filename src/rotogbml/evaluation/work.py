"""Fixed test episodes, scored.

An episode is a pure function of (test seed, split, index), and so is what a method makes of it: every process computes
with one thread, and what is worked out together begins at a multiple of its length. What is kept is the same to the
bit however pieces are cut and dealt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rotogbml.episodes import Episode, EpisodeSampler
from rotogbml.evaluation import stacked
from rotogbml.evaluation.calibration import marks
from rotogbml.evaluation.methods import Spec, load
from rotogbml.memory import saying_what_to_lower
from rotogbml.sources.packed import PackedSource

LOWER = " while testing: lower --n_query, --k_shot or --workers"
"""What to do where memory runs out."""

_WHOLE = stacked.SIZES[-1]
"""Every stack's length divides it."""

_MOST = 6 * _WHOLE
"""Episodes in one piece at most."""

_METHODS = 6
"""Methods that share a piece's episodes; all of them are in memory (``load`` keeps eight)."""


@dataclass(frozen=True)
class Test:
    """Fixed episodes of one target."""

    source: PackedSource
    split: str
    n_way: int
    k_shot: int
    n_query: int
    seed: int
    respect_groups: bool = field(default=True, kw_only=True)

    @property
    def groups(self) -> str:
        """Whether lesions, leaves or patients stand on one side only: ``apart``, ``ignored``, or empty: none known."""
        return "" if self.source.groups is None else "apart" if self.respect_groups else "ignored"

    def sampler(self) -> EpisodeSampler:
        """Return the sampler of these episodes: unaugmented, one task at a time."""
        task = (self.n_way, self.k_shot, self.n_query, 1, "single-source", self.seed, self.split, "none")
        return EpisodeSampler([self.source], *task, respect_groups=self.respect_groups)

    def episode(self, index: int) -> Episode:
        """Return episode ``index``, the same for every method."""
        return self.sampler().batch(index)[0]


@dataclass(frozen=True)
class Piece:
    """Some episodes of one test for some methods; ``start``, a multiple of eight, to ``stop``."""

    specs: tuple[Spec, ...]
    test: Test
    start: int
    stop: int

    def run(self) -> list[list[list[float]]]:
        """Return the ``marks`` of each episode, method by method; its images are read once for all of them.

        Raises:
            RotogbmlError: memory ran out.
        """
        test, sampler = self.test, self.test.sampler()
        methods = [load(spec, test.source.size) for spec in self.specs]
        together = [method.together(test.n_way * test.k_shot, test.source.size) for method in methods]
        found: list[list[list[float]]] = [[] for _ in methods]
        with saying_what_to_lower(LOWER):
            for first in range(self.start, self.stop, max(together)):
                # A last stack is filled up with the episodes that would follow.
                episodes = [sampler.batch(i)[0] for i in range(first, first + max(together))]
                for method, e, values in zip(methods, together, found, strict=True):
                    for some in (episodes[i : i + e] for i in range(0, len(episodes), e)):
                        scores = method.of_all(some)
                        values += [marks(s, episode.query.y) for s, episode in zip(scores, some, strict=True)]
        return [values[: self.stop - self.start] for values in found]


def cut(specs: Sequence[Spec], tests: Sequence[Test], episodes: int, workers: int) -> Iterator[Piece]:
    """Yield the pieces of a whole evaluation, large ones first: the smaller the last, the less waits for it."""
    groups = [tuple(specs[i : i + _METHODS]) for i in range(0, len(specs), _METHODS)]
    left = len(groups) * len(tests) * episodes
    for group in groups:
        for test in tests:
            start = 0
            while start < episodes:
                share = left // (2 * workers) // _WHOLE * _WHOLE
                stop = min(start + min(max(share, _WHOLE), _MOST), episodes)
                yield Piece(group, test, start, stop)
                left -= stop - start
                start = stop
