"""A tiny float64 network and episodes small enough for finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from rotogbml.encoders import create_encoder
from rotogbml.episodes import Episode, Examples
from rotogbml.learners import Network, create_head

Make = Callable[..., Network]


@pytest.fixture
def make_network() -> Make:
    """Return a function that builds a network for 3-way tasks at 16 px, by head and norm policy."""

    def make(head: str = "linear", norm: str = "batch", sets: int = 1, width: int = 4) -> Network:
        encoder = create_encoder("conv4", size=16, width=width, norm=norm, sets=sets)
        net = Network(encoder, create_head(head, encoder.feature_dim, 3))
        net.initialise(0)
        cast(nn.Module, encoder).double()
        net.head.double()
        with torch.no_grad():  # scales and shifts of either sign, so that no symmetry hides a mistake
            g = torch.Generator().manual_seed(1)
            for name, p in encoder.named_parameters():
                if p.ndim < 4:
                    p.add_(0.5 * torch.randn(p.shape, generator=g, dtype=torch.float64))
                    assert name
        return net

    return make


@pytest.fixture
def network(make_network: Make) -> Network:
    return make_network()


@pytest.fixture
def episode() -> Episode:
    g = torch.Generator().manual_seed(2)

    def examples(n: int) -> Examples:
        return Examples(torch.randn(n, 3, 16, 16, generator=g, dtype=torch.float64), torch.arange(n) % 3)

    return Episode(examples(6), examples(9), "made", ("a", "b", "c"), (np.arange(6), np.arange(6, 15)))
