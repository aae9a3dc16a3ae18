"""What every other room knows of an encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from rotogbml.encoders.norm import NormPass

Drop = Callable[[int, Tensor, Tensor], Tensor]
"""Called after each layer as ``drop(layer, x, z)`` with the layer's input and output; returns z, partly zeroed."""


class Encoder(Protocol):
    """f_θ: a ``torch.nn.Module`` that maps images [b, 3, size, size] to features [b, m].

    Attributes:
        feature_dim: m.
        layers: number of layers a ``drop`` is called for, in the order of the forward pass; 0: ISI cannot act.
        norm: the norm policy, as result rows name it.
    """

    feature_dim: int
    layers: int
    norm: str

    def forward(self, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
        """Return features [b, m]; ``drop`` is ISI in training, ``at`` what the norms of this pass are told."""
        ...

    # Of torch.nn.Module, which a protocol cannot name as its base:

    def __call__(self, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
        """``forward``."""
        ...

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move to a device or type, in place."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Every module inside, itself first."""
        ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """``modules`` by name."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """θ by name."""
        ...

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """What is neither learned nor adapted, such as running statistics."""
        ...
