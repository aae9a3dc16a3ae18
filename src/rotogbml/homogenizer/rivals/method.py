"""What a rival is asked, and what it is told of a minibatch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from torch import Tensor

from rotogbml.errors import UsageError


@dataclass(frozen=True)
class Minibatch:
    """The N tasks of a step in an order of their own (by source), so that no rival depends on where they stood."""

    losses: Tensor
    """L_i, float64 [N]."""
    norms: Tensor
    """‖∇_θ L_i‖, float64 [N]."""
    gram: Tensor | None
    """⟨∇_θ L_i, ∇_θ L_j⟩, float64 [N, N]."""
    index: Tensor
    """The tasks' slots, int64 [N]."""
    seed: int
    """Of this step's draws: a pure function of the run's seed and the step."""


class Method(Protocol):
    """A rule that gives every task a weight."""

    needs_gram: bool

    def weights(self, minibatch: Minibatch) -> Tensor:
        """Return w [N] such that the step goes along (1/N) Σ_i w_i g_i. Changes nothing."""
        ...

    def learn(self, minibatch: Minibatch) -> None:
        """Remember what the next weights depend on, after ψ has moved."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a saved state."""
        ...


class Memoryless:
    """The half of a method that has nothing to remember."""

    def learn(self, minibatch: Minibatch) -> None:
        """Remember nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing."""


def torchjd(part: str, name: str) -> ModuleType:
    """Return ``torchjd.aggregation`` or ``torchjd.scalarization``.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(f"torchjd.{part}")
    except ImportError as error:
        raise UsageError(
            f"homogenizer.combine={name} needs torchjd, which is not here ({error}): pip install 'rotogbml[rivals]'"
        ) from error
