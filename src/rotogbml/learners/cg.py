"""Conjugate gradient (Hestenes & Stiefel 1952) for A x = b, with A known by its products alone.

Truncated after Steihaug (1983): where a direction of no positive curvature is met, or the iterate would leave a ball
about 0, it stops on the ball's edge. On a positive definite system whose solution lies in the ball it is never met,
since the iterates grow from step to step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Solution:
    """What conjugate gradient came to."""

    x: Tensor
    """[n]."""
    residual: float
    """‖b − A x‖ / ‖b‖, by the recurrence."""
    steps: int
    """Products with A that were taken."""
    negative_curvature: bool
    """A direction with pᵀAp ≤ 0 was met, or the ball was left: x lies on its edge."""


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, steps: int, tolerance: float, radius: float = 1.0
) -> Solution:
    """Solve A x = b for symmetric positive definite A.

    Args:
        product: v ↦ A v, [n] → [n].
        b: right-hand side, [n].
        steps: products with A at the most, ≥ 1.
        tolerance: stop where the relative residual is at most this.
        radius: of the ball, in lengths of b, > 0; inf for plain conjugate gradient.
    """
    scale = b.norm()
    if not scale > 0:
        return Solution(torch.zeros_like(b), 0.0, 0, False)
    x, r = torch.zeros_like(b), b.clone()
    p, rr = r.clone(), r @ r
    for k in range(steps):
        Ap = product(p)
        curvature = p @ Ap
        a = rr / curvature
        if not curvature > 0 or (x + a * p).norm() > radius * scale:
            a = _to_the_edge(x, p, radius * scale)
            return Solution(x + a * p, float((r - a * Ap).norm() / scale), k + 1, True)
        x, r = x + a * p, r - a * Ap
        rr, before = r @ r, rr
        if rr.sqrt() <= tolerance * scale:
            return Solution(x, float(rr.sqrt() / scale), k + 1, False)
        p = r + (rr / before) * p
    return Solution(x, float(rr.sqrt() / scale), steps, False)


def _to_the_edge(x: Tensor, p: Tensor, radius: Tensor) -> Tensor:
    """Return a ≥ 0 with ‖x + a p‖ = radius, for x inside."""
    pp, xp, xx = p @ p, x @ p, x @ x
    return ((xp.square() + pp * (radius.square() - xx).clamp_min(0)).sqrt() - xp) / pp
