"""Losses and norms as ω is to see them, smoothed over time: one minibatch is a noisy witness of a source.

L̄ ← s L̄ + (1 − s) L,   Ḡ ← s Ḡ + (1 − s) G        by slot, from the slot's first task on
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rotogbml.homogenizer.slots import Slots, average_by_slot


class Smoothing:
    """Exponential averages of L and G by slot.

    Args:
        slots: what an average belongs to; kept ones.
        share: s, the share of the past, in (0, 1).
    """

    def __init__(self, slots: Slots, share: float) -> None:
        self.share = share
        self.averages = torch.full((len(slots), 2), torch.nan, dtype=torch.float64)
        """L̄ and Ḡ, [S, 2]; NaN until a slot's first task."""

    def __call__(self, L: Tensor, G: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Take losses and norms [N] of the slots ``index`` [N] in; return L̄ and Ḡ of each task, [N].

        A number that is not finite is passed over: the slot's average stays.
        """
        drawn, now, _ = average_by_slot(torch.stack([L, G], dim=1), index)
        before = self.averages[drawn]
        now = torch.where(now.isfinite(), now, before)
        averages = self.averages.clone()
        averages[drawn] = torch.where(before.isnan(), now, self.share * before + (1 - self.share) * now)
        self.averages = averages
        L̄, Ḡ = averages[index].unbind(1)
        return L̄, Ḡ

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"averages": self.averages.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a saved state."""
        self.averages = state["averages"].clone()
