"""Noisy gradients of known means, kept as products."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rotogbml.agreement.products import Products
from rotogbml.homogenizer import gramian
from rotogbml.seeds import torch_generator

Draw = Callable[[Tensor, int, float, int], Tensor]
Keep = Callable[[Tensor, int], Products]


@pytest.fixture(scope="session")
def drawn() -> Draw:
    """Return a function that draws n noisy gradients of each of the means [S, P]: [S, n, P]."""

    def draw(means: Tensor, n: int, noise: float, seed: int) -> Tensor:
        generator = torch_generator(seed, "gradients")
        size = len(means), n, means.shape[1]
        return means[:, None] + noise * torch.randn(size, generator=generator, dtype=torch.float64)

    return draw


@pytest.fixture(scope="session")
def keep() -> Keep:
    """Return a function that keeps gradients [S, n, P] in so many blocks."""

    def products(gradients: Tensor, blocks: int) -> Products:
        s, n, p = gradients.shape
        each = gradients.view(s, blocks, n // blocks, p)
        gram = gramian(each.mean(2).flatten(0, 1)).view(s, blocks, s, blocks)
        return Products(gram, each.square().sum(3).mean(2), n // blocks)

    return products
