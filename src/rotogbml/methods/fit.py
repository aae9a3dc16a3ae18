"""A new head for every test task, fitted to its support by the recipe of Closer-Look and BSCD-FSL.

SGD, momentum 0.9, **dampening 0.9**, weight decay 1e-3, minibatches of 4 in a new order in each of 100 passes; the
first step is not dampened, as in torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.methods.compared import Options
from rotogbml.seeds import torch_generator

MOMENTUM, DAMPENING, DECAY = 0.9, 0.9, 1e-3


@dataclass(frozen=True)
class Fit:
    """How a head is fitted.

    Attributes:
        epochs: passes over the support, ≥ 0.
        batch: images in a step, ≥ 1.
        lr: step size, > 0.
    """

    epochs: int
    batch: int
    lr: float

    @classmethod
    def of(cls, options: Options) -> Fit:
        """Return the fit that the options of a method ask for."""
        return cls(options["test_epochs"], options["test_batch"], options["test_lr"])

    def steps(self, images: int) -> int:
        """Return how many steps it takes on so many support images."""
        return self.epochs * math.ceil(images / self.batch)

    def minibatches(self, images: int, key: int) -> Iterator[Tensor]:
        """Yield the rows of each step, in an order that ``key`` names."""
        generator = torch_generator(key, "fit", "order")
        for _ in range(self.epochs):
            yield from torch.randperm(images, generator=generator).split(self.batch)


def new_head(n_way: int, m: int, key: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight [n_way, m] and bias [n_way], uniform in ±1/√m as torch draws them, from a stream of its own."""
    generator, bound = torch_generator(key, "fit", "head"), 1 / math.sqrt(m)
    draws = [torch.empty(shape).uniform_(-bound, bound, generator=generator) for shape in ((n_way, m), (n_way,))]
    return draws[0].to(like), draws[1].to(like)


@torch.no_grad()
def linear(support: Tensor, y: Tensor, n_way: int, fit: Fit, key: int) -> tuple[Tensor, Tensor]:
    """Return weight [n_way, m] and bias [n_way] of a linear head fitted to features [s, m].

    The gradient of mean cross-entropy is written out: (p − 1[y])ᵀ z / b.
    """
    weight, bias = new_head(n_way, support.shape[1], key, support)
    hot = F.one_hot(y, n_way).to(support)
    buffers: list[Tensor] = []
    for rows in fit.minibatches(len(y), key):
        z = support[rows]
        g = (torch.addmm(bias, z, weight.T).softmax(1) - hot[rows]) / len(rows)
        move([weight, bias], [g.T @ z, g.sum(0)], buffers, fit.lr)
    return weight, bias


def cosine(support: Tensor, y: Tensor, n_way: int, fit: Fit, key: int, scale: Tensor) -> Tensor:
    """Return weight [n_way, m] of a cosine head of that scale fitted to features [s, m]."""
    weight = new_head(n_way, support.shape[1], key, support)[0].requires_grad_()
    z, buffers = F.normalize(support.detach(), dim=1), list[Tensor]()
    for rows in fit.minibatches(len(y), key):
        with torch.enable_grad():
            loss = F.cross_entropy(scale.detach() * z[rows] @ F.normalize(weight, dim=1).T, y[rows])
        move([weight], torch.autograd.grad(loss, [weight]), buffers, fit.lr)
    return weight.detach()


@torch.no_grad()
def move(
    parameters: list[Tensor], gradients: list[Tensor] | tuple[Tensor, ...], buffers: list[Tensor], lr: float
) -> None:
    """Take one step in place; ``buffers`` is empty before the first and keeps the momentum."""
    decayed = [g + DECAY * p for p, g in zip(parameters, gradients, strict=True)]
    if not buffers:
        buffers.extend(decayed)
    else:
        for buffer, g in zip(buffers, decayed, strict=True):
            buffer.mul_(MOMENTUM).add_(g, alpha=1 - DAMPENING)
    for p, buffer in zip(parameters, buffers, strict=True):
        p.sub_(buffer, alpha=lr)
