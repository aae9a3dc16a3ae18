"""How ω goes down the sub-gradient of eq. 5: three readings of "update ω with η_ω".

Each is a function of ω, G, I of some tasks [N] and the slots they move [N]; what it returns is > 0 and not normalised.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from rotogbml.homogenizer.adam import Adam
from rotogbml.homogenizer.slots import average_by_slot


def targets(ω: Tensor, G: Tensor, I: Tensor, β: float) -> Tensor:  # noqa: E741
    """Return ḡ I_i^β, the weighted norm that each task should have, [N]."""
    return (ω * G).mean() * I**β


_EQUAL = 1e-9
"""Relative distance from the target that counts as none, so that rounding never moves a balanced ω."""

FLOOR = 0.01
"""A literal step may end below 0: no weight is set below this share of the minibatch's mean one. Kept slots are scaled
to their own sum after that, so that one may end below this share of theirs."""


def subgradient(ω: Tensor, G: Tensor, I: Tensor, β: float) -> Tensor:  # noqa: E741
    """Return ∂/∂ω_i Σ_i |ω_i G_i − ḡ I_i^β| = sign(ω_i G_i − ḡ I_i^β) · G_i with ḡ constant, [N] (eq. 5).

    It is 0 at the target, where "at" allows for rounding.
    """
    target = targets(ω, G, I, β)
    off = ω * G - target
    return torch.where(off.abs() <= _EQUAL * target, 0.0, off.sign() * G)


def step(ω: Tensor, G: Tensor, I: Tensor, β: float, lr: float) -> Tensor:  # noqa: E741
    """Return ω after one sub-gradient step of size lr that does not cross the kink, [N], not normalised.

    This is the proximal step of the same objective: equal to ω − lr·subgradient wherever that stays on its
    side of the target, and the target itself otherwise. A plain step would jump past it by up to lr·G_i, with
    large gradients further than ω itself.
    """
    gradient = subgradient(ω, G, I, β)
    room = (ω - targets(ω, G, I, β) / G).abs()
    return torch.where(gradient == 0, ω, ω - gradient.sign() * torch.minimum(lr * gradient.abs(), room))


class Descent(Protocol):
    """One step on ω."""

    def __call__(self, ω: Tensor, G: Tensor, I: Tensor, index: Tensor) -> Tensor:  # noqa: E741
        """Return the moved ω [N], > 0; ``index`` [N] holds the tasks' slots."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a saved state."""
        ...


class Proximal:
    """The sub-gradient step that stops at the target (``step``)."""

    def __init__(self, β: float, lr: float) -> None:
        self.β, self.lr = β, lr

    def __call__(self, ω: Tensor, G: Tensor, I: Tensor, index: Tensor) -> Tensor:  # noqa: E741
        """Return the moved ω."""
        return step(ω, G, I, self.β, self.lr)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: it has no memory."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing."""


class PlainSgd(Proximal):
    """The literal ω − η_ω ∂, which may jump past the target by up to η_ω G_i."""

    def __call__(self, ω: Tensor, G: Tensor, I: Tensor, index: Tensor) -> Tensor:  # noqa: E741
        """Return the moved ω."""
        return _positive(ω, self.lr * subgradient(ω, G, I, self.β))


class AdamDescent:
    """The sub-gradient through Adam, the paper's optimizer: each ω moves by about η_ω whatever its gradient.

    Moments belong to slots; tasks that share one move it by their average sub-gradient.
    """

    def __init__(self, β: float, lr: float, slots: int) -> None:
        self.β, self.lr = β, lr
        self.adam = Adam(slots)

    def __call__(self, ω: Tensor, G: Tensor, I: Tensor, index: Tensor) -> Tensor:  # noqa: E741
        """Return the moved ω."""
        # Without kept slots each minibatch starts anew, each task a slot.
        adam = self.adam if len(self.adam.count) else Adam(int(index.max()) + 1)
        drawn, gradient, _ = average_by_slot(subgradient(ω, G, I, self.β), index)
        moved = torch.zeros(int(index.max()) + 1, dtype=ω.dtype)
        moved[drawn] = adam.direction(drawn, gradient)
        return _positive(ω, self.lr * moved[index])

    def state_dict(self) -> dict[str, Any]:
        """Return Adam's moments."""
        return self.adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take Adam's moments."""
        self.adam.load_state_dict(state)


def _positive(ω: Tensor, change: Tensor) -> Tensor:
    return (ω - change).clamp_min(FLOOR * float(ω.mean()))


def create_descent(optimizer: str, β: float, lr: float, slots: int) -> Descent:
    """Return the descent of that name (``proximal``, ``sgd``, ``adam``)."""
    makers = {
        "proximal": lambda: Proximal(β, lr),
        "sgd": lambda: PlainSgd(β, lr),
        "adam": lambda: AdamDescent(β, lr, slots),
    }
    return makers[optimizer]()
