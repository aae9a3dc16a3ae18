"""The networks in stock torch alone, in its default layout, as users of the other libraries have them.

Twice: as modules for the libraries that want one, and as functions of named tensors for the plain loop. No convolution
has a bias, as ours have none, so that all compute the same numbers by the same count of operations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.work import N_WAY, Work
from rotogbml.encoders import create_encoder
from rotogbml.learners import Network, create_head

Named = Mapping[str, Tensor]
Forward = Callable[[Named, Tensor], Tensor]


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, track_running_stats=False)


def _conv(a: int, b: int, side: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(a, b, side, stride=stride, padding=side // 2, bias=False)


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU, 2×2 max-pool: a block of conv4, and the stem of the small resnet10."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.conv, self.norm, self.relu, self.pool = _conv(a, b), _norm(b), nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """[b, a, h, w] → [b, b, h // 2, w // 2]."""
        return self.pool(self.relu(self.norm(self.conv(x))))


class SimpleBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(a, b, stride=1 if a == b else 2), _norm(b)
        self.conv2, self.norm2 = _conv(b, b), _norm(b)
        self.shortcut = None if a == b else _conv(a, b, 1, 2)
        self.shortcut_norm = None if a == b else _norm(b)

    def forward(self, x: Tensor) -> Tensor:
        """[b, a, h, w] → [b, b, ⌈h/2⌉, ⌈w/2⌉], or h and w where a = b."""
        z = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.shortcut is None or self.shortcut_norm is None:
            return F.relu(z + x)
        return F.relu(z + self.shortcut_norm(self.shortcut(x)))


class Conv4(nn.Module):
    """conv4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ConvBlock(3 if i == 0 else width, width) for i in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        """[b, 3, s, s] → [b, m]."""
        return self.blocks(x).flatten(1)


class ResNet10Small(nn.Module):
    """resnet10 with the stem for small images."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [width, *(width * 2**stage for stage in range(4))]
        self.stem = ConvBlock(3, width)
        self.blocks = nn.Sequential(*(SimpleBlock(a, b) for a, b in itertools.pairwise(channels)))

    def forward(self, x: Tensor) -> Tensor:
        """[b, 3, s, s] → [b, m]."""
        return self.blocks(self.stem(x)).mean((2, 3))


class Model(nn.Module):
    """Encoder and linear head, with the weights that ours starts from (seed 0)."""

    def __init__(self, work: Work, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        ours = create_encoder(work.encoder, size=work.size, width=work.width)
        network = Network(ours, create_head("linear", ours.feature_dim, N_WAY))
        network.initialise(0)
        self.encoder = (Conv4 if work.encoder == "conv4" else ResNet10Small)(work.width)
        self.head = nn.Linear(ours.feature_dim, N_WAY)
        theirs = dict(self.named_parameters())
        with torch.no_grad():
            for name, p in named(network.psi().theta, network.psi().phi).items():
                theirs[name].copy_(p)
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[b, 3, s, s] → [b, N_WAY]."""
        return self.head(self.encoder(x))


def named(theta: Named, phi: Named) -> dict[str, Tensor]:
    """Return our tensors under the names of ``Model``: our conv4's block is its own norm."""
    own = {f"blocks.{i}.{kind}": f"blocks.{i}.norm.{kind}" for i in range(4) for kind in ("weight", "bias")}
    encoder = {f"encoder.{own.get(name, name)}": p for name, p in theta.items()}
    return encoder | {f"head.{name}": p for name, p in phi.items()}


def features_of(work: Work) -> Forward:
    """Return f as a function of the tensors that ``Model`` names: images [b, 3, s, s] → [b, m]."""
    return conv4 if work.encoder == "conv4" else resnet10_small


def scores(p: Named, z: Tensor) -> Tensor:
    """Return the head's scores [b, N_WAY] of features [b, m]."""
    return F.linear(z, p["head.weight"], p["head.bias"])


def _normed(p: Named, name: str, y: Tensor) -> Tensor:
    return F.batch_norm(y, None, None, p[f"{name}.weight"], p[f"{name}.bias"], training=True)


def _block(p: Named, name: str, x: Tensor) -> Tensor:
    y = F.conv2d(x, p[f"{name}.conv.weight"], padding=1)
    return F.max_pool2d(F.relu(_normed(p, f"{name}.norm", y)), 2)


def conv4(p: Named, x: Tensor) -> Tensor:
    """See ``features_of``."""
    for i in range(4):
        x = _block(p, f"encoder.blocks.{i}", x)
    return x.flatten(1)


def resnet10_small(p: Named, x: Tensor) -> Tensor:
    """See ``features_of``."""
    x = _block(p, "encoder.stem", x)
    for i in range(4):
        name = f"encoder.blocks.{i}"
        stride = 2 if f"{name}.shortcut.weight" in p else 1
        z = F.conv2d(x, p[f"{name}.conv1.weight"], stride=stride, padding=1)
        z = F.conv2d(F.relu(_normed(p, f"{name}.norm1", z)), p[f"{name}.conv2.weight"], padding=1)
        z = _normed(p, f"{name}.norm2", z)
        if stride == 2:
            x = _normed(p, f"{name}.shortcut_norm", F.conv2d(x, p[f"{name}.shortcut.weight"], stride=2))
        x = F.relu(z + x)
    return x.mean((2, 3))
