"""How often a patch recurs around itself: the kernel density q behind self-information (RotoGBML eq. 9–10).

For a map x [b, c, h, w] and a shift j, D_j(p) = ‖patch at p − patch at p + j‖² over a k×k window and all channels.
The image goes on beyond its border with its own edge pixels, so that a border is neither an edge nor a blank.
D_j is a box filter over e_j(p) = Σ_channels (x(p) − x(p + j))², and D_{−j}(p) = D_j(p − j), so half of the shifts
suffice. Where a C compiler is at hand one image at a time is done in cache (``native/isi.c``). Without, maps are kept
as one flat row of the padded image, where every shift is one constant offset: each step is then a pass over contiguous
memory.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.native import passes

_CACHE_FLOATS = 1 << 20
"""Images are taken in groups whose work space is about so many numbers, to stay in cache."""


class Neighbourhood:
    """All shifts up to ``radius`` in both directions, for maps of one shape.

    Args:
        shape: (c, h, w) of the maps.
        patch: k, odd.
        radius: C.
    """

    def __init__(self, shape: tuple[int, int, int], patch: int, radius: int) -> None:
        self.c, self.h, self.w = shape
        self.half, self.radius = patch // 2, radius
        self.margin = radius + self.half
        self.height, self.width = self.h + 2 * self.margin, self.w + 2 * self.margin
        self.shifts = [
            (dy, dx) for dy in range(radius + 1) for dx in range(-radius, radius + 1) if dy > 0 or (dy == 0 and dx > 0)
        ]

    @property
    def group(self) -> int:
        """How many images to hand to ``distances`` at a time."""
        return max(1, _CACHE_FLOATS // ((self.c + len(self.shifts)) * self.height * self.width))

    def distances(self, x: Tensor) -> Tensor:
        """Return D_j for half of the shifts, [b, shifts, height, width] of the padded image.

        D_j is valid on the image and on the image moved by −j; elsewhere it is finite and means nothing.
        """
        b, n, reach = len(x), self.height * self.width, self.half
        padded = F.pad(x, (self.margin,) * 4, mode="replicate").reshape(b, self.c, n)
        pixel = x.new_zeros(b, len(self.shifts), n)
        for j, (dy, dx) in enumerate(self.shifts):
            offset = dy * self.width + dx
            first = max(0, (self.radius - dy) * self.width)
            last = min(n - offset, (self.margin + self.h + reach) * self.width)
            here, there = padded[..., first:last], padded[..., first + offset : last + offset]
            # One fused pass for (x − shifted x)²; a difference and a product would be two.
            torch.sum(F.mse_loss(here, there, reduction="none"), dim=1, out=pixel[:, j, first:last])
        boxed = _window_sum(_window_sum(pixel, reach, 1), reach, self.width)
        return boxed.reshape(b, len(self.shifts), self.height, self.width)

    def mean(self, distances: Tensor) -> Tensor:
        """Return the mean of D over all positions and all (2C+1)² windows of each image, [b]."""
        flat = distances.flatten(1)
        return flat @ self._uses.to(flat).flatten() / (self.h * self.w * (2 * len(self.shifts) + 1))

    def density(self, distances: Tensor, mean: Tensor, bandwidth: float) -> Tensor:
        """Return q = mean_j exp(−D_j / (mean · 2h²)) over all (2C+1)² windows, [b, h, w] in (0, 1]."""
        tiny = torch.finfo(mean.dtype).tiny
        scale = -1.0 / (2.0 * bandwidth**2 * mean.clamp_min(tiny))
        kernel = (distances * scale.reshape(-1, 1, 1, 1)).exp_()
        # The window itself is one of its neighbours: D = 0, kernel 1.
        q = distances.new_ones(len(distances), self.h, self.w)
        for j, (there, back) in enumerate(self._views):
            q += kernel[:, j, *there]
            q += kernel[:, j, *back]
        return q.div_(2 * len(self.shifts) + 1)

    @cached_property
    def _views(self) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """Where D_j lies on the image, and where D_{−j}(p) = D_j(p − j) does."""

        def view(dy: int, dx: int) -> tuple[slice, slice]:
            top, left = self.margin - dy, self.margin - dx
            return slice(top, top + self.h), slice(left, left + self.w)

        return [(view(0, 0), view(dy, dx)) for dy, dx in self.shifts]

    @cached_property
    def _uses(self) -> Tensor:
        """How often each entry of ``distances`` stands in the sum over positions and windows."""
        uses = torch.zeros(len(self.shifts), self.height, self.width)
        for j, (there, back) in enumerate(self._views):
            uses[j][there] += 1
            uses[j][back] += 1
        return uses


def _window_sum(flat: Tensor, reach: int, stride: int) -> Tensor:
    """Sum flat[p + i·stride] over |i| ≤ reach along the last axis, what lies beyond the ends being left out."""
    if reach == 0:
        return flat
    total = flat.clone()
    for step in range(stride, reach * stride + 1, stride):
        total[..., step:] += flat[..., :-step]
        total[..., :-step] += flat[..., step:]
    return total


def self_information_density(x: Tensor, patch: int, radius: int, bandwidth: float, over: str) -> Tensor:
    """Return q of every position of x [b, c, h, w]: [b, h, w] in [1/(2C+1)², 1], high where a patch recurs.

    −log q is the self-information of RotoGBML eq. 9–10. Distances are divided by their mean over one image
    (``over="image"``) or over the batch (``over="batch"``); a map without any structure has q = 1.
    """
    if radius and len(x) and passes.takes(x):
        q, mean = passes.density(x, patch, radius, bandwidth, None)
        return q if over == "image" else passes.density(x, patch, radius, bandwidth, mean.mean().expand(len(x)))[0]
    near = Neighbourhood((x.shape[1], x.shape[2], x.shape[3]), patch, radius)
    if radius == 0 or not len(x):
        return x.new_ones(x.shape[0], x.shape[2], x.shape[3])
    groups = x.split(near.group)
    if over == "image":
        return torch.cat([near.density(d, near.mean(d), bandwidth) for d in map(near.distances, groups)])
    kept = [near.distances(group) for group in groups]
    mean = torch.cat([near.mean(d) for d in kept]).mean()
    return torch.cat([near.density(d, mean.expand(len(d)), bandwidth) for d in kept])
