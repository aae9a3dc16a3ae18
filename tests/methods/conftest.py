"""Methods on made-up episodes, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rotogbml.config import (
    EncoderConfig,
    EpisodeConfig,
    MethodConfig,
    RunConfig,
)
from rotogbml.episodes import Episode, Examples
from rotogbml.methods import create_method
from rotogbml.training.resolve import resolve

N_WAY = 3


@pytest.fixture
def configure() -> Callable[..., RunConfig]:
    """Return a function that makes the resolved configuration of a method."""

    def make(name: str, **changes: Any) -> RunConfig:
        method = MethodConfig(name, **changes.pop("method", {}))
        config = RunConfig(
            ["nowhere"],
            steps=2,
            episodes=EpisodeConfig(n_way=N_WAY, n_query=3, tasks_per_batch=2),
            encoder=EncoderConfig(width=4, norm="support"),
            method=method,
        )
        return resolve(replace(config, **changes))

    return make


@pytest.fixture
def create(configure: Callable[..., RunConfig]) -> Callable[..., Any]:
    """Return a function that makes a method in float64, for images of 20 px and two sources of 3 and 4 classes."""

    def make(name: str, size: int = 20, **changes: Any) -> Any:
        made = create_method(configure(name, **changes), size, {"a": 3, "b": 4})
        made.network.encoder.to(torch.float64)
        made.network.head.double()
        for p in made.alpha.values():
            p.data = p.data.double()
        if hasattr(made, "strength"):
            made.strength = {key: t.double() for key, t in made.strength.items()}
        return made

    return make


@pytest.fixture
def episode() -> Callable[..., Episode]:
    """Return a function that makes an episode of noise whose classes differ in brightness."""

    def make(k_shot: int = 2, n_query: int = 2, seed: int = 0, size: int = 20, source: str = "a") -> Episode:
        generator = torch.Generator().manual_seed(seed)

        def side(each: int) -> Examples:
            y = torch.arange(N_WAY).repeat_interleave(each)[torch.randperm(N_WAY * each, generator=generator)]
            x = torch.randn(len(y), 3, size, size, generator=generator, dtype=torch.float64)
            return Examples(x + y[:, None, None, None], y)

        rows = np.arange(N_WAY * (k_shot + n_query)) + 100 * seed
        return Episode(
            side(k_shot), side(n_query), source, ("x", "y", "z"), (rows[: N_WAY * k_shot], rows[N_WAY * k_shot :])
        )

    return make
