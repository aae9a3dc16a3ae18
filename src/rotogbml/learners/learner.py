"""What a learner does with an episode and what it hands on.

A learner answers one question of its own, ``adapt``: ψ and a support set in, ψ^τ out. From that follow, the same
for every learner that differentiates through its adaptation:

    prepare         adapt on the support, features z of the query     (the graph back to ψ is alive)
    meta_gradient   rotate z, query loss L, one backward              (the graph is gone)
    predict         adapt, scores of the query                        (test: no graph, nothing dropped or rotated)

``prepare`` and ``meta_gradient`` are two calls because a rotation of this very minibatch can only be known when
the features of all its tasks are (method notes: slots ``minibatch``); in every other case they follow each other
task by task, and memory does not grow with the number of tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders import Drop
from rotogbml.episodes import Episode, Examples
from rotogbml.learners.network import Network, Params, Psi

Rotation = Callable[[Tensor], Tensor]
"""z ↦ γ z on rows: [b, m] → [b, m]."""


@dataclass(frozen=True)
class Prepared:
    """A task adapted to its support, waiting for its query loss."""

    z: Tensor
    """[q, m] query features f_{θ^τ}(x^q), attached to ψ."""
    phi: Params
    """φ^τ, attached to ψ."""
    y: Tensor
    """[q] query labels."""


@dataclass(frozen=True)
class Outcome:
    """What one task hands to the homogenizer: nothing in it holds a graph."""

    loss: Tensor
    """L_i, the query loss: scalar."""
    accuracy: float
    """Share of queries right, 0 … 1."""
    theta_gradient: list[Tensor]
    """∇_θ L_i, tensor by tensor."""
    phi_gradient: list[Tensor]
    """∇_φ L_i, tensor by tensor."""
    feature_gradient: Tensor
    """[m] mean over queries of the gradient of a query's own loss with respect to its rotated feature ẑ."""


@dataclass(frozen=True)
class Learner(ABC):
    """A gradient-based meta-learner.

    Attributes:
        network: f and c.
        inner_lr: η_base, > 0.
        inner_steps: τ in training, ≥ 0.
        test_steps: τ at test, ≥ 0.
        first_order: no derivative of the adaptation itself.
    """

    network: Network
    inner_lr: float
    inner_steps: int
    test_steps: int
    first_order: bool

    @abstractmethod
    def adapt(
        self,
        psi: Psi,
        support: Examples,
        steps: int,
        create_graph: bool,
        drop: Drop | None = None,
        rotate: Rotation | None = None,
    ) -> Psi:
        """Return ψ^τ, attached to ``psi``."""

    def prepare(
        self, psi: Psi, episode: Episode, drop: Drop | None = None, rotate_support: Rotation | None = None
    ) -> Prepared:
        """Adapt to the support (eq. 4: unrotated, unless a rotation is given) and compute the query features."""
        adapted = self.adapt(psi, episode.support, self.inner_steps, not self.first_order, drop, rotate_support)
        z = self.network.features(adapted.theta, episode.query.x, drop)
        return Prepared(z, adapted.phi, episode.query.y)

    def meta_gradient(self, psi: Psi, task: Prepared, rotate: Rotation | None = None) -> Outcome:
        """Return L_i(c_{φ^τ}(γ z)) and, from one backward, its gradients at ψ and at ẑ (eq. 3)."""
        z_rotated = task.z if rotate is None else rotate(task.z)
        logits = self.network.logits(task.phi, z_rotated)
        loss = F.cross_entropy(logits, task.y)
        *gradients, at_z = torch.autograd.grad(loss, [*psi.tensors(), z_rotated])
        return Outcome(
            loss=loss.detach(),
            accuracy=accuracy(logits, task.y),
            theta_gradient=gradients[: len(psi.theta)],
            phi_gradient=gradients[len(psi.theta) :],
            # the loss is a mean over queries: the sum of its gradients is the mean of each query's own
            feature_gradient=at_z.sum(0),
        )

    def head_gradient(self, task: Prepared) -> Tensor:
        """Return the feature gradient [m] at γ = I from the head alone: the encoder is not touched."""
        z = task.z.detach().requires_grad_()
        phi = {name: p.detach() for name, p in task.phi.items()}
        loss = F.cross_entropy(self.network.logits(phi, z), task.y)
        return torch.autograd.grad(loss, z)[0].sum(0)

    def predict(self, psi: Psi, episode: Episode) -> Tensor:
        """Return query scores [q, n_way] after ``test_steps`` of adaptation; no ISI, no rotation."""
        start = Psi(*({name: p.detach().requires_grad_() for name, p in group.items()} for group in psi))
        adapted = self.adapt(start, episode.support, self.test_steps, create_graph=False)
        with torch.no_grad():
            return self.network.logits(adapted.phi, self.network.features(adapted.theta, episode.query.x))


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Return the share of rows whose largest score is the label's, 0 … 1."""
    return (logits.argmax(1) == y).double().mean().item()
