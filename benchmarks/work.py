"""The steps that are timed: what is learned how, on which sizes, as the literature has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from rotogbml.episodes import Episode, Examples

N_WAY = 5


@dataclass(frozen=True)
class Work:
    """One meta-training step.

    Attributes:
        encoder: ``conv4`` or ``resnet10-small``.
        width: filters of its first layer.
        size: side of the images, pixels.
        k_shot: support images a class.
        n_query: query images a class.
        tasks: N.
        steps: τ.
        learner: ``maml``, ``anil`` or ``imaml``.
        first_order: no derivative of the adaptation itself.
    """

    encoder: Literal["conv4", "resnet10-small"] = "conv4"
    width: int = 64
    size: int = 84
    k_shot: int = 1
    n_query: int = 15
    tasks: int = 4
    steps: int = 5
    learner: Literal["maml", "anil", "imaml"] = "maml"
    first_order: bool = False

    def said(self) -> str:
        """Return the work in words."""
        order = "" if self.learner == "imaml" else ", first order" if self.first_order else ", second order"
        spelt = {"maml": "MAML", "anil": "ANIL", "imaml": "iMAML (5 steps of CG)"}[self.learner]
        return (
            f"{spelt}, {self.encoder}-{self.width}, {self.size} px, {N_WAY}-way {self.k_shot}-shot, "
            f"{self.n_query} queries a class, N = {self.tasks}, {self.steps} inner step{'s' * (self.steps > 1)}{order}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


W1 = Work()
WORKS: dict[str, Work] = {
    "W1": W1,
    "W2": replace(W1, k_shot=5),
    "W3": replace(W1, size=42),
    "W4, 5 steps": replace(W1, encoder="resnet10-small"),
    "W4, 1 step": replace(W1, encoder="resnet10-small", steps=1),
    "W1, first order": replace(W1, first_order=True),
    "W1, ANIL": replace(W1, learner="anil"),
    "W1, iMAML": replace(W1, learner="imaml"),
}

INNER_LR, META_LR = 0.01, 1e-3
LAM, CG_STEPS, CG_DAMPING = 2.0, 5, 11.0
"""iMAML's λ, products of conjugate gradient, and δ: the defaults of ``rotogbml train``."""


def minibatch(
    work: Work, i: int, tasks: Iterable[int] | None = None, dtype: torch.dtype = torch.float32
) -> list[Episode]:
    """Return the tasks of step i, or some of them, of noise: drawing images is no part of the comparison."""
    made = []
    for task in range(work.tasks) if tasks is None else tasks:
        g = torch.Generator().manual_seed(1000 * i + task)
        s, q = N_WAY * work.k_shot, N_WAY * work.n_query
        support, query = (
            Examples(torch.randn(n, 3, work.size, work.size, generator=g).to(dtype), torch.arange(n) % N_WAY)
            for n in (s, q)
        )
        classes = tuple(f"class {c}" for c in range(N_WAY))
        made.append(Episode(support, query, "abcd"[task % 4], classes, (np.arange(s), np.arange(s, s + q))))
    return made
