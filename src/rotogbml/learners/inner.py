"""The inner loop: plain gradient descent on one group of parameters."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

import torch
from torch import Tensor

K = TypeVar("K", bound=Hashable)


def descend(
    loss: Callable[[dict[K, Tensor]], Tensor], params: dict[K, Tensor], lr: float, steps: int, create_graph: bool
) -> dict[K, Tensor]:
    """Return ψ^τ after τ steps ψ ← ψ − η ∇L(ψ).

    Args:
        loss: the support loss as a function of the parameters that adapt.
        params: where to start; the result stays attached to it.
        lr: η_base.
        steps: τ; 0 returns ``params``.
        create_graph: keep the derivatives of the steps themselves. Without it each step's gradient is a constant,
            so that the result depends on ``params`` through the identity alone: first-order MAML.
    """
    for _ in range(steps):
        gradients = torch.autograd.grad(loss(params), list(params.values()), create_graph=create_graph)
        params = {name: p - lr * g for (name, p), g in zip(params.items(), gradients, strict=True)}
    return params
