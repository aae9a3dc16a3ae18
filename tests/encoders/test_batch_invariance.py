"""Queries one at a time equal queries together, under every policy but ``batch``, on every encoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rotogbml.encoders import NORMS, Encoder, NormPass, Seen, create_encoder, list_encoders, update_running
from rotogbml.learners import LinearHead, Network

SUPPORT, QUERIES, SIZE = 4, 3, 20


def images(n: int, seed: int) -> Tensor:
    return torch.randn(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(name: str, norm: str, dtype: torch.dtype) -> Encoder:
    encoder = create_encoder(name, size=SIZE, width=8, norm=norm, sets=2)
    Network(encoder, LinearHead(encoder.feature_dim, 3)).initialise(0)
    encoder.to(dtype)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, p in encoder.named_parameters():
            if p.ndim < 4:
                p.add_(0.2 * torch.randn(p.shape, generator=g, dtype=dtype))
        # Statistics that are neither 0 nor 1, set for set.
        for step in range(2):
            seen: Seen = {}
            encoder(images(5, seed=step + 5).to(dtype), None, NormPass(step=step, seen=seen))
            update_running(encoder, [seen], momentum=0.5)
    return encoder


@torch.no_grad()
def spread(encoder: Encoder, dtype: torch.dtype, step: int) -> tuple[float, float]:
    """Return the largest difference between queries alone and together, and the largest feature."""
    support, queries = images(SUPPORT, 1).to(dtype), images(QUERIES, 2).to(dtype)

    def features(x: Tensor) -> Tensor:
        if encoder.norm in ("support", "per-step"):
            return encoder(torch.cat([support, x]), None, NormPass(step, given=SUPPORT))[SUPPORT:]
        return encoder(x, None, NormPass(step))

    together = features(queries)
    alone = torch.cat([features(queries[i : i + 1]) for i in range(QUERIES)])
    return float((together - alone).abs().max()), float(together.abs().max())


@pytest.mark.parametrize("name", list_encoders())
@pytest.mark.parametrize("norm", [n for n in NORMS if n != "batch"])
def test_queries_alone_equal_queries_together(name: str, norm: str) -> None:
    # In float64 to the bit or nearly; in float32 the convolutions round otherwise for another number of images.
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        encoder = make(name, norm, dtype)
        for step in range(2):
            difference, largest = spread(encoder, dtype, step)
            assert largest > 0
            assert difference <= tolerance * max(1.0, largest)


@pytest.mark.parametrize("name", list_encoders())
def test_under_batch_they_do_not(name: str) -> None:
    """The policy that depends on the fellow queries is told apart by the same measure."""
    encoder = make(name, "batch", torch.float64)
    queries = images(QUERIES, 2)
    with torch.no_grad():
        assert float((encoder(queries)[:2] - encoder(queries[:2])).abs().max()) > 1e-3


def test_a_module_of_the_users_in_eval_mode_is_invariant_too() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )
    encoder = create_encoder(module.double(), size=SIZE)
    difference, largest = spread(encoder, torch.float64, 0)
    assert largest > 0
    assert difference <= 1e-10
