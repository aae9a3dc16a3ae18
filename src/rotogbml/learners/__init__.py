"""Room 4: how ψ adapts to a support set, and the gradient that trains ψ (eq. 1-4)."""

from __future__ import annotations

from rotogbml.learners.heads import HEADS, LinearHead, create_head, list_heads
from rotogbml.learners.learner import Learner, Outcome, accuracy
from rotogbml.learners.meta_gradient import Prepared
from rotogbml.learners.network import Network, Params, Psi
from rotogbml.learners.problem import Problem, Rotation
from rotogbml.learners.protocol import Trainable
from rotogbml.learners.recipes import RECIPES, create_learner, list_learners

__all__ = [
    "HEADS",
    "RECIPES",
    "Learner",
    "LinearHead",
    "Network",
    "Outcome",
    "Params",
    "Prepared",
    "Problem",
    "Psi",
    "Rotation",
    "Trainable",
    "accuracy",
    "create_head",
    "create_learner",
    "list_heads",
    "list_learners",
]
