"""iMAML (Rajeswaran et al. 2019): the meta-gradient from the solution of the inner problem, not from the way to it.

    ψ_i* = argmin_ψ'  L_{S_i}(ψ') + (λ/2) ‖ψ' − ψ‖²        by τ steps of descent, no graph
    meta-gradient  (I + H/λ)⁻¹ ∇L_{Q_i}(ψ_i*),   H = ∇²L_{S_i}(ψ_i*)     by conjugate gradient

Memory does not depend on τ. The formula is the paper's; its published code runs the inner loop without the
regulariser and solves (1 + δ)I + H/(λ + 10) with δ = 1 instead. ``damping`` adds δ I here too; why it is not 0 by
default stands in docs/log.md. Where H ≥ 0 the solution is never longer than ∇L_Q, and where H > −(1 − 1/R) λ no longer
than R times that. On real networks H is indefinite and I + H/λ can be nearly singular: conjugate gradient is held in a
ball of R lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rotogbml.learners.cg import conjugate_gradient
from rotogbml.learners.descent import Descent, moving, steps_of_encoder
from rotogbml.learners.meta_gradient import Gradients, Point, Prepared, leaves, split, to_psi
from rotogbml.learners.network import Psi
from rotogbml.learners.problem import Problem


@dataclass(frozen=True)
class Implicit:
    """Differentiate the solution implicitly.

    Attributes:
        descent: the inner loop, with its λ > 0.
        cg_steps: Hessian-vector products at the most.
        damping: δ ≥ 0.
        tolerance: relative residual at which conjugate gradient stops.
        radius: R ≥ 1, in lengths of ∇L_Q.
    """

    descent: Descent
    cg_steps: int
    damping: float = 0.0
    tolerance: float = 0.01
    radius: float = 3.0

    def at(self, progress: float) -> Implicit:
        """Return itself: nothing is annealed."""
        return self

    def adapts_on(self, problem: Problem) -> Problem:
        """Return the problem itself: the support."""
        return problem

    def prepare(self, problem: Problem, psi: Psi, steps: int) -> Prepared:
        """Solve the inner problem by τ = ``steps`` of descent; ψ* is a leaf."""
        start = problem.start(psi)
        origin = state = leaves(start)
        for t in range(steps):
            state = leaves(self.descent.step(problem, state, origin, t, create_graph=False))
        solved = state
        t = steps_of_encoder(self.descent.group, steps)
        z = problem.query_features(solved.theta, t)

        def pull_back(gradients: Sequence[Tensor]) -> Gradients:
            at_start, notes = self._solve(problem.silent(), solved, t, gradients)
            return split(psi, to_psi(start, psi, at_start), notes)

        return Prepared(
            (Point(z, solved.phi),), problem.query.y, tuple(solved.tensors()), pull_back, problem.seen or {}
        )

    def _solve(
        self, problem: Problem, solved: Psi, t: int, gradients: Sequence[Tensor]
    ) -> tuple[list[Tensor], dict[str, float]]:
        """Return (I + H/λ + δI)⁻¹ g at the parameters that adapt, g itself at the others, and what CG says of it."""
        params = moving(self.descent.group, solved)
        names = [("f", name) for name in solved.theta] + [("c", name) for name in solved.phi]
        g = dict(zip(names, gradients, strict=True))
        # One mask and one graph for all products: H is that of one function.
        first = torch.autograd.grad(problem.support_loss(solved, t), list(params.values()), create_graph=True)
        flat = torch.cat([h.reshape(-1) for h in first])

        def product(v: Tensor) -> Tensor:
            Hv = torch.autograd.grad(flat, list(params.values()), v, retain_graph=True, materialize_grads=True)
            return (1 + self.damping) * v + torch.cat([h.reshape(-1) for h in Hv]) / self.descent.lam

        b = torch.cat([g[key].reshape(-1) for key in params])
        found = conjugate_gradient(product, b, self.cg_steps, self.tolerance, self.radius)
        parts = found.x.split([p.numel() for p in params.values()])
        g |= {key: part.view(p.shape) for (key, p), part in zip(params.items(), parts, strict=True)}
        notes = {
            "cg_residual": found.residual,
            "cg_steps": float(found.steps),
            "cg_unconverged": float(not found.residual <= self.tolerance),
            "cg_negative_curvature": float(found.negative_curvature),
        }
        return list(g.values()), notes
