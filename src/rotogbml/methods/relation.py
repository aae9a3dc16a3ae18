"""g, RelationNet's module: two maps side by side → how alike they are.

    2×[3×3 convolution (2C → C, then C → C), norm, ReLU, 2×2 max-pool], linear to 8, ReLU, linear to 1

A map of 10 positions a side or more is convolved without padding (19 → 17 → 8 → 6 → 3), a smaller one with padding 1
(7 → 3 → 1), as in Chen et al. 2019. A map of one position is not pooled: published sizes never are that small.

Whose statistics normalise pairs is the module's own question. Published codes take those of all pairs of the episode
even at test, so that a query's score depends on its fellow queries (transductive): that is ``batch``, taken where the
encoder's norm is ``batch`` or as published. Elsewhere each pair goes by itself, all channels together (``layer``: of
small images one position a channel is left, of which eight groups would leave nothing), or as the encoder's policy says
of single images (``moving``, ``running``, ``none``).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from rotogbml.encoders import Convolution, Norm, NormPass, pooled
from rotogbml.learners import Params
from rotogbml.learners.network import drawn

HIDDEN = 8


def norm_of_pairs(encoder_norm: str, published: bool) -> str:
    """Return the policy of g's norms beside an encoder's."""
    if published or encoder_norm == "batch":
        return "batch"
    return encoder_norm if encoder_norm in ("moving", "running", "none") else "layer"


class Relation(nn.Module):
    """g.

    Args:
        channels: C of a feature map.
        side: its side, positions, ≥ 1.
        norm: policy of its norms.
    """

    def __init__(self, channels: int, side: int, norm: str) -> None:
        super().__init__()
        self.channels, self.side, self.norm = channels, side, norm
        self.padding = padding = 0 if side >= 10 else 1
        self.convs = nn.ModuleList([Convolution(c, channels, 3, padding=padding) for c in (2 * channels, channels)])
        self.norms = nn.ModuleList([Norm(channels, norm) for _ in range(2)])
        self.pools: list[bool] = []
        for _ in range(2):
            side += 2 * padding - 2
            self.pools.append(side >= 2)
            side = side // 2 if side >= 2 else side
        self.fc1 = nn.Linear(channels * side * side, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, 1)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw biases too, as torch does: a bias of 0 before the ReLU of 8 would leave some of them dead."""
        drawn(self.fc1.bias, self.fc1.in_features, generator)
        drawn(self.fc2.bias, self.fc2.in_features, generator)

    def block(self, i: int, x: Tensor, at: NormPass | None) -> Tensor:
        """Return one block's map."""
        norm, y = cast(Norm, self.norms[i]), self.convs[i](x)
        return pooled(norm, y, at) if self.pools[i] else F.relu(norm(y, at))

    def forward(self, pairs: Tensor, at: NormPass | None = None) -> Tensor:
        """[p, 2C, side, side] → raw scores [p]."""
        z = self.block(1, self.block(0, pairs, at), at)
        return self.fc2(F.relu(self.fc1(z.flatten(1))))[:, 0]

    def called(self, phi: Params, pairs: Tensor, at: NormPass | None = None) -> Tensor:
        """Return the scores by other parameters than its own."""
        return functional_call(self, phi, (pairs, at))


def paired(c: Tensor, z: Tensor) -> Tensor:
    """Return every query beside every class, prototype first.

    Args:
        c: [n_way, C, h, w] mean maps of the classes.
        z: [q, C, h, w] maps of the queries.

    Returns:
        [q · n_way, 2C, h, w], all classes of the first query, then of the second …
    """
    q, n = len(z), len(c)
    both = torch.cat([c.expand(q, *c.shape), z[:, None].expand(q, n, *z.shape[1:])], dim=2)
    return both.flatten(0, 1)
