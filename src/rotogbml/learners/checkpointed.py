"""The unrolled meta-gradient with one inner step's graph alive at a time.

Forward, only the states ψ⁰ … ψ^τ are kept (one copy of ψ each). Backward, with v = ∂L/∂ψ^{t+1}, each step is taken
again from ψ^t as a leaf:

    ∂L/∂ψ^t = (∂ψ^{t+1}/∂ψ^t)ᵀ v  [= v − η ∇²L_S(ψ^t) v  for plain descent],   ∂L/∂α += (∂ψ^{t+1}/∂α)ᵀ v

The same gradient as with the whole graph, for one more forward and backward a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rotogbml.learners.descent import Descent, steps_of_encoder
from rotogbml.learners.meta_gradient import Gradients, Point, Prepared, leaves, split, to_psi
from rotogbml.learners.network import Psi
from rotogbml.learners.problem import Problem


def prepare_checkpointed(
    descent: Descent, problem: Problem, psi: Psi, steps: int, shares: Mapping[int, float]
) -> Prepared:
    """Adapt by τ = ``steps`` without a graph; the outer loss is taken at leaf states.

    Args:
        descent: the inner loop.
        problem: the task.
        psi: where it starts.
        steps: τ.
        shares: v_t of every step whose query loss counts.
    """
    start = problem.start(psi)
    states = [leaves(start)]
    for t in range(steps):
        states.append(leaves(descent.step(problem, states[t], states[0], t, create_graph=False)))
    points, at = [], []
    for t, share in shares.items():
        z = problem.query_features(states[t].theta, steps_of_encoder(descent.group, t))
        points.append(Point(z, states[t].phi, share))
        at += states[t].tensors()
    alpha = list(descent.rates.alpha.values())

    def pull_back(gradients: Sequence[Tensor]) -> Gradients:
        each = len(states[0].tensors())
        of = {t: gradients[i * each : (i + 1) * each] for i, t in enumerate(shares)}
        v = list(of.get(steps, [torch.zeros_like(p) for p in states[steps].tensors()]))
        at_alpha = [torch.zeros_like(a) for a in alpha]
        again = problem.silent()
        for t in reversed(range(steps)):
            after = descent.step(again, states[t], states[0], t, create_graph=True)
            moved = [(p, w) for p, w in zip(after.tensors(), v, strict=True) if p.grad_fn is not None]
            still = {i for i, p in enumerate(after.tensors()) if p.grad_fn is None}
            found = torch.autograd.grad(
                [p for p, _ in moved],
                [*states[t].tensors(), *alpha],
                [w for _, w in moved],
                materialize_grads=True,
            )
            # A parameter outside the group is passed on as it is.
            v = [g + v[i] if i in still else g for i, g in enumerate(found[:each])]
            v = [a + b for a, b in zip(v, of[t], strict=True)] if t in of else v
            at_alpha = [a + b for a, b in zip(at_alpha, found[each:], strict=True)]
        return split(psi, [*to_psi(start, psi, v), *at_alpha])

    return Prepared(tuple(points), problem.query.y, tuple(at), pull_back, problem.seen or {})
