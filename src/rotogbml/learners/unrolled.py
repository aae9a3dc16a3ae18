"""The meta-gradient through the adaptation itself (Finn et al. 2017; RotoGBML eq. 1, 2 and 4).

    ψ_i⁰ = ψ;   ψ_i^{t+1} = ψ_i^t − η ∇ L_{S_i}(ψ_i^t);   meta-gradient ∇_ψ Σ_t v_t L_{Q_i}(ψ_i^t)

v_τ = 1 and every other v_t = 0, but in the first part of MAML++'s training (``multi_step``). First order drops
∂ψ^t/∂ψ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rotogbml.learners.checkpointed import prepare_checkpointed
from rotogbml.learners.descent import Descent, steps_of_encoder
from rotogbml.learners.meta_gradient import Point, Prepared, split
from rotogbml.learners.network import Psi
from rotogbml.learners.problem import Problem


@dataclass(frozen=True)
class Unrolled:
    """Differentiate through the inner loop.

    Attributes:
        descent: the inner loop.
        first_order: no derivative of the adaptation itself.
        first_order_share: derivative-order annealing: first order for this share of training, then second (MAML++).
        multi_step: the outer loss is taken after every inner step, and shrinks to the last over this share of training.
        checkpoint: keep one inner step's graph at a time: more time, memory that does not grow with τ.
        progress: share of training that is done.
    """

    descent: Descent
    first_order: bool
    first_order_share: float = 0.0
    multi_step: float = 0.0
    checkpoint: bool = False
    progress: float = 0.0

    def at(self, progress: float) -> Unrolled:
        """Return the same at another point of training."""
        annealed = self.first_order_share > 0 or self.multi_step > 0
        return replace(self, progress=progress) if annealed else self

    def adapts_on(self, problem: Problem) -> Problem:
        """Return the problem itself: the support."""
        return problem

    def prepare(self, problem: Problem, psi: Psi, steps: int) -> Prepared:
        """Adapt by τ = ``steps``; the graph back to ψ is alive."""
        first_order = self.first_order or self.progress < self.first_order_share
        shares = dict(self._shares(steps))
        if self.checkpoint and not first_order:
            return prepare_checkpointed(self.descent, problem, psi, steps, shares)
        start = problem.start(psi)
        points = []
        for t, state in enumerate(self.descent.trajectory(problem, start, steps, not first_order)):
            if t in shares:
                z = problem.query_features(state.theta, steps_of_encoder(self.descent.group, t))
                points.append(Point(z, state.phi, shares[t]))
        at = (*psi.tensors(), *self.descent.rates.alpha.values())
        return Prepared(tuple(points), problem.query.y, at, lambda gradients: split(psi, gradients), problem.seen or {})

    def _shares(self, steps: int) -> Iterator[tuple[int, float]]:
        """Yield (t, v_t) of every step whose query loss counts."""
        if steps and self.progress < self.multi_step:
            yield from enumerate(multi_step_shares(steps, self.progress / self.multi_step), start=1)
        else:
            yield steps, 1.0


def multi_step_shares(steps: int, done: float) -> list[float]:
    """Return v_1 … v_τ of MAML++'s multi-step loss when ``done``, 0 … 1, of its annealing is over; they sum to 1.

    All equal at first; all but the last fall linearly, to no less than 0.03/τ, and the last takes what they lose.
    """
    each = max((1 - done) / steps, 0.03 / steps)
    return [each] * (steps - 1) + [1 - each * (steps - 1)]
