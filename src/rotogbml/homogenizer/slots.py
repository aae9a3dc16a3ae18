"""Which index a task has: RotoGBML writes ω_i and γ_i, but tasks are drawn afresh in every iteration.

``source``: one slot for each training source. ω and γ learn what is particular to a distribution; this has a
meaning when the tasks of a minibatch come from different sources (the strong setting).
``position``: the literal i = 1…N, the place in the minibatch.
``minibatch``: nothing is kept; ω and γ are made anew for every minibatch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rotogbml import config
from rotogbml.errors import UsageError, did_you_mean


class Slots:
    """A mapping from the tasks of a minibatch to rows of a state.

    Args:
        kind: ``source``, ``position`` or ``minibatch``.
        names: the training sources.
        tasks_per_batch: N.

    Raises:
        UsageError: unknown kind.
    """

    def __init__(self, kind: config.Slots, names: Sequence[str], tasks_per_batch: int) -> None:
        if kind == "source":
            labels = tuple(names)
        elif kind == "position":
            labels = tuple(str(i) for i in range(tasks_per_batch))
        elif kind == "minibatch":
            labels = ()
        else:
            raise UsageError(
                f"slots={kind!r} is unknown; choose source, position or minibatch{did_you_mean(kind, KINDS)}"
            )
        self.kind = kind
        self.names: tuple[str, ...] = labels
        """Labels of the kept slots, for logs; empty where nothing is kept."""
        self._rows = {name: row for row, name in enumerate(labels)}

    def __len__(self) -> int:
        """Return the number of kept slots (0 for ``minibatch``)."""
        return len(self.names)

    def index(self, sources: Sequence[str]) -> Tensor:
        """Return the slot of each task, int64 [N]; tasks of one source share a slot under ``source``.

        Raises:
            UsageError: a source that was not named at construction, or more tasks than positions.
        """
        if self.kind == "source":
            for name in sources:
                if name not in self._rows:
                    raise UsageError(
                        f"source {name!r} has no slot; the training sources are {', '.join(self.names)}"
                        f"{did_you_mean(name, self.names)}"
                    )
            return torch.tensor([self._rows[name] for name in sources], dtype=torch.int64)
        if self.kind == "position" and len(sources) > len(self):
            raise UsageError(f"{len(sources)} tasks but {len(self)} positions: raise tasks_per_batch to {len(sources)}")
        return torch.arange(len(sources))

    def check_names(self, saved: Sequence[str], what: str) -> None:
        """Raise UsageError where a saved state belongs to other slots."""
        if tuple(saved) != self.names:
            raise UsageError(
                f"the saved {what} belongs to slots [{', '.join(saved)}], this run has [{', '.join(self.names)}]: "
                "resume with the sources, slots and tasks_per_batch of that run"
            )


KINDS = ("source", "position", "minibatch")


def average_by_slot(values: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Average the rows of ``values`` [N, ...] that share a slot.

    Returns:
        The drawn slots in ascending order [S], their means [S, ...], and how many tasks each has [S].
    """
    drawn, place, count = torch.unique(index, return_inverse=True, return_counts=True)
    if len(drawn) == len(index):
        # No sharing: only reorder, so that equal rows stay equal to the last bit.
        return drawn, values[torch.argsort(index)], count
    total = torch.zeros((len(drawn), *values.shape[1:]), dtype=values.dtype).index_add_(0, place, values)
    return drawn, total / count.reshape(-1, *[1] * (values.dim() - 1)), count
