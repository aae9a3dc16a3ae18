"""Hard tasks (Sun et al., "Meta-Transfer Learning", CVPR 2019, section 4.3): what a step failed at comes again.

    failure     the class of a task whose queries are least often right, by rank: there is always one
    hard task   its classes are drawn from the failures of its source first, then from the source's others

No public code has it, and how often and from how many failures stands in a paper that we could not read (arXiv
1910.03648). Our reading: every M-th minibatch is one of hard tasks, and each ordinary minibatch gives its failures to
exactly one of these, so that old ones are forgotten. Tasks keep the sources that the ordinary sampler would give them.

Failures are state of the run, and a hard minibatch is a pure function of (seed, split, step) and of them. The next
minibatch may be drawn while this one trains (``training/prefetch.py``): the one of a step is therefore drawn from the
failures up to two steps before, whoever draws it and whenever.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import torch
from torch import Tensor

from rotogbml.episodes.episode import Elsewhere, Episode
from rotogbml.episodes.sampler import EpisodeSampler
from rotogbml.errors import UsageError
from rotogbml.sources.packed import PackedSource


def failure(episode: Episode, right: Tensor) -> str:
    """Return the class whose queries are least often right; of several the first, and labels are dealt by chance.

    Args:
        episode: whose queries are judged by its labels, wrong ones too; a class without any has not failed.
        right: bool [q], whether each query is.
    """
    y, n = episode.query.y, episode.n_way
    hits, queries = torch.bincount(y[right], minlength=n).tolist(), torch.bincount(y, minlength=n).tolist()
    return episode.classes[min(range(n), key=lambda k: hits[k] / queries[k] if queries[k] else 1.0)]


class HardSampler:
    """Draws minibatches of N tasks; every M-th is one of hard tasks, once there are failures.

    Args:
        sampler: draws them.
        every: M, ≥ 2.

    Raises:
        UsageError: M is less.
    """

    def __init__(self, sampler: EpisodeSampler, every: int) -> None:
        if every < 2:
            raise UsageError(
                f"method.hard_tasks is {every}: give 0 for none, or 2 and more, since the minibatches between tell "
                "what is hard"
            )
        self.sampler, self.every = sampler, every
        # Replaced, never changed: another thread may be drawing.
        self._failures: dict[int, list[list[str]]] = {}

    def serving(self) -> list[PackedSource]:
        """Return the sources that are drawn from."""
        return self.sampler.serving()

    def batch(self, step: int, tasks: Container[int] | None = None) -> tuple[Episode | Elsewhere, ...]:
        """Return the N episodes of a step; arguments as those of ``EpisodeSampler.batch``."""
        return self.sampler.favouring(self.failures(step), step, tasks)

    def failures(self, step: int) -> dict[str, set[str]]:
        """Return what the minibatch of a step is drawn from, by source; nothing where it is an ordinary one."""
        found: dict[str, set[str]] = {}
        # As many minibatches as there are from one hard one to the next, the last of them two steps before.
        for earlier in range(step - self.every - 1, step - 1) if self._is_hard(step) else ():
            for source, name in self._failures.get(earlier, ()):
                found.setdefault(source, set()).add(name)
        return found

    def collect(self, step: int, sources: Sequence[str], failures: Sequence[str]) -> None:
        """Keep the failures of an ordinary minibatch, and drop those that no minibatch to come is drawn from.

        Args:
            step: which minibatch; steps come in their order.
            sources: of its N tasks.
            failures: of its N tasks, by name.
        """
        if self._is_hard(step):
            return
        kept = {earlier: pairs for earlier, pairs in self._failures.items() if earlier >= step - self.every}
        self._failures = {**kept, step: [[source, name] for source, name in zip(sources, failures, strict=True)]}

    def state_dict(self) -> dict[str, Any]:
        """Return the failures, by step."""
        return {"failures": self._failures}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up saved failures."""
        self._failures = dict(state["failures"])

    def _is_hard(self, step: int) -> bool:
        return (step + 1) % self.every == 0
