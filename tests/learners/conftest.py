"""A tiny float64 network and episodes small enough for finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rotogbml.encoders import create_encoder
from rotogbml.episodes import Episode, Examples
from rotogbml.learners import LinearHead, Network


@pytest.fixture
def network() -> Network:
    encoder = create_encoder("conv4", size=16, width=4)
    net = Network(encoder, LinearHead(encoder.feature_dim, 3))
    net.initialise(0)
    encoder.double()
    net.head.double()
    with torch.no_grad():  # scales and shifts of either sign, so that no symmetry hides a mistake
        g = torch.Generator().manual_seed(1)
        for name, p in encoder.named_parameters():
            if p.ndim == 1:
                p.add_(0.5 * torch.randn(p.shape, generator=g, dtype=torch.float64))
                assert name
    return net


@pytest.fixture
def episode() -> Episode:
    g = torch.Generator().manual_seed(2)

    def examples(n: int) -> Examples:
        return Examples(torch.randn(n, 3, 16, 16, generator=g, dtype=torch.float64), torch.arange(n) % 3)

    return Episode(examples(6), examples(9), "made", ("a", "b", "c"), (np.arange(6), np.arange(6, 15)))
