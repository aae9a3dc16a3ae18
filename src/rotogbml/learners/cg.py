"""Conjugate gradient (Hestenes & Stiefel 1952) for A x = b, with A known by its products alone."""

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
    """A direction with pᵀAp ≤ 0 was met: A is not positive definite, and x is what stood before it."""


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, steps: int, tolerance: float) -> Solution:
    """Solve A x = b for symmetric positive definite A.

    Args:
        product: v ↦ A v, [n] → [n].
        b: right-hand side, [n].
        steps: products with A at the most, ≥ 1.
        tolerance: stop where the relative residual is at most this.

    Returns:
        The solution; where the very first direction has no positive curvature x = b, the identity's answer. Of a b
        that is not finite the solution is not finite either.
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
        if not curvature > 0:
            if k == 0:
                return Solution(b.clone(), float((unit - Ap).norm()), 1, True)
            return Solution(x * scale, float(rr.sqrt()), k + 1, True)
        a = rr / curvature
        x, r = x + a * p, r - a * Ap
        rr, before = r @ r, rr
        if rr.sqrt() <= tolerance:
            return Solution(x * scale, float(rr.sqrt()), k + 1, False)
        p = r + (rr / before) * p
    return Solution(x * scale, float(rr.sqrt()), steps, False)
