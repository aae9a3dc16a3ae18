"""Room 4: how ψ adapts to a support set, and the gradient that trains ψ (eq. 1-4)."""

from __future__ import annotations

from rotogbml.errors import UsageError, did_you_mean
from rotogbml.learners.anil import ANIL
from rotogbml.learners.heads import LinearHead
from rotogbml.learners.learner import Learner, Outcome, Prepared, Rotation, accuracy
from rotogbml.learners.maml import MAML
from rotogbml.learners.network import Network, Params, Psi

LEARNERS: dict[str, type[Learner]] = {"anil": ANIL, "maml": MAML}


def list_learners() -> list[str]:
    """Return the names that ``create_learner`` knows."""
    return sorted(LEARNERS)


def create_learner(
    name: str, network: Network, inner_lr: float, inner_steps: int, first_order: bool, test_steps: int | None = None
) -> Learner:
    """Return a learner; ``test_steps`` is ``inner_steps`` where not given.

    Raises:
        UsageError: an unknown name, a rate that is not positive, or a negative number of steps.
    """
    if name not in LEARNERS:
        raise UsageError(f"no learner '{name}'{did_you_mean(name, LEARNERS)}: there are {', '.join(list_learners())}")
    if not inner_lr > 0:
        raise UsageError(f"inner_lr is {inner_lr}: it must be above 0")
    test_steps = inner_steps if test_steps is None else test_steps
    if inner_steps < 0 or test_steps < 0:
        raise UsageError(f"inner_steps is {inner_steps}, test_steps is {test_steps}: neither may be negative")
    return LEARNERS[name](network, inner_lr, inner_steps, test_steps, first_order)


__all__ = [
    "ANIL",
    "LEARNERS",
    "MAML",
    "Learner",
    "LinearHead",
    "Network",
    "Outcome",
    "Params",
    "Prepared",
    "Psi",
    "Rotation",
    "accuracy",
    "create_learner",
    "list_learners",
]
