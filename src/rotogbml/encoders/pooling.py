"""Norm, 2×2 max-pool and ReLU of a convolution's output, as one function where there is one for the norm's policy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders import fused, grouped
from rotogbml.encoders.norm import Norm, NormPass


def pooled(norm: Norm, y: Tensor, at: NormPass | None) -> Tensor:
    """[b, c, h, w] → [b, c, h // 2, w // 2]; arguments and errors as those of ``Norm.forward``.

    ReLU and max-pool commute; pooling first leaves a quarter of the work to ReLU.
    """
    if norm.of_images and fused.fits(y, norm.weight):
        return fused.norm_pool_relu(y, *norm.scale_and_shift(at), norm.given(len(y), at))
    if norm.of_groups and grouped.fits(y, norm.weight):
        return grouped.group_pool_relu(y, norm.weight, norm.bias, norm.groups)
    return F.relu(F.max_pool2d(Norm.forward(norm, y, at), 2))
