"""The simplest rivals of ω: each task's gradient clipped, or scaled to length 1. They need only the norms G_i."""

from __future__ import annotations

import torch
from torch import Tensor

from rotogbml.homogenizer.rivals.method import Memoryless, Minibatch


class Sum(Memoryless):
    """Σ_i g_i: N times the mean. To Adam it is the same; to SGD an N times larger step."""

    needs_gram = False

    def weights(self, minibatch: Minibatch) -> Tensor:
        """Return N for every task."""
        return torch.full_like(minibatch.norms, len(minibatch.norms))


class Unit(Memoryless):
    """w_i = 1/G_i: every task's encoder gradient has length 1. A task without gradient has weight 0."""

    needs_gram = False

    def weights(self, minibatch: Minibatch) -> Tensor:
        """Return 1/G_i."""
        G = minibatch.norms
        return torch.where(G > 0, 1 / G, 0.0)


class Clip(Memoryless):
    """w_i = min(1, c/G_i): no task's encoder gradient is longer than c.

    Args:
        largest: c; None takes the median norm of the minibatch, of an even number the lower of the two.
    """

    needs_gram = False

    def __init__(self, largest: float | None) -> None:
        self.largest = largest

    def weights(self, minibatch: Minibatch) -> Tensor:
        """Return min(1, c/G_i)."""
        G = minibatch.norms
        c = G.median() if self.largest is None else self.largest
        return torch.where(G > 0, (c / G).clamp_max(1.0), 1.0)
