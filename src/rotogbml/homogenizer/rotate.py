"""γ: turn the tasks' features so that their gradients agree (RotoGBML eq. 7, after RotoGrad).

    ẑ = γ z,  γ ∈ SO(m)      ∇_ẑ L = γ ∇_z L      ∇_z L = γᵀ ∇_ẑ L

``align="rotated"`` is the paper's: maximise ⟨γ_i g_i, ḡ⟩, ḡ = mean_i γ_i g_i, so that the gradients agree in the
rotated space. ``align="shared"`` is RotoGrad's: γ_iᵀ ∇_ẑ L_i, which is what reaches the shared encoder, turns
toward the mean of its norm-equalised fellows. Tasks have different queries, so only the mean over queries of
the feature gradient can be compared, or means of classes (``compare.py``). ``turning.py`` says how γ moves.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rotogbml.config import Compare, RotateConfig
from rotogbml.errors import UsageError
from rotogbml.homogenizer.compare import COMPARE, rows
from rotogbml.homogenizer.plane import largest_angle, orthogonalised
from rotogbml.homogenizer.resolved import resolved
from rotogbml.homogenizer.slots import Slots, average_by_slot
from rotogbml.homogenizer.statistics import TaskStatistics
from rotogbml.homogenizer.turning import CayleyAdam, Plane, Turning

log = logging.getLogger(__name__)

_SLOW = 512
"""Features from which on Cayley's parametrisation takes longer than the rest of a step."""

REORTHOGONALISE = 1000
"""Updates of a slot between two Newton–Schulz steps; in float32 it drifts by about 1e-6 in that time."""


def rotate_features(z: Tensor, γ: Tensor) -> Tensor:
    """Return ẑ = γ z of each row: [q, m] × [d, d] → [q, m]. The first d features turn, the others stay.

    Differentiable in z; γ is a constant.
    """
    d = len(γ)
    turned = z[:, :d] @ γ.to(z).T
    return turned if d == z.shape[1] else torch.cat([turned, z[:, d:]], dim=1)


def pull_back(u: Tensor, γ: Tensor) -> Tensor:
    """Return ∇_z L = γᵀ ∇_ẑ L, what reaches the encoder, for u [m] or [q, m]; the shape of u."""
    return rotate_features(u.reshape(-1, u.shape[-1]), γ.T).reshape(u.shape)


@dataclass(frozen=True)
class Turn:
    """γ [d, d] as learners take it, on rows [b, m]."""

    γ: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """Return γ z of each row."""
        return rotate_features(z, self.γ)

    def back(self, u: Tensor) -> Tensor:
        """Return γᵀ u of each row."""
        return pull_back(u, self.γ)


