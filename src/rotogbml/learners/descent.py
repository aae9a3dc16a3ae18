"""The inner loop: gradient descent on the parameters of one group.

    ψ_i^{t+1} = ψ_i^t − η_t ∇[ L_{S_i}(ψ_i^t) + (λ/2) ‖ψ_i^t − ψ_i⁰‖² ]

λ = 0 but for iMAML, whose inner problem has the proximal term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rotogbml.learners.network import Psi
from rotogbml.learners.problem import Problem
from rotogbml.learners.rates import Key, Rates

Group = Literal["all", "head", "encoder"]
"""Which parameters adapt: all (MAML), φ alone (ANIL), θ alone (BOIL)."""

Moving = dict[Key, Tensor]


def moving(group: Group, psi: Psi) -> Moving:
    """Return the parameters of ψ that adapt, θ's before φ's."""
    theta = {} if group == "head" else {("f", name): p for name, p in psi.theta.items()}
    phi = {} if group == "encoder" else {("c", name): p for name, p in psi.phi.items()}
    return theta | phi


def moved(psi: Psi, params: Moving) -> Psi:
    """Return ψ with those parameters in place of its own; a group that does not move is the same object."""
    theta, phi = (
        {name: params[room, name] for name in group} if all((room, name) in params for name in group) else group
        for room, group in (("f", psi.theta), ("c", psi.phi))
    )
    return Psi(theta, phi)


@dataclass(frozen=True)
class Descent:
    """Gradient descent on a task's support loss.

    Attributes:
        group: which parameters adapt.
        rates: η, constant or learned.
        lam: λ of the proximal term.
    """

    group: Group
    rates: Rates
    lam: float = 0.0

    def trajectory(self, problem: Problem, start: Psi, steps: int, create_graph: bool) -> Iterator[Psi]:
        """Yield ψ⁰, ψ¹ … ψ^τ, attached to ``start``.

        Args:
            problem: the task.
            start: ψ_i⁰; what adapts must require a gradient.
            steps: τ.
            create_graph: keep the derivatives of the steps themselves. Without it each step's gradient is a constant,
                so that the result depends on ``start`` through the identity alone: first order.
        """
        loss = self._loss(problem, start, create_graph)
        yield start
        psi = start
        for t in range(steps):
            psi = self._step(loss, psi, start, t, create_graph)
            yield psi

    def step(self, problem: Problem, psi: Psi, start: Psi, t: int, create_graph: bool) -> Psi:
        """Return ψ^{t+1} from ψ^t alone."""
        return self._step(self._loss(problem, psi, create_graph), psi, start, t, create_graph)

    def _loss(self, problem: Problem, start: Psi, create_graph: bool) -> Callable[[Psi, int], Tensor]:
        if self.group != "head":
            return problem.support_loss
        # θ stays where it is: the support's features are computed (and masked by ISI) once.
        with torch.set_grad_enabled(create_graph):
            z = problem.support_features(start.theta, 0)
        return lambda psi, t: problem.head_loss(psi.phi, z)

    def _step(self, loss: Callable[[Psi, int], Tensor], psi: Psi, start: Psi, t: int, create_graph: bool) -> Psi:
        params = moving(self.group, psi)
        gradients = torch.autograd.grad(loss(psi, t), list(params.values()), create_graph=create_graph)
        origin = moving(self.group, start)
        after = {}
        for (key, p), g in zip(params.items(), gradients, strict=True):
            pull = g + self.lam * (p - origin[key]) if self.lam else g
            after[key] = p - self.rates(key, t) * pull
        return moved(psi, after)


def steps_of_encoder(group: Group, t: int) -> int:
    """Return how many inner steps θ has behind it after t steps of the group: which per-step statistics hold."""
    return 0 if group == "head" else t
