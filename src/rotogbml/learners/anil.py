"""ANIL (Raghu et al. 2020): only the head adapts; the encoder is trained by the outer loss alone.

    φ_i^{t+1} = φ_i^t − η ∇_φ L_{S_i}(θ, φ_i^t);   meta-gradient ∇_{(θ,φ)} L_{Q_i}(θ, φ_i^τ)

θ does not move in the inner loop, so the support's features are computed once. Second order trains θ through
both support and query features, first order through the query's alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders import Drop
from rotogbml.episodes import Examples
from rotogbml.learners.inner import descend
from rotogbml.learners.learner import Learner, Rotation
from rotogbml.learners.network import Params, Psi


@dataclass(frozen=True)
class ANIL(Learner):
    """Almost no inner loop."""

    def adapt(
        self,
        psi: Psi,
        support: Examples,
        steps: int,
        create_graph: bool,
        drop: Drop | None = None,
        rotate: Rotation | None = None,
    ) -> Psi:
        """τ steps on φ, on features that are computed (and masked by ISI) once."""
        with torch.set_grad_enabled(create_graph):
            z = self.network.features(psi.theta, support.x, drop)
            z = z if rotate is None else rotate(z)

        def loss(phi: Params) -> Tensor:
            return F.cross_entropy(self.network.logits(phi, z), support.y)

        return Psi(psi.theta, descend(loss, psi.phi, self.inner_lr, steps, create_graph))
