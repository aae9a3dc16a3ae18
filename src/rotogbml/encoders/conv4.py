"""conv4: the field's small encoder (Vinyals et al. 2016; Snell et al. 2017; Chen et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rotogbml.errors import UsageError

Drop = Callable[[int, Tensor, Tensor], Tensor]
"""Called after each layer as ``drop(layer, x, z)`` with the layer's input and output; returns z, partly zeroed."""


class Block(nn.Module):
    """3×3 convolution, batch normalisation, ReLU, 2×2 max-pool: [b, c, h, w] → [b, width, h // 2, w // 2].

    The convolution has no bias: normalisation by the batch's own mean would make its gradient exactly zero.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.weight = nn.Parameter(Tensor(width).fill_(1.0))
        self.bias = nn.Parameter(Tensor(width).fill_(0.0))

    def forward(self, x: Tensor) -> Tensor:
        """Norm policy ``batch``: the statistics are always those of the batch at hand, none are kept.

        ReLU and max-pool commute; pooling first leaves a quarter of the work to ReLU.
        """
        z = F.batch_norm(self.conv(x), None, None, self.weight, self.bias, training=True)
        return F.relu(F.max_pool2d(z, 2))


class Conv4(nn.Module):
    """Four blocks, then flattened.

    Args:
        size: side of the square input, pixels, ≥ 16.
        width: filters in a block.

    Attributes:
        feature_dim: m = width · (size // 16)²: 1600 at 84 px, 256 at 42 px with 64 filters.
        layers: number of layers a ``drop`` is called for.

    Raises:
        UsageError: the input is too small to be halved four times.
    """

    layers = 4

    def __init__(self, size: int, width: int = 64) -> None:
        super().__init__()
        if size < 16:
            raise UsageError(f"conv4 halves its input four times: {size} px is too small, pack with --size 16 or more")
        self.blocks = nn.ModuleList([Block(3 if i == 0 else width, width) for i in range(self.layers)])
        self.feature_dim = width * (size // 16) ** 2
        # Channels last: batch norm and max-pool of the CPU build are vectorised in this layout alone (docs/log.md).
        self.to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]

    def forward(self, x: Tensor, drop: Drop | None = None) -> Tensor:
        """Return features [b, m] of images [b, 3, size, size]; ``drop`` sees every layer's input and output."""
        x = x.contiguous(memory_format=torch.channels_last)
        for layer, block in enumerate(self.blocks):
            z = block(x)
            x = z if drop is None else drop(layer, x, z)
        return x.flatten(1)
