"""MTL, meta-transfer learning (Sun et al. 2019): pre-trained filters stand still and are scaled.

    W ⊙ Φ   Φ [out, in, 1, 1], 1 at first, for each filter W of a given, pre-trained encoder, which never moves
    inner   the head alone, its start learned: 100 steps of 0.01
    outer   Φ, scales and shifts of norms, and the head's start, through the queries' features alone (first order)

The paper also shifts biases; our convolutions have none, a norm's shift does their work and is learned, as in the
public code. That has two step sizes (1e-4 for Φ); here there is the harness's one. Minibatches of hard tasks are an
option of what is drawn (``episodes/hard.py``), off as in the public code, which has none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rotogbml.encoders import Drop, Encoder, NormPass
from rotogbml.errors import UsageError
from rotogbml.learners import Learner, LinearHead, Network, Params, Psi, create_learner
from rotogbml.learners.network import called
from rotogbml.methods.compared import Options

SCALE = " scale"
"""Behind a filter's name: the name of its Φ."""


class Scaled(Network):
    """An encoder whose filters stand still, each scaled by a number of its own."""

    def __init__(self, encoder: Encoder, head: LinearHead) -> None:
        super().__init__(encoder, head)
        self.filters = {name: p for name, p in encoder.named_parameters() if p.ndim == 4}
        if not self.filters:
            raise UsageError("mtl scales filters, and this encoder has none: take one of `list_encoders()`")
        self.scales = {name + SCALE: nn.Parameter(torch.ones(*p.shape[:2], 1, 1)) for name, p in self.filters.items()}

    def to(self, device: torch.device) -> None:
        """Move all."""
        super().to(device)
        for p in self.scales.values():
            p.data = p.data.to(device)

    def psi(self) -> Psi:
        """Return Φ and the norms, and the head."""
        psi = super().psi()
        norms = {name: p for name, p in psi.theta.items() if name not in self.filters}
        return Psi({**self.scales, **norms}, psi.phi)

    def statistics(self) -> dict[str, Tensor]:
        """Return what stands still, filters too: a checkpoint is whole."""
        return {**super().statistics(), **{name: p.detach() for name, p in self.filters.items()}}

    def features(self, theta: Params, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
        """Return features [b, m] by W ⊙ Φ."""
        filters = {name: p.detach() * theta[name + SCALE] for name, p in self.filters.items()}
        norms = {name: p for name, p in theta.items() if not name.endswith(SCALE)}
        return called(self.encoder, filters | norms, x, drop, at)


def mtl(encoder: Encoder, n_way: int, options: Options) -> Learner:
    """Return the learner: ANIL in first order on a scaled encoder."""
    network = Scaled(encoder, LinearHead(encoder.feature_dim, n_way))
    steps, lr = options["inner_steps"], options["inner_lr"]
    return create_learner("anil", network, inner_lr=lr, inner_steps=steps, first_order=True)
