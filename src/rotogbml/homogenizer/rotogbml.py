"""RotoGBML's homogenizer: ω and γ together, or either alone, or none; or a rival in ω's place."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rotogbml.config import HomogenizerConfig
from rotogbml.errors import UsageError
from rotogbml.homogenizer.protocol import Homogenizer
from rotogbml.homogenizer.resolved import resolved
from rotogbml.homogenizer.reweight import Reweight
from rotogbml.homogenizer.rivals import Rival, create_rival
from rotogbml.homogenizer.rotate import Rotate
from rotogbml.homogenizer.slots import Slots
from rotogbml.homogenizer.statistics import TaskStatistics

log = logging.getLogger(__name__)

_LARGE = 256 * 2**20
"""Bytes of γ from which on the user is told."""


class Plain:
    """No homogenizer: ω = 1, no rotation, nothing kept."""

    rotates_support = False
    needs_features_first = False
    needs_gram = False

    def rotations(self, sources: Sequence[str]) -> list[Tensor] | None:
        """Return None: features stay as they are."""
        return None

    def fresh_rotations(self, feature_gradients: Tensor) -> list[Tensor] | None:
        """Return None: features stay as they are."""
        return None

    def weights(self, stats: TaskStatistics) -> Tensor:
        """Return ones, float64 [N]."""
        return torch.ones(len(stats), dtype=torch.float64)

    def combine(self, gradients: Sequence[Tensor], omega: Tensor, stats: TaskStatistics) -> list[Tensor]:
        """Return the plain mean of each group, [N, P] → [P]."""
        return [part.mean(0) for part in gradients]

    def update(self, stats: TaskStatistics) -> None:
        """Keep nothing."""

    def omega(self) -> dict[str, float]:
        """Return an empty dictionary."""
        return {}

    def gamma(self) -> dict[str, float]:
        """Return an empty dictionary."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return an empty dictionary."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the empty state.

        Raises:
            UsageError: it is another homogenizer's.
        """
        _check_parts(state, {})


class RotoGBML:
    """ω (``reweight``) or a rival in its place (``combine``), and γ (``rotate``), each on its own switch.

    Args:
        config: resolved; a part that is None is off.
        sources: names of the training sources.
        tasks_per_batch: N.
        feature_dim: m, length of the encoder's feature vector.
        n_way: classes in a task.
        seed: the run's, for rivals that draw.

    Raises:
        UsageError: a value cannot be used, or two of them do not go together.
    """

    def __init__(
        self,
        config: HomogenizerConfig,
        *,
        sources: Sequence[str],
        tasks_per_batch: int,
        feature_dim: int,
        n_way: int,
        seed: int = 0,
    ) -> None:
        self.reweight: Reweight | None = None
        self.rival: Rival | None = None
        self.rotate: Rotate | None = None
        if config.combine is not None and config.reweight is not None:
            raise UsageError(
                f"homogenizer.combine={config.combine} takes the place of ω: set homogenizer.reweight to null, or "
                "leave combine out"
            )
        if config.combine not in (None, "mean"):
            self.rival = create_rival(config, sources, tasks_per_batch, n_way, seed)
        if config.reweight is not None:
            slots = Slots(resolved(config.reweight, "slots"), sources, tasks_per_batch)
            self.reweight = Reweight(config.reweight, slots, n_way)
        if config.rotate is not None:
            slots = Slots(resolved(config.rotate, "slots"), sources, tasks_per_batch)
            _tell_memory(len(slots) or tasks_per_batch, config.rotate.rotation_dim or feature_dim)
            self.rotate = Rotate(config.rotate, slots, feature_dim)

    @property
    def rotates_support(self) -> bool:
        """Whether γ also acts on support features."""
        return self.rotate is not None and self.rotate.rotates_support

    @property
    def needs_gram(self) -> bool:
        """Whether the weights come from ⟨∇_θ L_i, ∇_θ L_j⟩."""
        return self.rival is not None and self.rival.needs_gram

    @property
    def needs_features_first(self) -> bool:
        """Whether γ is made anew from each minibatch's feature gradients."""
        return self.rotate is not None and self.rotate.slots.kind == "minibatch"

    def rotations(self, sources: Sequence[str]) -> list[Tensor] | None:
        """Return γ_i [d, d] of each task, or None where γ is off or fresh."""
        return None if self.rotate is None else self.rotate.rotations(sources)

    def fresh_rotations(self, feature_gradients: Tensor) -> list[Tensor] | None:
        """Return γ_i from u_i at γ = I, [N, m] or [N, n_way, m], or None where γ is off or kept."""
        if self.rotate is None or not self.needs_features_first:
            return None
        return self.rotate.fresh(feature_gradients)

    def weights(self, stats: TaskStatistics) -> Tensor:
        """Return ω_i of this step, float64 [N], Σω = N (a rival's weights as they are)."""
        weighing = self.reweight or self.rival
        return torch.ones(len(stats), dtype=torch.float64) if weighing is None else weighing.weights(stats)

    def combine(self, gradients: Sequence[Tensor], omega: Tensor, stats: TaskStatistics) -> list[Tensor]:
        """Return (1/N) Σ ω_i g_i of each group, [N, P] → [P]; θ stands first."""
        if self.rival is not None:
            return self.rival.combine(gradients, omega, stats)
        return [omega.to(part) @ part / len(part) for part in gradients]

    def update(self, stats: TaskStatistics) -> None:
        """Move ω (eq. 5), then γ (eq. 7)."""
        for part in self._parts().values():
            part.update(stats)

    def omega(self) -> dict[str, float]:
        """Return ω by slot; empty where ω is off or fresh, and with a rival."""
        return {} if self.reweight is None else self.reweight.values()

    def gamma(self) -> dict[str, float]:
        """Return γ's largest turn by slot, radians; empty where γ is off or fresh."""
        return {} if self.rotate is None else self.rotate.angles()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the parts that are on."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state.

        Raises:
            UsageError: other parts were on, or a part does not fit.
        """
        parts = self._parts()
        _check_parts(state, parts)
        for name, part in parts.items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Reweight | Rival | Rotate]:
        """Return the parts that are on, in Algorithm 1's order."""
        parts: dict[str, Reweight | Rival | Rotate | None] = {
            "reweight": self.reweight,
            "combine": self.rival,
            "rotate": self.rotate,
        }
        return {name: part for name, part in parts.items() if part is not None}


