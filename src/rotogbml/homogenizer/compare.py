"""What γ makes agree: four readings of "the task's direction", since tasks share neither queries nor classes.

    mean        the mean over queries of ∇_ẑ L, the paper's g_i
    class-mean  the mean of the classes' unit directions: each class counts the same, however wrong the task is on it
    class       the classes' mean gradients, label by label
    prototype   the classes' mean features, less their mean over classes, label by label

A label says nothing of what a class shows: it is drawn for each task anew. What label c does have in all tasks is row
c of the head, where φ is shared: the gradients of queries with label c pull toward it. ``class`` compares by that row;
with heads whose start is nothing or made of the support (zero, prototype, linear-tied) there is no such row, and
``class-mean`` is the reading to take. ``prototype`` turns what is there, not what pulls at it: the tasks' classes are
brought to where one head serves them all. With slots that last, labels are shuffled from task to task and its targets
cancel; it is meant for slots of the minibatch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rotogbml.config import Compare
from rotogbml.homogenizer.plane import direction


def rows(compare: Compare, u: Tensor) -> Tensor:
    """Return the k directions that are compared, [S, d] (``mean``) or [S, n_way, d] → [S, k, d]."""
    return _ROWS[compare](u)


def _balanced(u: Tensor) -> Tensor:
    return torch.stack([torch.stack([direction(row) for row in task]).mean(0, keepdim=True) for task in u])


_ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda u: u[:, None],
    "class-mean": _balanced,
    "class": lambda u: u,
    "prototype": lambda u: u - u.mean(1, keepdim=True),
}
COMPARE = tuple(_ROWS)
