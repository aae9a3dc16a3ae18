"""Reptile (Nichol et al. 2018): move ψ toward where the task's own training went.

    ψ_i^τ ← τ inner steps over minibatches of all labelled images of the task
    task gradient  d_i = (ψ − ψ_i^τ) / (τ η);   ψ ← ψ − ε τ η mean_i d_i  =  ψ + ε mean_i (ψ_i^τ − ψ)

There is no query loss. Our reading of RotoGBML on it: the last minibatch plays the query. γ rotates its features, its
loss is L_i, its feature gradient is u_i, and G_i = ‖d_i‖ over θ. With N tasks a step it is the batched algorithm
(their mean), with N = 1 the serial one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rotogbml.episodes import Examples
from rotogbml.learners.descent import moved, moving
from rotogbml.learners.meta_gradient import Gradients, Point, Prepared, leaves, split, to_psi
from rotogbml.learners.minibatches import Minibatches
from rotogbml.learners.network import Psi
from rotogbml.learners.problem import Problem


@dataclass(frozen=True)
class Displacement:
    """The way that training on the task went.

    Attributes:
        inner: the inner loop.
    """

    inner: Minibatches

    def at(self, progress: float) -> Displacement:
        """Return itself: nothing is annealed inside."""
        return self

    def adapts_on(self, problem: Problem) -> Problem:
        """Return the problem with support and query together."""
        s, q = problem.support, problem.query
        return problem.on(Examples(torch.cat([s.x, q.x]), torch.cat([s.y, q.y])))

    def prepare(self, problem: Problem, psi: Psi, steps: int) -> Prepared:
        """Take all steps but the last; the last minibatch waits for its rotation."""
        start = problem.start(psi)
        whole = self.adapts_on(problem)
        origin = state = leaves(start)
        update = self.inner.rule()
        *before, last = self.inner.batches(whole, steps)
        for t, batch in enumerate(before):
            state = self.inner.step(whole, state, batch, t, update)
        z = whole.on(last).bare_support_features(state.theta, steps - 1, plays="query")
        at = state

        def pull_back(gradients: Sequence[Tensor]) -> Gradients:
            params = moving("all", at)
            end = moved(at, update(params, dict(zip(params, gradients, strict=True))))
            scale = steps * self.inner.lr
            d = [(p.detach() - e.detach()) / scale for p, e in zip(origin.tensors(), end.tensors(), strict=True)]
            return split(psi, to_psi(start, psi, d))

        return Prepared((Point(z, at.phi),), last.y, tuple(at.tensors()), pull_back, problem.seen or {})
