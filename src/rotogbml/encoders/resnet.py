"""resnet10 and resnet18: residual networks of simple blocks (He et al. 2016), as in Chen et al. 2019 ("A Closer Look").

    stem      7×7 convolution by 2, norm, ReLU, 3×3 max-pool by 2     (224 px → 56)
    -small    3×3 convolution, norm, ReLU, 2×2 max-pool               (84 px → 42)
    stages    width · (1, 2, 4, 8) filters, the last three halve the map; 1 or 2 blocks each
    end       mean over the map: m = 8 · width, 512 with 64 filters

The published stem leaves 21 of 84 pixels to the stages and the fourth stage only three; for images of up to 84 px take
the small stem. No convolution has a bias: a norm follows each.
"""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from rotogbml.encoders.convolution import Convolution
from rotogbml.encoders.layers import Layered
from rotogbml.encoders.norm import Norm, NormPass
from rotogbml.encoders.pooling import pooled
from rotogbml.encoders.protocol import Drop
from rotogbml.encoders.residual import norm_sum_relu
from rotogbml.errors import UsageError


class Stem(nn.Module):
    """[b, 3, s, s] → [b, width, ⌈s/4⌉, ⌈s/4⌉], or [b, width, s // 2, s // 2] where small."""

    def __init__(self, width: int, small: bool, norm: str, sets: int) -> None:
        super().__init__()
        self.small = small
        if small:
            self.conv = Convolution(3, width, 3, padding=1)
        else:
            self.conv = Convolution(3, width, 7, stride=2, padding=3)
        self.norm = Norm(width, norm, sets)

    def forward(self, x: Tensor, at: NormPass | None) -> Tensor:
        """The small stem is a block of conv4's, and fused as one; ReLU and max-pool commute in the other too."""
        y = self.conv(x)
        if not self.small:
            return F.relu(F.max_pool2d(norm_sum_relu([(self.norm, y)], at, slope=1), 3, stride=2, padding=1))
        return pooled(self.norm, y, at)


class SimpleBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut: [b, c_in, h, w] → [b, c, ⌈h/stride⌉, ⌈w/stride⌉].

    The shortcut is the map itself, or where the channels change a 1×1 convolution and a norm.
    """

    def __init__(self, c_in: int, c: int, stride: int, norm: str, sets: int) -> None:
        super().__init__()
        self.conv1 = Convolution(c_in, c, 3, stride=stride, padding=1)
        self.norm1 = Norm(c, norm, sets)
        self.conv2 = Convolution(c, c, 3, padding=1)
        self.norm2 = Norm(c, norm, sets)
        self.shortcut = None if c_in == c else Convolution(c_in, c, 1, stride=stride)
        self.shortcut_norm = None if c_in == c else Norm(c, norm, sets)

    def forward(self, x: Tensor, at: NormPass | None) -> Tensor:
        """ReLU between the convolutions and after the sum.

        Norms, sum and ReLU are one function with derivatives of its own where that fits (``residual.py``).
        """
        z = self.conv2(norm_sum_relu([(self.norm1, self.conv1(x))], at))
        if self.shortcut is None or self.shortcut_norm is None:
            return norm_sum_relu([(self.norm2, z)], at, x)
        return norm_sum_relu([(self.norm2, z), (self.shortcut_norm, self.shortcut(x))], at)


class ResNet(Layered):
    """Stem, four stages of simple blocks, mean over the map.

    Args:
        size: side of the square input, pixels, ≥ 16.
        width: filters of the stem and the first stage; 64 is as published.
        norm: a policy of ``norm.NORMS``.
        sets: sets of statistics, scale and shift under ``per-step``.
        blocks: blocks in a stage: 1 is resnet10, 2 is resnet18.
        small: the stem for images of up to 84 px.

    Attributes:
        feature_dim: m = 8 · width, whatever the size.
        layers: the stem and every block: 5 or 9.
        norm: the policy.

    Raises:
        UsageError: the input is too small, or the norm is unknown.
    """

    def __init__(
        self, size: int, width: int = 64, norm: str = "batch", sets: int = 1, blocks: int = 1, small: bool = False
    ) -> None:
        super().__init__()
        if size < 16:
            raise UsageError(
                f"resnets halve their input 4 or 5 times: {size} px is too small, pack with --size 16 or more"
            )
        self.stem = Stem(width, small, norm, sets)
        channels = [width, *(width * 2**stage for stage in range(4) for _ in range(blocks))]
        self.blocks = nn.ModuleList(
            SimpleBlock(c_in, c, 1 if c == c_in else 2, norm, sets) for c_in, c in itertools.pairwise(channels)
        )
        self.feature_dim, self.layers, self.norm = channels[-1], len(channels), norm
        self.finish()

    def parts(self) -> list[nn.Module]:
        """Return the layers in their order."""
        return [self.stem, *self.blocks]

    def forward(self, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
        """Return features [b, m] of images [b, 3, size, size]; arguments as those of ``through``."""
        z = self.through(x, drop, at)
        return z.mean((2, 3)) if self.pooled else z.flatten(1)
