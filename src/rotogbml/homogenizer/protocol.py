"""What training asks of a homogenizer, in the order in which Algorithm 1 asks it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from rotogbml.homogenizer.statistics import TaskStatistics


class Homogenizer(Protocol):
    """ω on the tasks' losses, γ on their features; either may be absent.

    One step: ``rotations`` (or, where ``needs_features_first``, ``fresh_rotations``) → forward and backward of each
    task → ``weights`` → ``combine`` → ψ moves → ``update``.
    """

    @property
    def rotates_support(self) -> bool:
        """Whether γ also acts on support features, in the inner loop."""
        ...

    @property
    def needs_features_first(self) -> bool:
        """Whether γ must be made from this minibatch's feature gradients at γ = I, by ``fresh_rotations``."""
        ...

    @property
    def needs_gram(self) -> bool:
        """Whether ``weights`` needs ``TaskStatistics.gram``, the inner products of the tasks' encoder gradients."""
        ...

    def rotations(self, sources: Sequence[str]) -> list[Tensor] | None:
        """Return γ_i [d, d] of each task before its forward pass; None where no kept γ acts."""
        ...

    def fresh_rotations(self, feature_gradients: Tensor) -> list[Tensor] | None:
        """Return γ_i from the directions u_i at γ = I, [N, m] or [N, n_way, m]; None unless ``needs_features_first``.

        They are feature gradients ∇_z L_i, or features (``directions.py``).
        """
        ...

    def weights(self, stats: TaskStatistics) -> Tensor:
        """Return ω_i of this step, float64 [N] on the CPU, Σω = N (a rival's weights as they are)."""
        ...

    def combine(self, gradients: Sequence[Tensor], omega: Tensor, stats: TaskStatistics) -> list[Tensor]:
        """Return what the step goes along for each group (θ first), (1/N) Σ ω_i g_i: [N, P] → [P] each."""
        ...

    def update(self, stats: TaskStatistics) -> None:
        """Move ω (eq. 5), then γ (eq. 7), after ψ has moved."""
        ...

    def omega(self) -> dict[str, float]:
        """Return ω by slot, for logs; empty where none is kept."""
        ...

    def gamma(self) -> dict[str, float]:
        """Return by how much γ turns what it turns most, radians by slot, for logs; empty where none is kept."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that resuming needs: tensors, numbers and strings only."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state. Raises UsageError where it belongs to another configuration."""
        ...
