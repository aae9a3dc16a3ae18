"""Methods on made-up episodes, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rotogbml
from rotogbml.cli import main
from rotogbml.config import (
    EncoderConfig,
    EpisodeConfig,
    MethodConfig,
    RunConfig,
)
from rotogbml.episodes import Episode, Examples
from rotogbml.method_presets import NEEDS_START
from rotogbml.methods import create_method
from rotogbml.training.resolve import resolve

N_WAY = 3
SCRIPTS = ("arrows", "greek", "lao")


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


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pack of three writing systems, 16 px, 8 images a character."""
    out = tmp_path_factory.mktemp("characters") / "pack"
    return rotogbml.glyphs(out, size=16, images_per_class=8, scripts=SCRIPTS, workers=1)


@pytest.fixture(scope="module")
def options(characters: Path) -> list[str]:
    return [
        *("--sources", str(characters), "--holdout", "lao", "--threads", "1", "--encoder.width", "4"),
        *("--episodes.n_way", "3", "--episodes.n_query", "3", "--episodes.tasks_per_batch", "2"),
        *("--episodes.augment", "shape-safe", "--outer.validation_episodes", "4", "--outer.log_every", "1"),
    ]


def few(name: str) -> list[str]:
    """Return what makes a method's own loops short."""
    fitted = ("baseline", "baseline++", "finetune", "linear-probe", "random-finetuned", "random-frozen")
    return [
        *(["--method.test_epochs", "2"] if name in fitted else []),
        *(["--method.inner_steps", "3"] if name == "mtl" else []),
        *(["--method.solver", "svm"] if name == "metaoptnet" else []),
    ]


@pytest.fixture(scope="module")
def first(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of skd-gen0, which others begin with."""
    out = tmp_path_factory.mktemp("first") / "gen0"
    assert main(["train", *options, "--method", "skd-gen0", "--steps", "2", "--out", str(out)]) == 0
    return out


@pytest.fixture
def train(options: list[str], first: Path, tmp_path: Path) -> Callable[..., Path]:
    def call(name: str, *more: str, steps: int = 2, out: str = "") -> Path:
        folder = tmp_path / (out or name)
        start = ["--method.start", str(first)] if name in NEEDS_START else []
        command = ["train", *options, "--method", name, *few(name), *start, "--steps", str(steps), *more]
        assert main([*command, "--out", str(folder)]) == 0
        return folder

    return call
