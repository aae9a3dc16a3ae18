"""resnet12: the field's usual residual network (Oreshkin et al. 2018; Lee et al. 2019; Tian et al. 2020).

Four blocks of three 3×3 convolutions, 64-160-320-640 filters, LeakyReLU 0.1, each block halves the map; the mean over
the map gives m = 640. No DropBlock: whatever is dropped in training is ISI's.
"""

from __future__ import annotations

import itertools
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from rotogbml.encoders.convolution import Convolution
from rotogbml.encoders.layers import Layered
from rotogbml.encoders.norm import Norm, NormPass
from rotogbml.encoders.protocol import Drop
from rotogbml.encoders.residual import norm_sum_relu
from rotogbml.errors import UsageError

SLOPE = 0.1


class Block(nn.Module):
    """Three convolutions beside a 1×1 shortcut, then 2×2 max-pool: [b, c_in, h, w] → [b, c, h // 2, w // 2]."""

    def __init__(self, c_in: int, c: int, norm: str, sets: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Convolution(c_in if i == 0 else c, c, 3, padding=1) for i in range(3))
        self.norms = nn.ModuleList(Norm(c, norm, sets) for _ in range(3))
        self.shortcut = Convolution(c_in, c, 1)
        self.shortcut_norm = Norm(c, norm, sets)

    def forward(self, x: Tensor, at: NormPass | None) -> Tensor:
        """LeakyReLU rises, so it commutes with max-pool; pooling first leaves a quarter of the work to it.

        Norms and their sum or LeakyReLU are one function with derivatives of its own where that fits (``residual.py``).
        """
        z, norms = x, cast(list[Norm], [*self.norms])
        for conv, norm in zip(self.convs[:2], norms, strict=False):
            z = norm_sum_relu([(norm, conv(z))], at, slope=SLOPE)
        terms = [(norms[2], self.convs[2](z)), (self.shortcut_norm, self.shortcut(x))]
        return F.leaky_relu(F.max_pool2d(norm_sum_relu(terms, at, slope=1), 2), SLOPE)


class ResNet12(Layered):
    """Four blocks, mean over the map.

    Args:
        size: side of the square input, pixels, ≥ 16.
        width: filters of the first block; the others have 5/2 (rounded down), 5 and 10 times as many.
        norm: a policy of ``norm.NORMS``.
        sets: sets of statistics, scale and shift under ``per-step``.

    Attributes:
        feature_dim: m = 10 · width, whatever the size.
        layers: the four blocks.
        norm: the policy.

    Raises:
        UsageError: the input is too small to be halved four times, or the norm is unknown.
    """

    layers = 4

    def __init__(self, size: int, width: int = 64, norm: str = "batch", sets: int = 1) -> None:
        super().__init__()
        if size < 16:
            raise UsageError(f"resnet12 halves its input 4 times: {size} px is too small, pack with --size 16 or more")
        channels = (3, width, width * 5 // 2, width * 5, width * 10)
        self.blocks = nn.ModuleList(Block(c_in, c, norm, sets) for c_in, c in itertools.pairwise(channels))
        self.feature_dim, self.norm = channels[-1], norm
        self.finish()

    def parts(self) -> list[nn.Module]:
        """Return the layers in their order."""
        return [*self.blocks]

    def forward(self, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
        """Return features [b, m] of images [b, 3, size, size]; arguments as those of ``through``."""
        z = self.through(x, drop, at)
        return z.mean((2, 3)) if self.pooled else z.flatten(1)