def create_homogenizer(
    config: HomogenizerConfig | None,
    *,
    sources: Sequence[str],
    tasks_per_batch: int,
    feature_dim: int,
    n_way: int,
    seed: int = 0,
) -> Homogenizer:
    """Return the homogenizer of a resolved configuration; ``Plain`` where it is None or nothing in it is on.

    Raises:
        UsageError: a value cannot be used, or two of them do not go together.
    """
    if config is not None and config.clip is not None and config.combine != "clip":
        raise UsageError(f"homogenizer.clip={config.clip} is used only with combine=clip; combine is {config.combine}")
    plain = config is None or (config.reweight is None and config.rotate is None and config.combine in (None, "mean"))
    if config is None or plain:
        return Plain()
    return RotoGBML(
        config, sources=sources, tasks_per_batch=tasks_per_batch, feature_dim=feature_dim, n_way=n_way, seed=seed
    )


def _check_parts(state: dict[str, Any], parts: dict[str, Any]) -> None:
    if set(state) != set(parts):
        raise UsageError(
            f"the saved homogenizer has [{', '.join(sorted(state))}], this run has [{', '.join(sorted(parts))}]: "
            "resume with the homogenizer of that run"
        )


def _tell_memory(rotations: int, d: int) -> None:
    size = 4 * rotations * d * d
    if size > _LARGE:
        log.warning(
            "γ takes %.0f MiB (%d rotations of %d×%d): rotate fewer features with rotation_dim, or use a smaller image "
            "or encoder",
            *(size / 2**20, rotations, d, d),
        )
