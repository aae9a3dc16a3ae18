"""What encoders that are a row of layers share: how they are finished, and how a pass goes through them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rotogbml.encoders.norm import NormPass, name_norms
from rotogbml.encoders.protocol import Drop


class Layered(nn.Module):
    """Layers one after the other; ISI sees each one's input and output.

    Attributes:
        feature_dim: m.
        layers: number of layers a ``drop`` is called for.
        norm: the norm policy.
        pooled: whether features are the mean over the last map, where an encoder ends so; else the map, flattened.
    """

    feature_dim: int
    layers: int
    norm: str
    pooled = True

    def finish(self) -> None:
        """End a constructor: norms learn their names, and all is laid out channels last.

        Batch norm and max-pool of the CPU build are vectorised in this layout alone (docs/log.md).
        """
        name_norms(self)
        self.to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]

    def parts(self) -> Iterable[nn.Module]:
        """Return the layers in their order."""
        raise TypeError(f"{type(self).__name__} names no layers")

    def through(self, x: Tensor, drop: Drop | None, at: NormPass | None) -> Tensor:
        """Return the last layer's map [b, c, h, w] of images [b, 3, size, size].

        ``drop`` sees every layer's input and output; ``at`` is what the norms of this pass are told.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        for layer, part in enumerate(self.parts()):
            z = part(x, at)
            x = z if drop is None else drop(layer, x, z)
        return x
