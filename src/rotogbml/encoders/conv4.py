"""conv4: the field's small encoder (Vinyals et al. 2016; Snell et al. 2017; Chen et al. 2019)."""

from __future__ import annotations

from torch import Tensor, nn

from rotogbml.encoders.convolution import Convolution
from rotogbml.encoders.layers import Layered
from rotogbml.encoders.norm import Norm, NormPass
from rotogbml.encoders.pooling import pooled
from rotogbml.encoders.protocol import Drop
from rotogbml.encoders.residual import norm_sum_relu
from rotogbml.errors import UsageError


class Block(Norm):
    """3×3 convolution, norm, ReLU, 2×2 max-pool: [b, c, h, w] → [b, width, h // 2, w // 2].

    The convolution has no bias: a norm by means removes it (its gradient would be exactly zero under ``batch``), and
    under every policy the shift that follows does a bias's work. A block is its norm, rather than holding one, so
    that scale and shift keep the names that checkpoints know.
    """

    def __init__(self, in_channels: int, width: int, norm: str = "batch", sets: int = 1, padding: int = 1) -> None:
        super().__init__(width, norm, sets)
        self.conv = Convolution(in_channels, width, 3, padding=padding)

    def forward(self, x: Tensor, at: NormPass | None = None) -> Tensor:
        """What follows the convolution is one function with derivatives of its own where there is one."""
        return pooled(self, self.conv(x), at)


class Unpooled(nn.Module):
    """3×3 convolution, norm, ReLU: [b, c, h, w] → [b, width, h, w]."""

    def __init__(self, in_channels: int, width: int, norm: str = "batch", sets: int = 1) -> None:
        super().__init__()
        self.conv = Convolution(in_channels, width, 3, padding=1)
        self.norm = Norm(width, norm, sets)

    def forward(self, x: Tensor, at: NormPass | None = None) -> Tensor:
        """Norm and ReLU are one function where that fits (``residual.py``)."""
        return norm_sum_relu([(self.norm, self.conv(x))], at)


class Conv4(Layered):
    """Four blocks, then flattened.

    Args:
        size: side of the square input, pixels, ≥ 16.
        width: filters in a block.
        norm: a policy of ``norm.NORMS``.
        sets: sets of statistics, scale and shift under ``per-step``.

    Attributes:
        feature_dim: m = width · (size // 16)²: 1600 at 84 px, 256 at 42 px with 64 filters.
        layers: number of layers a ``drop`` is called for.
        norm: the policy.

    Raises:
        UsageError: the input is too small to be halved four times, or the norm is unknown.
    """

    layers = 4

    def __init__(self, size: int, width: int = 64, norm: str = "batch", sets: int = 1) -> None:
        super().__init__()
        if size < 16:
            raise UsageError(f"conv4 halves its input four times: {size} px is too small, pack with --size 16 or more")
        self.blocks = nn.ModuleList([Block(3 if i == 0 else width, width, norm, sets) for i in range(self.layers)])
        self.feature_dim = width * (size // 16) ** 2
        self.norm = norm
        self.finish()

    def parts(self) -> list[nn.Module]:
        """Return the layers in their order."""
        return [*self.blocks]

    def forward(self, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
        """Return features [b, m] of images [b, 3, size, size]; arguments as those of ``through``."""
        return self.through(x, drop, at).flatten(1)


class Conv4NP(Conv4):
    """conv4 with pooling in its first two blocks only, and no padding there: what RelationNet compares maps of.

    84 px become 19 × 19 positions (Chen et al. 2019, after Sung et al. 2018).

    Args:
        size: side of the square input, pixels, ≥ 16.
        width: filters in a block.
        norm: a policy of ``norm.NORMS``.
        sets: sets of statistics, scale and shift under ``per-step``.

    Attributes:
        feature_dim: m = width · side², side = ((size − 2) // 2 − 2) // 2: 23104 at 84 px.

    Raises:
        UsageError: the input is too small, or the norm is unknown.
    """

    def __init__(self, size: int, width: int = 64, norm: str = "batch", sets: int = 1) -> None:
        super().__init__(size, width, norm, sets)
        pooled = [Block(c, width, norm, sets, padding=0) for c in (3, width)]
        self.blocks = nn.ModuleList([*pooled, *(Unpooled(width, width, norm, sets) for _ in range(2))])
        self.feature_dim = width * (((size - 2) // 2 - 2) // 2) ** 2
        self.finish()
