"""What every way to take the meta-gradient shares: a task adapted and waiting, and what comes of it.

A way to take it answers ``prepare``: adapt on the support, compute the query features, and say at which tensors the
outer loss is to be differentiated and how those gradients are pulled back to ψ and α:

    unrolled       at ψ itself, through the adaptation        MAML, ANIL, BOIL, Meta-SGD, MAML++, ProtoMAML
    checkpointed   the same, one inner step at a time          memory does not grow with τ
    implicit       at ψ*, pulled back by (I + H/λ)⁻¹           iMAML
    displacement   at ψ^{τ−1}, one last step, (ψ − ψ^τ)/(τη)   Reptile
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from rotogbml.encoders.norm import Seen
from rotogbml.learners.network import Params, Psi
from rotogbml.learners.problem import Problem


@dataclass(frozen=True)
class Point:
    """An adapted state at which the outer loss is taken."""

    z: Tensor
    """[q, m] query features f_{θ_i}(x^q), unrotated."""
    phi: Params
    """φ_i."""
    weight: float = 1.0
    """Its share of the outer loss; the shares of a task sum to 1."""


@dataclass(frozen=True)
class Gradients:
    """A task's meta-gradient, tensor by tensor."""

    theta: list[Tensor]
    phi: list[Tensor]
    alpha: list[Tensor]
    notes: dict[str, float] = field(default_factory=dict)
    """What the way it was taken has to say, such as the residual of a solver."""


@dataclass(frozen=True)
class Prepared:
    """A task adapted to its support, waiting for its query loss."""

    points: tuple[Point, ...]
    """One, or several under a multi-step loss; the last one is ψ^τ."""
    y: Tensor
    """[q] query labels."""
    at: tuple[Tensor, ...]
    """Tensors at which the outer loss is differentiated."""
    pull_back: Callable[[Sequence[Tensor]], Gradients]
    """From the gradients at ``at`` to those at ψ and α."""
    seen: Seen = field(default_factory=dict)
    """Batch statistics of its passes, for norm policies that keep some."""
    turned: bool = False
    """Whether γ is in φ already (see ``Problem.turn_head``)."""

    @property
    def z(self) -> Tensor:
        """Query features of ψ^τ, [q, m]."""
        return self.points[-1].z

    @property
    def phi(self) -> Params:
        """φ^τ."""
        return self.points[-1].phi


class MetaGradient(Protocol):
    """A way to take the meta-gradient."""

    def at(self, progress: float) -> MetaGradient:
        """Return the way as it is when that share of training, 0 … 1, is done."""
        ...

    def adapts_on(self, problem: Problem) -> Problem:
        """Return the problem with all the images that training adapts on as its support."""
        ...

    def prepare(self, problem: Problem, psi: Psi, steps: int) -> Prepared:
        """Adapt to the support by ``steps`` inner steps and compute the query features."""
        ...


def split(psi: Psi, gradients: Sequence[Tensor], notes: dict[str, float] | None = None) -> Gradients:
    """Return gradients at θ's, φ's and α's tensors, in that order, as groups."""
    a, b = len(psi.theta), len(psi.theta) + len(psi.phi)
    return Gradients(list(gradients[:a]), list(gradients[a:b]), list(gradients[b:]), notes or {})


def leaves(psi: Psi) -> Psi:
    """Return the same numbers cut off from everything, ready to be differentiated at."""
    return Psi(*({name: p.detach().requires_grad_() for name, p in group.items()} for group in psi))


def to_psi(start: Psi, psi: Psi, gradients: Sequence[Tensor]) -> list[Tensor]:
    """Pull gradients at ψ_i⁰ = (θ, φ_i⁰) back to ψ: where a head's start is computed, θ and φ share in it."""
    if start is psi:
        return list(gradients)
    pairs = [
        (s, g) for s, g in zip(start.tensors(), gradients, strict=True) if s.grad_fn is not None or s.requires_grad
    ]
    at, given = [s for s, _ in pairs], [g for _, g in pairs]
    return list(torch.autograd.grad(at, psi.tensors(), given, materialize_grads=True))
