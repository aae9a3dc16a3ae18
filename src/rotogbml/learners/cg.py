"""Conjugate gradient (Hestenes & Stiefel 1952) for A x = b, with A known by its products alone.

Truncated after Steihaug (1983): where a direction of no positive curvature is met, or the iterate would leave a ball
about 0, it stops on the ball's edge. On a positive definite system whose solution lies in the ball it is never met,
since the iterates grow from step to step.
"""

from __future__ import annotations

import math
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
    product: Callable[[Tensor], Tensor], b: Tensor, steps: int, tolerance: float, radius: float = math.inf
) -> Solution:
    """Solve A x = b for symmetric positive definite A.

    Args:
        product: v ↦ A v, [n] → [n].
        b: right-hand side, [n].
        steps: products with A at the most, ≥ 1.
        tolerance: stop where the relative residual is at most this.
        radius: of the ball, in lengths of b, ≥ 1; inf for plain conjugate gradient.

    Returns:
        The solution; without a ball, where the very first direction has no positive curvature x = b, the identity's
        answer. Of a b that is not finite the solution is not finite either.
    """
    scale = b.norm(dtype=torch.float64)
    if scale == 0:
        return Solution(torch.zeros_like(b), 0.0, 0, False)
    # For a b of length 1: squares of short and of long vectors leave float32.
    unit = b / scale
    x, r = torch.zeros_like(unit), unit.clone()
    p, rr = r.clone(), r @ r
    for k in range(steps):
        Ap = product(p)
        curvature = p @ Ap
        a = rr / curvature
        if not curvature > 0 or (x + a * p).norm() > radius:
            if k == 0 and radius in (1.0, math.inf):  # b itself, to the bit
                return Solution(b.clone(), float((unit - Ap).norm()), 1, True)
            a = 0.0 if math.isinf(radius) else _to_the_edge(x, p, radius)
            return Solution((x + a * p) * scale, float((r - a * Ap).norm()), k + 1, True)
        x, r = x + a * p, r - a * Ap
        rr, before = r @ r, rr
        if rr.sqrt() <= tolerance:
            return Solution(x * scale, float(rr.sqrt()), k + 1, False)
        p = r + (rr / before) * p
    return Solution(x * scale, float(rr.sqrt()), steps, False)


def _to_the_edge(x: Tensor, p: Tensor, radius: float) -> Tensor:
    """Return a ≥ 0 with ‖x + a p‖ = radius, for x inside."""
    pp, xp, xx = p @ p, x @ p, x @ x
    return ((xp.square() + pp * (radius**2 - xx).clamp_min(0)).sqrt() - xp) / pp
