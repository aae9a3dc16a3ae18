"""How far one inner step goes: η constant, or learned beside ψ as α."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from rotogbml.learners.network import Params

Key = tuple[str, str]
"""A parameter's room, ``f`` or ``c``, and its name there."""


class Rates(Protocol):
    """The step size of every parameter in every inner step."""

    @property
    def alpha(self) -> Params:
        """α: what of it is learned, by name; empty where nothing is."""
        ...

    def __call__(self, key: Key, t: int) -> float | Tensor:
        """Return the rate of a parameter in step t: a number, or a tensor that broadcasts over it."""
        ...


@dataclass(frozen=True)
class Constant:
    """η_base."""

    lr: float
    alpha: Params = field(default_factory=dict)

    def __call__(self, key: Key, t: int) -> float:
        """Return η."""
        return self.lr


class PerParameter:
    """Meta-SGD (Li et al. 2017): a learned rate for every single number of ψ, the same in all steps.

    Args:
        like: the parameters that adapt.
        lr: where every rate starts.
    """

    def __init__(self, like: Mapping[Key, Tensor], lr: float) -> None:
        self.alpha = {".".join(key): torch.full_like(p, lr).requires_grad_() for key, p in like.items()}

    def __call__(self, key: Key, t: int) -> Tensor:
        """Return α of a parameter."""
        return self.alpha[".".join(key)]


class PerLayerPerStep:
    """MAML++ (Antoniou et al. 2019): one learned rate for each parameter tensor and inner step.

    Args:
        like: the parameters that adapt.
        lr: where every rate starts.
        steps: τ in training; later steps at test take the last rate.
    """

    def __init__(self, like: Mapping[Key, Tensor], lr: float, steps: int) -> None:
        self.steps = max(1, steps)
        self.alpha = {".".join(key): p.new_full((self.steps,), lr).detach().requires_grad_() for key, p in like.items()}

    def __call__(self, key: Key, t: int) -> Tensor:
        """Return α of a tensor in step t."""
        return self.alpha[".".join(key)][min(t, self.steps - 1)]