class Rotate:
    """γ with its slots.

    Args:
        config: every field set but ``rotation_dim``, which may be None (all features), and ``update`` and ``compare``
            (plane, mean).
        slots: what a rotation belongs to.
        m: length of the feature vector.
        dtype: of γ. The geometry of an update is worked out in float64 whatever it is.

    Raises:
        UsageError: a field is missing or cannot be used.
    """

    def __init__(self, config: RotateConfig, slots: Slots, m: int, dtype: torch.dtype = torch.float32) -> None:
        self.align = resolved(config, "align")
        self.lr = float(resolved(config, "lr"))
        self.decay = float(resolved(config, "decay"))
        self.rotates_support = bool(resolved(config, "rotate_support"))
        self.d = m if config.rotation_dim is None else config.rotation_dim
        self.slots, self.m, self.dtype = slots, m, dtype
        if self.align not in ("rotated", "shared"):
            raise UsageError(f"rotate.align={self.align!r} is unknown; choose rotated or shared")
        if not (0 <= self.lr < math.inf and 0 < self.decay <= 1):
            raise UsageError(f"rotate.lr={self.lr}, decay={self.decay}: lr must be finite and ≥ 0, decay in (0, 1]")
        if not 1 <= self.d <= m:
            raise UsageError(f"rotate.rotation_dim={self.d}: the encoder has {m} features, give 1 to {m}")
        update, compare = config.update or "plane", config.compare or "mean"
        if update not in ("plane", "gradient"):
            raise UsageError(f"rotate.update={update!r} is unknown; choose plane or gradient")
        if compare not in COMPARE:
            raise UsageError(f"rotate.compare={compare!r} is unknown; choose {', '.join(COMPARE)}")
        if compare == "prototype" and self.align == "shared":
            raise UsageError(
                "rotate.compare=prototype brings features together after γ, and what γ cannot change is where they "
                "were before: set rotate.align to rotated"
            )
        if slots.kind == "minibatch" and self.rotates_support:
            raise UsageError(
                "rotate.rotate_support needs γ before the support is seen, but slots=minibatch makes γ from the "
                "queries: set rotate.rotate_support to false, or rotate.slots to source or position"
            )
        self.compare: Compare = compare
        self.turning: Turning = Plane(self.align) if update == "plane" else CayleyAdam(self.align, len(slots), self.d)
        if update == "gradient" and self.d > _SLOW:
            log.warning(
                "rotate.update=gradient solves a system of %d×%d for each task of each step: rotate fewer features "
                "with rotation_dim, or take update=plane",
                *(self.d, self.d),
            )
        self.γ = [torch.eye(self.d, dtype=dtype) for _ in slots.names]
        self.turns = [0] * len(slots)
        self.steps = 0

    @property
    def angle(self) -> float:
        """Largest turn of the next update, radians: lr · decay^steps. The leader slows down."""
        return self.lr * self.decay**self.steps

    def angles(self) -> dict[str, float]:
        """Return the largest turn of every kept γ, radians, by its slot's label (none with ``minibatch`` slots)."""
        return {name: largest_angle(γ) for name, γ in zip(self.slots.names, self.γ, strict=True)}

    def rotations(self, sources: Sequence[str]) -> list[Tensor] | None:
        """Return γ_i [d, d] of each task, known before its forward pass; None with ``minibatch`` slots.

        An update makes new tensors, so those handed out stay as they are.
        """
        if self.slots.kind == "minibatch":
            return None
        return [self.γ[slot] for slot in self.slots.index(sources).tolist()]

    def fresh(self, feature_gradients: Tensor) -> list[Tensor]:
        """Return γ_i for this minibatch alone: one update from I, given u_i at γ = I, [N, m] or [N, n_way, m]."""
        n = len(feature_gradients)
        identity = torch.eye(self.d, dtype=self.dtype)
        u = rows(self.compare, self._usable(feature_gradients))
        return self.turning.anew(n)([identity] * n, u, torch.ones(n), self.angle, torch.arange(n))

    def update(self, stats: TaskStatistics) -> None:
        """Turn the γ of every drawn slot once, by at most ``angle``. Tasks of one slot are averaged first."""
        if self.slots.kind != "minibatch" and len(stats):
            index = self.slots.index(stats.sources)
            slots, u, count = average_by_slot(self._usable(stats.feature_gradients), index)
            drawn = slots.tolist()
            before = [self.γ[slot] for slot in drawn]
            after = self.turning(before, rows(self.compare, u), count, self.angle, slots)
            for slot, γ in zip(drawn, after, strict=True):
                if γ is self.γ[slot]:
                    continue
                self.turns[slot] += 1
                self.γ[slot] = orthogonalised(γ) if self.turns[slot] % REORTHOGONALISE == 0 else γ
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "slots": list(self.slots.names),
            "rotations": list(self.γ),
            "turns": list(self.turns),
            "steps": self.steps,
            **({"cayley": self.turning.state_dict()} if isinstance(self.turning, CayleyAdam) else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a saved state.

        Raises:
            UsageError: it belongs to other slots, another number of features, or another way to move γ.
        """
        self.slots.check_names(state["slots"], "γ")
        for name, γ in zip(self.slots.names, state["rotations"], strict=True):
            if γ.shape != (self.d, self.d):
                raise UsageError(
                    f"the saved γ of {name!r} turns {len(γ)} features, this run turns {self.d}: "
                    "resume with the encoder, image size and rotation_dim of that run"
                )
        if ("cayley" in state) != isinstance(self.turning, CayleyAdam):
            raise UsageError("the saved γ was moved in another way: resume with rotate.update of that run")
        self.turning.load_state_dict(state.get("cayley", {}))
        self.γ = [γ.to("cpu", self.dtype) for γ in state["rotations"]]
        self.turns = list(state["turns"])
        self.steps = int(state["steps"])

    def _usable(self, feature_gradients: Tensor) -> Tensor:
        """Return the d features that turn, float64 [N, ..., d]; a gradient that is not finite counts as zero."""
        u = feature_gradients.detach().to("cpu", torch.float64)[..., : self.d]
        return torch.where(torch.isfinite(u).all(dim=-1, keepdim=True), u, 0.0)
