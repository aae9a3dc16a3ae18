"""What one task tells every process: small, and without a graph. Its gradients travel by columns (``ranks.py``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rotogbml.encoders.norm import Seen
from rotogbml.episodes import Episode, failure
from rotogbml.learners import Outcome

EXPLODED = 1e6
"""A query loss beyond this is none that training comes back from, although it may be a number: chance is log n."""


@dataclass(frozen=True)
class Told:
    """The small numbers of one task."""

    loss: float
    """L_i."""
    accuracy: float
    """Share of queries right, 0 … 1."""
    norm: float
    """‖∇_θ L_i‖₂."""
    feature_gradient: Tensor
    """u_i, [m], on the CPU."""
    seen: Seen
    """Batch statistics, for norm policies that keep some."""
    notes: dict[str, float]
    """What the way the gradient was taken has to say."""
    failure: str
    """The class whose queries are least often right; empty where nobody asks."""
    trouble: str
    """That loss or gradient are not finite, in words; empty where they are."""


def tell(
    outcomes: list[Outcome], theta_gradients: Tensor, where: Callable[[int], str], failing: Sequence[Episode] = ()
) -> list[Told]:
    """Return what is told of the tasks of one process.

    Args:
        outcomes: of its n_r tasks.
        theta_gradients: their ∇_θ L_i, [n_r, |θ|].
        where: says of its j-th task where it explodes, in words; asked only then.
        failing: its tasks, where their failures are asked for.
    """
    norms = theta_gradients.norm(dim=1, dtype=torch.float64).tolist()  # squares of large ones leave float32
    return [
        Told(
            loss=outcome.loss.item(),
            accuracy=outcome.accuracy,
            norm=norm,
            feature_gradient=outcome.feature_gradient.cpu(),
            seen=outcome.seen,
            notes=outcome.notes,
            failure=failure(failing[j], outcome.right) if failing and outcome.right is not None else "",
            trouble=_trouble(outcome, j, where),
        )
        for j, (outcome, norm) in enumerate(zip(outcomes, norms, strict=True))
    ]


def _trouble(outcome: Outcome, j: int, where: Callable[[int], str]) -> str:
    gradients = [*outcome.theta_gradient, *outcome.phi_gradient, *outcome.alpha_gradient]
    finite = all(bool(g.isfinite().all()) for g in [outcome.loss, *gradients])
    loss = outcome.loss.item()
    if finite and loss <= EXPLODED:
        return ""
    there = where(j)
    gradient = f"{'huge' if finite else 'not finite'}{f' ({there})' if there else ''}"
    return f"{loss:.3g} and its gradient is {gradient}"


def rows(gradients: list[list[Tensor]], group: dict[str, Tensor]) -> Tensor:
    """Return the gradients of n_r tasks at one group of parameters, tensor by tensor, as [n_r, P]."""
    if gradients:
        return torch.stack([torch.cat([g.reshape(-1) for g in each]) for each in gradients])
    like = next(iter(group.values()))
    return like.detach().new_empty(0, sum(p.numel() for p in group.values()))
