"""c_φ: feature vector → one score a class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class LinearHead(nn.Module):
    """A meta-learned linear layer, one row a class: it serves the n_way it was trained with and no other.

    Args:
        feature_dim: m.
        n_way: number of classes.
    """

    def __init__(self, feature_dim: int, n_way: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(Tensor(n_way, feature_dim).fill_(0.0))
        self.bias = nn.Parameter(Tensor(n_way).fill_(0.0))

    def forward(self, z: Tensor) -> Tensor:
        """[b, m] → [b, n_way]."""
        return F.linear(z, self.weight, self.bias)
