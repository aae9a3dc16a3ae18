"""The step on SO(m): a rotation in one plane, O(m²) and orthogonal to rounding.

The Euclidean gradient of −⟨γ g, ḡ⟩ is −ḡ gᵀ, of rank one. On SO(m) the steepest step is multiplication by
exp(α(e₂e₁ᵀ − e₁e₂ᵀ)), where e₁ is the direction of u = γ g and e₂ the part of ḡ orthogonal to it: a turn by α in
the plane of the two, with closed form

    I + E K Eᵀ,   E = [e₁ e₂],   K = [[cos α − 1, −sin α], [sin α, cos α − 1]].
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

PARALLEL = 1e-9
"""Sine of an angle below which two vectors count as parallel: rounding must not turn γ."""
_POWERS = 30


def direction(v: Tensor) -> Tensor:
    """Return v / ‖v‖ in float64, or zero where v is zero; safe for very small and very large v."""
    v = v.double()
    largest = v.abs().max()
    if not largest > 0:
        return torch.zeros_like(v)
    v = v / largest
    return v / v.norm()


def plane_rotation(γ: Tensor, u: Tensor, target: Tensor, angle: float, side: Literal["left", "right"]) -> Tensor:
    """Return γ [d, d] after turning u toward target by α = min(angle, ∠(u, target)); γ itself is not written to.

    With R the rotation that turns u [d] to the direction of target [d] by α:

    - ``left``: R γ, so that γ g = u becomes R u. For u and target in the rotated space.
    - ``right``: γ Rᵀ, so that γᵀ(γ u) = u becomes R u. For u and target in the space of z, u = γᵀ ∇_ẑ L.

    The size of the step does not depend on the size of the gradients, only on their directions. As with Adam's
    steps, that keeps η_γ meaningful from the first iteration to the last, while gradients shrink by orders of
    magnitude; the cap keeps it from turning past the target.

    Zero vectors and parallel ones leave γ exactly as it is (the same tensor). Opposite vectors, a saddle where
    no plane is singled out, turn in the plane of u and the coordinate axis most nearly orthogonal to it.
    """
    plane = _plane(direction(u), direction(target))
    if plane is None or angle <= 0:
        return γ
    e1, e2, between = plane
    α = min(angle, between)
    # cos α − 1 without cancellation at small α.
    c, s = -2.0 * math.sin(α / 2) ** 2, math.sin(α)
    E = torch.stack([e1, e2], dim=1).to(γ.dtype)
    K = torch.tensor([[c, -s], [s, c]], dtype=torch.float64).to(γ.dtype)
    if side == "left":
        return torch.addmm(γ, E, K @ (E.T @ γ))
    return torch.addmm(γ, (γ @ E) @ K.T, E.T)


def _plane(e1: Tensor, t: Tensor) -> tuple[Tensor, Tensor, float] | None:
    """Return e₁, e₂ and the angle from e₁ to t (all of unit length), or None where nothing is to be turned."""
    if not (e1.any() and t.any()):
        return None
    cosine = float(e1 @ t)
    across = t - cosine * e1
    sine = float(across.norm())
    if sine < PARALLEL:
        if cosine > 0 or len(e1) == 1:
            return None
        across = torch.zeros_like(e1)
        across[int(e1.abs().argmin())] = 1.0
        across -= (across @ e1) * e1
    across = across / across.norm()
    # Once more: where u and t are nearly parallel the first subtraction leaves a part along e₁.
    e2 = direction(across - (across @ e1) * e1)
    return e1, e2, math.atan2(sine, cosine)


def largest_angle(γ: Tensor) -> float:
    """Return by how much γ [d, d] turns the direction that it turns most, radians in 0 … π; from below.

    γ's eigenvalues are e^{±iθ}, so that ‖γ − I‖₂ = 2 sin(θ/2) at the largest θ. The power method, from a given start,
    finds the norm to a few percent without a decomposition, in O(m²); near a half turn that is a coarser angle.
    """
    M = γ.double() - torch.eye(len(γ), dtype=torch.float64)
    v = torch.randn(len(γ), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(_POWERS):
        v = direction(M.T @ (M @ v))
    return 2.0 * math.asin(min(1.0, float((M @ v).norm()) / 2.0))


def orthogonalised(γ: Tensor) -> Tensor:
    """Return one Newton–Schulz step γ(3I − γᵀγ)/2: squares the distance from SO(m). O(m³), in float64."""
    exact = γ.double()
    return torch.addmm(exact, exact, exact.T @ exact, beta=1.5, alpha=-0.5).to(γ.dtype)
