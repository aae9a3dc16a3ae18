"""What one training step measured of its N tasks: all that ω and γ ever see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TaskStatistics:
    """Losses, gradient norms and feature gradients of the N tasks of one minibatch.

    They come out of the one backward pass that each task has anyway. Everything is detached; on construction
    numbers become float64 on the CPU, so that ω and γ are the same whatever precision the network trains in.
    """

    sources: tuple[str, ...]
    """Source of each task, length N."""
    losses: Tensor
    """L_i: query loss, [N]."""
    norms: Tensor
    """G_i = ‖∇_θ L_i‖₂ over the encoder's parameters, of the *unweighted* loss, [N]."""
    feature_gradients: Tensor
    """u_i: mean over queries of ∇_ẑ L_i in the rotated space, [N, m], or of each class (``compare.py``), [N, n_way, m].
    Only its direction is used."""
    gram: Tensor | None = None
    """⟨∇_θ L_i, ∇_θ L_j⟩, [N, N]; None where the homogenizer does not ask for it."""
    step: int = 0
    """The iteration: names the random streams of rivals that draw."""

    def __post_init__(self) -> None:
        """Bring every number to float64 on the CPU.

        Raises:
            ValueError: the four parts do not describe the same number of tasks.
        """
        for name in ("losses", "norms", "feature_gradients"):
            value = torch.as_tensor(getattr(self, name)).detach().to("cpu", torch.float64)
            object.__setattr__(self, name, value)
        if self.gram is not None:
            object.__setattr__(self, "gram", self.gram.detach().to("cpu", torch.float64))
        n = len(self.sources)
        if self.losses.shape != (n,) or self.norms.shape != (n,) or self.feature_gradients.shape[:1] != (n,):
            raise ValueError(
                f"statistics of {n} sources, losses {list(self.losses.shape)}, norms {list(self.norms.shape)}, "
                f"feature gradients {list(self.feature_gradients.shape)}: the first axis must be the task"
            )

    def __len__(self) -> int:
        """Return N."""
        return len(self.sources)
