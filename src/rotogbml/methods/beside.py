"""An encoder and what a compared method learns beside it."""

from __future__ import annotations

from torch import Tensor, nn

from rotogbml.encoders import Encoder
from rotogbml.encoders.norm import Norm
from rotogbml.learners import Network


class Beside(Network):
    """A network whose head is any module; its norms keep statistics too."""

    def __init__(self, encoder: Encoder, head: nn.Module | None = None) -> None:
        super().__init__(encoder, nn.Module() if head is None else head)  # ty: ignore[invalid-argument-type]
        for name, module in self.head.named_modules():
            if isinstance(module, Norm):
                module.name = f"head.{name}"

    def statistics(self) -> dict[str, Tensor]:
        """Return the running statistics of both."""
        return {**super().statistics(), **{f"head.{name}": t for name, t in self.head.named_buffers()}}
