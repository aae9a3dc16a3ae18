"""Sharpness-aware minimisation of the meta-objective, a rival that asks for flat minima.

Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization" (2021), eq. 2 and Algorithm 1:
with g the meta-gradient at ψ,

    ε̂ = ρ g / ‖g‖₂,   ψ ← Adam(ψ, g(ψ + ε̂)).

The second gradient is of the same tasks and doubles the cost of a step. Norms, losses and feature gradients, which ω
and γ move by, stay those of ψ.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def uphill(groups: Sequence[Mapping[str, Tensor]], gradient: Sequence[Tensor], radius: float) -> Generator[None]:
    """Stand at ψ + ε̂ within; ψ comes back to the bit.

    Args:
        groups: ψ, as the parameters of each group by name; moved in place.
        gradient: g, flat, for each group.
        radius: ρ > 0, length of ε̂.
    """
    norm = torch.stack([part.double().square().sum() for part in gradient]).sum().sqrt()
    scale = float(radius / norm) if norm > 0 else 0.0
    before = [{name: p.detach().clone() for name, p in group.items()} for group in groups]
    try:
        with torch.no_grad():
            for group, part in zip(groups, gradient, strict=True):
                for p, piece in zip(group.values(), part.split([p.numel() for p in group.values()]), strict=True):
                    p.add_(piece.view(p.shape), alpha=scale)
        yield
    finally:
        with torch.no_grad():
            for group, kept in zip(groups, before, strict=True):
                for name, p in group.items():
                    p.copy_(kept[name])
