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
        The solution; where the very first direction has no positive curvature x = b, the identity's answer.
    """
    scale = b.norm()
    if not scale > 0:
        return Solution(torch.zeros_like(b), 0.0, 0, False)
    x, r = torch.zeros_like(b), b.clone()
    p, rr = r.clone(), r @ r
    for k in range(steps):
        Ap = product(p)
        curvature = p @ Ap
        if not curvature > 0:
            return Solution(x if k else b.clone(), float(rr.sqrt() / scale), k + 1, True)
        a = rr / curvature
        x, r = x + a * p, r - a * Ap
        rr, before = r @ r, rr
        if rr.sqrt() <= tolerance * scale:
            return Solution(x, float(rr.sqrt() / scale), k + 1, False)
        p = r + (rr / before) * p
    return Solution(x, float(rr.sqrt() / scale), steps, False)
