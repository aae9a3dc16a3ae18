"""MAML (Finn et al. 2017): everything adapts, and the meta-gradient goes through the adaptation.

    ψ_i⁰ = ψ;   ψ_i^{t+1} = ψ_i^t − η ∇ L_{S_i}(ψ_i^t);   meta-gradient ∇_ψ L_{Q_i}(ψ_i^τ)

First order drops ∂ψ^τ/∂ψ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders import Drop
from rotogbml.episodes import Examples
from rotogbml.learners.inner import descend
from rotogbml.learners.learner import Learner, Rotation
from rotogbml.learners.network import Psi


@dataclass(frozen=True)
class MAML(Learner):
    """Model-agnostic meta-learning; RotoGBML eq. 1, 2 and 4."""

    def adapt(
        self,
        psi: Psi,
        support: Examples,
        steps: int,
        create_graph: bool,
        drop: Drop | None = None,
        rotate: Rotation | None = None,
    ) -> Psi:
        """τ steps on θ and φ together; each step's forward draws its own ISI mask."""

        def loss(params: dict[tuple[str, str], Tensor]) -> Tensor:
            z = self.network.features({name: params["f", name] for name in psi.theta}, support.x, drop)
            z = z if rotate is None else rotate(z)
            return F.cross_entropy(self.network.logits({name: params["c", name] for name in psi.phi}, z), support.y)

        start = {("f", name): p for name, p in psi.theta.items()} | {("c", name): p for name, p in psi.phi.items()}
        end = descend(loss, start, self.inner_lr, steps, create_graph)
        return Psi({name: end["f", name] for name in psi.theta}, {name: end["c", name] for name in psi.phi})
