"""From stored squares to the encoder's input: crop, flip, jitter, normalise.

Every draw comes from the generator that is handed in; kornia does the pixels and draws nothing.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

Kind = Literal["closer-look", "shape-safe", "none"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Policy(NamedTuple):
    """What a training image may undergo."""

    scale: tuple[float, float]
    """Share of the stored square's area that a random crop keeps."""
    flip: bool
    """Mirror left and right with probability one half."""
    jitter: float
    """Brightness, contrast and colour factors are drawn from 1 ± jitter."""


POLICIES: dict[str, Policy] = {
    # Chen et al. 2019 (Closer-Look): RandomResizedCrop at its default scale, jitter 0.4, horizontal flip.
    "closer-look": Policy(scale=(0.08, 1.0), flip=True, jitter=0.4),
    # A mirrored or half-cropped character is another character.
    "shape-safe": Policy(scale=(0.6, 1.0), flip=False, jitter=0.4),
}

_LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))


def normalise(x: Tensor) -> Tensor:
    """Return ``x`` [b, 3, h, w] in 0 … 1 with ImageNet's channel mean and deviation removed, as the literature does."""
    mean = x.new_tensor(IMAGENET_MEAN).view(3, 1, 1)
    std = x.new_tensor(IMAGENET_STD).view(3, 1, 1)
    # Channels last: the layout conv4 computes in, so that it need not copy, and knows the same images again.
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def to_float(pixels: np.ndarray) -> Tensor:
    """Return uint8 [b, h, w, 3] as float32 [b, 3, h, w] in 0 … 1."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float().div_(255)


def centre(pixels: np.ndarray, size: int) -> Tensor:
    """Return the test view: the centre ``size`` × ``size``, normalised float32 [b, 3, size, size]."""
    edge = (pixels.shape[1] - size) // 2
    return normalise(to_float(pixels[:, edge : edge + size, edge : edge + size]))


def augment(pixels: np.ndarray, size: int, kind: Kind, generator: torch.Generator) -> Tensor:
    """Return a training view, drawn anew for each image.

    Args:
        pixels: uint8 [b, side, side, 3].
        size: side of the result, pixels.
        kind: ``closer-look``, ``shape-safe``, or ``none`` for the test view.
        generator: where all draws come from.

    Returns:
        Normalised float32 [b, 3, size, size].
    """
    if kind == "none":
        return centre(pixels, size)
    policy = POLICIES[kind]
    x = _random_resized_crop(to_float(pixels), size, policy, generator)
    return normalise(_jitter(x, policy.jitter, generator))


def _uniform(b: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(b, generator=generator) * (high - low) + low


def _random_resized_crop(x: Tensor, size: int, policy: Policy, generator: torch.Generator) -> Tensor:
    """Crop a random share of the area at a random aspect ratio, scale it to ``size``; mirror if the policy allows."""
    from kornia.geometry.transform import crop_and_resize

    b, _, side, _ = x.shape
    area = _uniform(b, *policy.scale, generator) * side * side
    ratio = torch.exp(_uniform(b, *_LOG_RATIO, generator))
    w = torch.sqrt(area * ratio).clamp(max=side)
    h = torch.sqrt(area / ratio).clamp(max=side)
    left = torch.rand(b, generator=generator) * (side - w)
    top = torch.rand(b, generator=generator) * (side - h)
    right, bottom = left + w - 1, top + h - 1
    if policy.flip:
        mirrored = torch.rand(b, generator=generator) < 0.5
        left, right = torch.where(mirrored, right, left), torch.where(mirrored, left, right)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    boxes = torch.stack([torch.stack(corner, dim=-1) for corner in corners], dim=1)  # [b, 4, 2], (x, y)
    return crop_and_resize(x, boxes, (size, size), align_corners=True)


def _jitter(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, then contrast, then colour, with Pillow's meaning of each."""
    from kornia import enhance

    b = len(x)
    x = enhance.adjust_brightness_accumulative(x, _uniform(b, 1 - strength, 1 + strength, generator))
    x = enhance.adjust_contrast_with_mean_subtraction(x, _uniform(b, 1 - strength, 1 + strength, generator))
    return enhance.adjust_saturation_with_gray_subtraction(x, _uniform(b, 1 - strength, 1 + strength, generator))
