"""Encoders whose features are their last map, flattened: what relation modules compare."""

from __future__ import annotations

import torch

from rotogbml.encoders import Conv4, Encoder, NormPass, ResNet, ResNet12
from rotogbml.errors import UsageError


def of_maps(encoder: Encoder, size: int) -> tuple[int, int]:
    """Make an encoder's features its last map; return the map's channels C and side h, so that m = C · h².

    Raises:
        UsageError: a module of the user's, whose maps are not known.
    """
    if not isinstance(encoder, Conv4 | ResNet | ResNet12):
        raise UsageError("a relation module compares maps, which only an encoder of `list_encoders()` has: take one")
    encoder.pooled = False
    with torch.no_grad():
        shape = encoder.through(torch.zeros(2, 3, size, size), None, NormPass()).shape
    encoder.feature_dim = shape[1] * shape[2] * shape[3]
    return shape[1], shape[2]
