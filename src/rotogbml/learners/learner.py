"""A learner: a network, the way it adapts, and the way the meta-gradient is taken.

    prepare         adapt on the support, features z of the query     (the task's graph is alive)
    meta_gradient   rotate z, query loss L, one backward, pull back   (the graph is gone)
    predict         adapt, scores of the query                        (test: no graph, nothing dropped or rotated)

``prepare`` and ``meta_gradient`` are two calls because a rotation of this very minibatch can only be known when
the features of all its tasks are (method notes: slots ``minibatch``); in every other case they follow each other
task by task, and memory does not grow with the number of tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from rotogbml.config import Compare
from rotogbml.encoders.isi import Masks
from rotogbml.encoders.norm import Seen
from rotogbml.episodes import Episode, Examples
from rotogbml.learners.directions import directions
from rotogbml.learners.meta_gradient import MetaGradient, Prepared, leaves
from rotogbml.learners.network import Network, Params, Psi
from rotogbml.learners.problem import Problem, Rotation


class InnerLoop(Protocol):
    """How ψ adapts to a task."""

    def trajectory(self, problem: Problem, start: Psi, steps: int, create_graph: bool) -> Iterator[Psi]:
        """Yield ψ⁰, ψ¹ … ψ^τ."""
        ...


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
    alpha_gradient: list[Tensor]
    """∇_α L_i, tensor by tensor."""
    feature_gradient: Tensor
    """[m] mean over queries of the gradient of a query's own loss with respect to its rotated feature ẑ; or what else
    γ compares, a row a class, [n_way, m] (``directions``)."""
    seen: Seen
    """Batch statistics, for norm policies that keep some."""
    notes: dict[str, float]
    """What the way the gradient was taken has to say."""


@dataclass(frozen=True)
class Learner:
    """A gradient-based meta-learner, composed.

    Attributes:
        name: as in ``list_learners()``.
        network: f and c.
        inner: how ψ adapts.
        method: how the meta-gradient is taken.
        inner_steps: τ in training, ≥ 0.
        test_steps: τ at test, ≥ 0.
        alpha: α, what is learned of the adaptation itself, by name; empty for most.
        group_moves_encoder: whether θ adapts; else its per-step statistics stay at step 0.
        outer_scale: what the outer step size is multiplied by (Reptile's τη, 1 elsewhere).
        alone: at test a query is judged beside the support alone, not beside other queries.
        isotropic: all numbers of a tensor adapt at one rate, so that a rotation of the features may as well be one of
            the head (``Problem.turn_head``).
        compare: what of the query features a task hands to γ.
    """

    name: str
    network: Network
    inner: InnerLoop
    method: MetaGradient
    inner_steps: int
    test_steps: int
    alpha: Params
    group_moves_encoder: bool = True
    outer_scale: float = 1.0
    alone: bool = False
    isotropic: bool = True
    compare: Compare = "mean"

    @property
    def judges_alone(self) -> bool:
        """Whether ``alone`` says anything: under the other norms a query depends on no other one anyway."""
        return self.alone and self.network.encoder.norm in ("batch", "as given")

    def at(self, progress: float) -> Learner:
        """Return the learner as it is when that share of training, 0 … 1, is done."""
        method = self.method.at(progress)
        return self if method is self.method else replace(self, method=method)

    def learned(self) -> dict[str, Params]:
        """Return all that training changes, by group: what a checkpoint holds and a test takes up."""
        psi = self.network.psi()
        return {"theta": psi.theta, "phi": psi.phi, "alpha": self.alpha, "statistics": self.network.statistics()}

    def to(self, device: torch.device) -> None:
        """Move everything that is learned."""
        self.network.to(device)
        for p in self.alpha.values():
            p.data = p.data.to(device)

    def adapt(self, psi: Psi, support: Examples, steps: int, create_graph: bool = False, n_way: int = 0) -> Psi:
        """Return ψ^τ of a support set, attached to ``psi``; n_way is worked out from the labels where not given."""
        n_way = n_way or int(support.y.max()) + 1
        problem = Problem(self.network, support, support, n_way, seen=None)
        return self._end(problem, psi, steps, create_graph)

    def prepare(
        self, psi: Psi, episode: Episode, drop: Masks | None = None, rotate_support: Rotation | None = None
    ) -> Prepared:
        """Adapt to the support (eq. 4: unrotated, unless a rotation is given) and compute the query features."""
        turned = rotate_support is not None and self.isotropic
        problem = Problem.of(self.network, episode, drop, rotate_support, turned)
        return replace(self.method.prepare(problem, psi, self.inner_steps), turned=turned)

    def meta_gradient(self, psi: Psi, task: Prepared, rotate: Rotation | None = None) -> Outcome:
        """Return L_i(c_{φ^τ}(γ z)) and, from one backward, its gradients at ψ, at α and at ẑ (eq. 3)."""
        turn = None if task.turned else rotate
        rotated = [point.z if turn is None else turn(point.z) for point in task.points]
        logits = [self.network.logits(point.phi, z) for point, z in zip(task.points, rotated, strict=True)]
        losses = [self.network.loss(scores, task.y) for scores in logits]
        if len(losses) == 1:
            loss = losses[0]
        else:
            loss = torch.stack([p.weight * one for p, one in zip(task.points, losses, strict=True)]).sum()
        found = torch.autograd.grad(loss, [*task.at, *rotated], materialize_grads=True)
        gradients = task.pull_back(found[: len(task.at)])
        u = directions(self.compare, found[len(task.at) :], rotated, task.y, logits[-1].shape[1])
        if task.turned and rotate is not None:
            u = rotate(u.reshape(-1, u.shape[-1])).reshape(u.shape)
        return Outcome(
            loss=loss.detach(),
            accuracy=accuracy(logits[-1], task.y),
            theta_gradient=gradients.theta,
            phi_gradient=gradients.phi,
            alpha_gradient=gradients.alpha,
            feature_gradient=u,
            seen=task.seen,
            notes=gradients.notes,
        )

    def head_gradient(self, task: Prepared) -> Tensor:
        """Return what γ compares at γ = I, [m] or [n_way, m], from the head alone: the encoder is not touched."""
        gradients, features = [], []
        for point in task.points:
            z = point.z.detach().requires_grad_()
            phi = {name: p.detach() for name, p in point.phi.items()}
            logits = self.network.logits(phi, z)
            gradients.append(torch.autograd.grad(point.weight * self.network.loss(logits, task.y), z)[0])
            features.append(z.detach())
        return directions(self.compare, gradients, features, task.y, logits.shape[1])

    def predict(self, psi: Psi, episode: Episode) -> Tensor:
        """Return query scores [q, n_way] after ``test_steps`` of adaptation; no ISI, no rotation."""
        return self.ready(psi, episode)(episode.query.x)

    def ready(self, psi: Psi, episode: Episode) -> Callable[[Tensor], Tensor]:
        """Adapt to the support, and return what then scores images: [q, 3, size, size] → [q, n_way]."""
        own = replace(Problem.of(self.network, episode), seen=None)
        adapted = self._end(own, leaves(psi), self.test_steps, create_graph=False)
        t = self.test_steps if self.group_moves_encoder else 0

        @torch.no_grad()
        def judge(x: Tensor) -> Tensor:
            problem = replace(own, query=episode.asking(x).query)
            z = self._alone(problem, adapted, t) if self.judges_alone else problem.query_features(adapted.theta, t)
            return self.network.logits(adapted.phi, z)

        return judge

    def where_it_explodes(
        self, psi: Psi, episode: Episode, drop: Masks | None = None, rotate: Rotation | None = None
    ) -> str:
        """Return which inner step and which tensor leave the finite numbers first, in words.

        Where all stay finite, the tensor whose largest number grew most; empty where none grew a thousandfold.
        """
        problem = replace(Problem.of(self.network, episode, drop, rotate), seen=None)
        start = problem.start(leaves(psi))
        before: dict[str, float] = {}
        worst, where = 1e3, ""
        trajectory = self.inner.trajectory(self.method.adapts_on(problem), start, self.inner_steps, create_graph=False)
        for t, state in enumerate(trajectory):
            for room, group in (("encoder", state.theta), ("head", state.phi)):
                for name, p in group.items():
                    key, largest = f"{room}.{name}", float(p.detach().abs().max())
                    if not math.isfinite(largest):  # made so by what grew before, where anything did
                        return where or f"inner step {t} makes {key} not finite"
                    grown = largest / max(before.setdefault(key, largest), 1e-3)
                    if grown > worst:
                        worst, where = grown, f"inner step {t} makes {key} as large as {largest:.0e}"
        return where

    def _end(self, problem: Problem, psi: Psi, steps: int, create_graph: bool) -> Psi:
        state = start = problem.start(psi)
        for state in self.inner.trajectory(problem, start, steps, create_graph):  # noqa: B007
            pass
        return state

    def _alone(self, problem: Problem, adapted: Psi, t: int) -> Tensor:
        """Return each query's features from a pass of the support and that query."""
        s = len(problem.support.x)
        rows = []
        for x in problem.query.x.split(1):
            beside = replace(problem, support=Examples(torch.cat([problem.support.x, x]), problem.support.y))
            rows.append(beside.bare_support_features(adapted.theta, t)[s:])
        return torch.cat(rows)


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Return the share of rows whose largest score is the label's, 0 … 1."""
    return (logits.argmax(1) == y).double().mean().item()
