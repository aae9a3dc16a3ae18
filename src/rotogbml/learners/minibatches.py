"""Reptile's inner loop: steps over small batches of the task's images, by SGD or Adam without momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rotogbml.episodes import Examples
from rotogbml.learners.descent import Moving, moved, moving
from rotogbml.learners.meta_gradient import leaves
from rotogbml.learners.network import Psi
from rotogbml.learners.problem import Problem
from rotogbml.seeds import numpy_generator

Rule = Callable[[Moving, Moving], Moving]
"""One task's update: parameters and gradients in, parameters out."""

_BETA2, _EPSILON = 0.999, 1e-8


@dataclass(frozen=True)
class Minibatches:
    """Descent on shuffled minibatches.

    Attributes:
        lr: η_base.
        batch: images in a minibatch; all of them where there are fewer.
        optimizer: ``sgd``, or ``adam`` with β₁ = 0 as published. Adam's memory is fresh for every task here; the
            published code carries it from task to task.
    """

    lr: float
    batch: int
    optimizer: Literal["sgd", "adam"]

    def batches(self, problem: Problem, steps: int) -> Iterator[Examples]:
        """Yield minibatches of the problem's support: whole passes, shuffled anew each, by the task's own stream."""
        x, y = problem.support.x, problem.support.y
        rng = numpy_generator(problem.key, "reptile")
        order = np.empty(0, dtype=np.int64)
        size = min(self.batch, len(y))
        for _ in range(steps):
            while len(order) < size:
                order = np.concatenate([order, rng.permutation(len(y))])
            rows, order = torch.from_numpy(order[:size]).to(y.device), order[size:]
            yield Examples(x[rows], y[rows])

    def rule(self) -> Rule:
        """Return one task's update, parameters and gradients in, parameters out; it remembers what Adam needs."""
        second: Moving = {}
        count = 0

        def step(params: Moving, gradients: Moving) -> Moving:
            nonlocal count
            count += 1
            return {key: p - self.lr * scaled(key, gradients[key]) for key, p in params.items()}

        def scaled(key: tuple[str, str], g: Tensor) -> Tensor:
            if self.optimizer == "sgd":
                return g
            before = second.get(key, torch.zeros_like(g))
            second[key] = _BETA2 * before + (1 - _BETA2) * g.square()
            return g / ((second[key] / (1 - _BETA2**count)).sqrt() + _EPSILON)

        return step

    def trajectory(self, problem: Problem, start: Psi, steps: int, create_graph: bool = False) -> Iterator[Psi]:
        """Yield ψ⁰ … ψ^τ, each a leaf: nothing here is differentiated through."""
        psi, update = start, self.rule()
        yield psi
        for t, batch in enumerate(self.batches(problem, steps)):
            psi = self.step(problem, psi, batch, t, update)
            yield psi

    def step(self, problem: Problem, psi: Psi, batch: Examples, t: int, update: Rule) -> Psi:
        """Return ψ^{t+1} from ψ^t by one minibatch, as leaves."""
        params = moving("all", psi)
        loss = problem.on(batch).support_loss(psi, t)
        gradients = torch.autograd.grad(loss, list(params.values()))
        return leaves(moved(psi, update(params, dict(zip(params, gradients, strict=True)))))
