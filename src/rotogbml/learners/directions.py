"""What a task hands to γ: gradients of its query features, all queries together or class by class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rotogbml.config import Compare


def directions(
    compare: Compare, gradients: Sequence[Tensor], features: Sequence[Tensor], y: Tensor, n_way: int
) -> Tensor:
    """Return what ``compare`` needs of a task: [m] (``mean``) or one row a class, [n_way, m].

    Args:
        compare: ``mean``: the mean over queries of the gradient of a query's own loss. ``class-mean`` and ``class``:
            that mean over each class's queries. ``prototype``: the mean feature of each class's queries.
        gradients: of the task's loss, a mean over queries, at the features of each point, [q, m] each.
        features: of each point, [q, m]; the last is ψ^τ's.
        y: [q] labels.
        n_way: classes in the task. One without queries has a row of zeros.
    """
    if compare == "mean":
        # the loss is a mean over queries: the sum of its gradients is the mean of each query's own
        return torch.stack([g.sum(0) for g in gradients]).sum(0)
    rows = features[-1].detach() if compare == "prototype" else torch.stack(list(gradients)).sum(0) * len(y)
    sums = rows.new_zeros(n_way, rows.shape[1]).index_add_(0, y, rows)
    return sums / torch.bincount(y, minlength=n_way).clamp_min(1)[:, None].to(sums)
