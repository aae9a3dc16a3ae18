"""The outer loop's optimizer and how its step size falls over training."""

from __future__ import annotations

import math

import torch

from rotogbml.config import OuterConfig, RunConfig
from rotogbml.learners import Psi, Trainable

FLOOR = 0.01
"""Where the cosine ends, as a share of where it began: MAML++'s 1e-5 of 1e-3."""


def create_optimizer(config: OuterConfig, learner: Trainable, psi: Psi) -> torch.optim.Optimizer:
    """Return what moves ψ, and α where the learner has any."""
    assert config.meta_lr is not None  # resolved
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[config.optimizer or "adam"]
    return kind([*psi.tensors(), *learner.alpha.values()], lr=config.meta_lr * learner.outer_scale)


def set_rate(optimizer: torch.optim.Optimizer, config: OuterConfig, learner: Trainable, progress: float) -> None:
    """Set the step size for a share of training that is done, 0 … 1."""
    assert config.meta_lr is not None
    for group in optimizer.param_groups:
        group["lr"] = config.meta_lr * learner.outer_scale * factor(config.schedule or "constant", progress)


def factor(schedule: str, progress: float) -> float:
    """Return what the step size is multiplied by: 1 throughout, down a cosine to ``FLOOR``, or linearly to 0."""
    done = min(max(progress, 0.0), 1.0)
    if schedule == "cosine":
        return FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * done)) / 2
    return 1 - done if schedule == "linear" else 1.0


def anneals(config: RunConfig) -> bool:
    """Say whether a step depends on how long the whole run is to be."""
    learner = config.learner
    shares = (learner.first_order_share if not learner.first_order else 0.0, learner.multi_step_loss)
    phased = config.homogenizer is not None and config.homogenizer.phase is not None
    return phased or config.outer.schedule not in (None, "constant") or any(shares)
