"""What the fused functions share: a map and its rows, images that fit the cache, sums over positions.

Rows are a map [b, c, h, w] as [b, h, w, c]: of one that is channels last, the layout in which all kernels here are
quick, the same memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rotogbml.encoders.norm import EPS

_CACHE_BYTES = 2 << 20
"""A pass takes so much of a map at a time, one image at least: 18–29 % off the whole at once (docs/log.md)."""

# Looked up once: on small maps that is worth some per cent.
norm_backward = torch.ops.aten.native_batch_norm_backward.default
threshold = torch.ops.aten.threshold_backward.default


def to_rows(x: Tensor) -> Tensor:
    """[b, c, h, w] → [b, h, w, c], contiguous; of a map that is channels last it is the same memory."""
    return x.permute(0, 2, 3, 1).contiguous()


def to_map(rows: Tensor) -> Tensor:
    """[b, h, w, c] → [b, c, h, w], the same memory."""
    return rows.permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """The same map in the layout that all kernels here are quick in."""
    return x.contiguous(memory_format=torch.channels_last)


def affine_relu(y: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, r: Tensor) -> Tensor:
    """Return ReLU(γ x̂ + β), a map, of rows y [b, h, w, c]; mean and r are [c], or [b, 1, 1, c] of each image."""
    scale = weight * r
    return to_map(torch.addcmul(bias - mean * scale, y, scale).relu_())


def groups(rows: Tensor) -> Iterator[slice]:
    """Yield slices of images that are small enough for the cache, one image at least."""
    images = max(1, _CACHE_BYTES // (rows[0].numel() * rows.element_size()))
    for first in range(0, len(rows), images):
        yield slice(first, first + images)


def sums(d: Tensor, x: Tensor, mean: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ d and Σ d (x − mean) r over all rows of [b, h, w, c]: [c] each.

    They are what batch norm's own derivative by shift and scale is, in one pass and centred before they are summed.
    """
    wanted = [False, True, True]
    _, along, plain = norm_backward(to_map(d), to_map(x), None, None, None, mean, r, True, EPS, wanted)
    return plain, along
