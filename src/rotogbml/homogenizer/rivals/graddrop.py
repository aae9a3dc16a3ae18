"""GradDrop: for every number of θ one sign is drawn, and gradients of the other sign are left out (by torchjd).

The one rival that is no weighting of tasks: it acts on θ, number by number; φ and α go along the plain mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rotogbml.homogenizer.rivals.draws import drawing_from
from rotogbml.homogenizer.rivals.gramian import made
from rotogbml.homogenizer.rivals.method import Memoryless, Minibatch


class GradDrop(Memoryless):
    """GradDrop.

    Raises:
        UsageError: torchjd is not installed.
    """

    needs_gram = False

    def __init__(self) -> None:
        self.aggregator = made("graddrop", lambda jd: jd.GradDrop())

    def weights(self, minibatch: Minibatch) -> Tensor:
        """Return ones: what is left is not a matter of whole tasks."""
        return torch.ones_like(minibatch.norms)

    def combine(self, gradients: Tensor, seed: int) -> Tensor:
        """Return the sum of what is left of each number, over N: [N, P] → [P]. Drawn on the CPU."""
        with drawing_from(seed):
            kept = self.aggregator(gradients.cpu())
        return kept.to(gradients) / len(gradients)
