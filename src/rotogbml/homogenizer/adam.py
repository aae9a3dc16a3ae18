"""Adam for the leader's own numbers: moments by slot, so that a slot moves only when it is drawn (Kingma & Ba 2015)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """First and second moments of S slots, each with a count of its own steps; float64.

    Args:
        slots: S.
        shape: of one slot's numbers.
    """

    def __init__(self, slots: int, shape: tuple[int, ...] = ()) -> None:
        self.first = torch.zeros(slots, *shape, dtype=torch.float64)
        self.second = torch.zeros(slots, *shape, dtype=torch.float64)
        self.count = torch.zeros(slots, dtype=torch.float64)

    def direction(self, drawn: Tensor, gradient: Tensor) -> Tensor:
        """Return what is to be subtracted, times the rate, for gradients [D, ...] of the slots ``drawn`` [D]."""
        self.count[drawn] += 1
        self.first[drawn] = BETA1 * self.first[drawn] + (1 - BETA1) * gradient
        self.second[drawn] = BETA2 * self.second[drawn] + (1 - BETA2) * gradient**2
        count = self.count[drawn].reshape(-1, *[1] * (gradient.dim() - 1))
        first, second = self.first[drawn] / (1 - BETA1**count), self.second[drawn] / (1 - BETA2**count)
        return first / (second.sqrt() + EPSILON)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"first": self.first.clone(), "second": self.second.clone(), "count": self.count.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a saved state."""
        self.first, self.second, self.count = (state[name].clone() for name in ("first", "second", "count"))
