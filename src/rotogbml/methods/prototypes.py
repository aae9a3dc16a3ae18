"""ProtoNet (Snell et al. 2017): the class whose mean support feature is nearest.

    c_k = mean of f(x), x in S_k,   score_k(x) = −‖f(x) − c_k‖²

Squared Euclidean distance without a temperature, as in the paper and in the codes that agree with it; MetaOptNet's code
divides it by m and learns a scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rotogbml.learners import Psi
from rotogbml.methods.episodic import Episodic


def prototypes(support: Tensor, y: Tensor, n_way: int) -> Tensor:
    """Return the mean of each class's rows: [s, m] → [n_way, m]."""
    return torch.stack([support[y == k].mean(0) for k in range(n_way)])


def distances(query: Tensor, c: Tensor) -> Tensor:
    """Return ‖z − c_k‖² of rows [q, m] and [n_way, m]: [q, n_way].

    ‖z‖² − 2 z·c + ‖c‖² would subtract large numbers, and a square root has no derivative at 0.
    """
    return (query[:, None] - c).square().sum(2)


class ProtoNet(Episodic):
    """Nearest prototype, trained end to end."""

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return −‖z − c_k‖²."""
        return -distances(query, prototypes(support, y, n_way))
