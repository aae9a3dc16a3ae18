"""How γ moves: the exact turn in a plane, or Adam on a parametrisation, for one direction a task or several.

Both take γ [d, d] of S slots, the directions u [S, k, d] that are to agree and how many tasks stand behind each slot.

    rotated   u_c = γ g_c, toward ū_c = mean_i u_ic                     (the paper's: agreement after γ)
    shared    g_c = γᵀ u_c, toward the mean of the tasks' unit g_c     (RotoGrad's: agreement before γ)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from rotogbml.homogenizer.adam import Adam
from rotogbml.homogenizer.plane import PARALLEL, direction, plane_rotation

Align = Literal["rotated", "shared"]


class Turning(Protocol):
    """One update of the γ of some slots."""

    def __call__(self, γ: list[Tensor], u: Tensor, count: Tensor, rate: float, slots: Tensor) -> list[Tensor]:
        """Return the updated γ; where nothing is to be turned, the very tensor that was given.

        Args:
            γ: of the drawn slots, S of [d, d].
            u: directions in the space of ẑ, [S, k, d] float64.
            count: tasks behind each, [S].
            rate: η_γ now.
            slots: which slots they are, [S].
        """
        ...

    def anew(self, slots: int) -> Turning:
        """Return the same way without any memory."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a saved state."""
        ...


class Plane:
    """A rotation by at most ``rate`` radians, in the plane of a direction and its target: O(m²), exactly orthogonal.

    Of k directions each has its own plane: one turn after the other, by at most ``rate``/k.
    """

    def __init__(self, align: Align) -> None:
        self.align: Align = align

    def __call__(self, γ: list[Tensor], u: Tensor, count: Tensor, rate: float, slots: Tensor) -> list[Tensor]:
        """Return the updated γ."""
        k, now = u.shape[1], γ
        for c in range(k):
            if self.align == "rotated":
                here = torch.stack([_carried(*three) for three in zip(now, γ, u[:, c], strict=True)])
                toward, side = mean(here, count), "left"
            else:
                here = torch.stack([_transposed_times(γ_i, u_i) for γ_i, u_i in zip(now, u[:, c], strict=True)])
                here = torch.stack([direction(g) for g in here])
                toward, side = mean(here, count), "right"
            now = [plane_rotation(γ_i, u_i, toward, rate / k, side) for γ_i, u_i in zip(now, here, strict=True)]
        return now

    def anew(self, slots: int) -> Plane:
        """Return itself: it has no memory."""
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing."""


class CayleyAdam:
    """γ = (I − A)⁻¹(I + A) with A skew, and Adam on A (the paper asks for Adam at 5e-4 on the rotation). O(m³).

    γ is orthogonal with det +1 for whatever A, so nothing drifts; half turns (an eigenvalue of −1) are at infinity.
    The objective is −Σ_c ⟨γ g_c, ḡ_c⟩ (rotated) or −Σ_c ⟨γᵀ u_c, v_c⟩ (shared), what is summed over tasks held
    constant; of either C = ∂/∂γ has rank k, and ∂/∂A is the skew part of (I + A)⁻¹ C (γ + I)ᵀ. All directions of a
    task are scaled together to length 1: Adam's small constant then means the same whatever the size of gradients.

    Args:
        align: which agreement.
        slots: S in all.
        d: features that turn.
    """

    def __init__(self, align: Align, slots: int, d: int) -> None:
        self.align: Align = align
        self.d = d
        self.A = torch.zeros(slots, d, d, dtype=torch.float64)
        self.adam = Adam(slots, (d, d))

    def __call__(self, γ: list[Tensor], u: Tensor, count: Tensor, rate: float, slots: Tensor) -> list[Tensor]:
        """Return the updated γ."""
        u = _unit(u)
        held = u
        if self.align == "shared":
            held = _unit(rows @ γ_i.double() for γ_i, rows in zip(γ, u, strict=True))
        goal = mean(held.flatten(1), count).reshape(u.shape[1:])
        out = list(γ)
        for i, slot in enumerate(slots.tolist()):
            gradient = self._gradient(self.A[slot], γ[i].double(), u[i], goal)
            if not gradient.norm() > PARALLEL:
                continue
            drawn = torch.tensor([slot])
            self.A[slot] -= rate * self.adam.direction(drawn, gradient[None])[0]
            eye = torch.eye(self.d, dtype=torch.float64)
            out[i] = torch.linalg.solve(eye - self.A[slot], eye + self.A[slot]).to(γ[i].dtype)
        return out

    def _gradient(self, A: Tensor, γ: Tensor, u: Tensor, goal: Tensor) -> Tensor:
        """Return the derivative with respect to A's entries above and below the diagonal, skew [d, d]."""
        # C = −Σ_c goal_c g_cᵀ (rotated, g = γᵀu) or −Σ_c u_c goal_cᵀ (shared)
        left, right = (goal, u @ γ) if self.align == "rotated" else (u, goal)
        eye = torch.eye(self.d, dtype=torch.float64)
        E = -torch.linalg.solve(eye + A, left.T) @ (right @ γ.T + right)
        return E - E.T

    def anew(self, slots: int) -> CayleyAdam:
        """Return the same way for other slots, all at γ = I."""
        return CayleyAdam(self.align, slots, self.d)

    def state_dict(self) -> dict[str, Any]:
        """Return A and Adam's moments."""
        return {"A": self.A.clone(), **self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take A and Adam's moments."""
        self.A = state["A"].clone()
        self.adam.load_state_dict(state)


def mean(rows: Tensor, count: Tensor) -> Tensor:
    """Return the mean over tasks of [S, d], each row standing for ``count`` of them."""
    weight = count.to(rows)
    return (weight / weight.sum()) @ rows


def _unit(tasks: Iterable[Tensor]) -> Tensor:
    """Return each task's directions [k, d] scaled together to length 1, [S, k, d]."""
    return torch.stack([direction(task.flatten()).reshape(task.shape) for task in tasks])


def _carried(now: Tensor, before: Tensor, u: Tensor) -> Tensor:
    """Return u = γ g as it is after γ has been turned: γ_now γ_beforeᵀ u."""
    if now is before:
        return u
    return now.double() @ (before.double().T @ u)


def _transposed_times(γ: Tensor, u: Tensor) -> Tensor:
    # Scaled first: γ's own precision may not hold a tiny gradient.
    return (direction(u).to(γ.dtype) @ γ).double()
