"""Runs of a few milliseconds a step, from a configuration to its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rotogbml.config import (
    EncoderConfig,
    EpisodeConfig,
    LearnerConfig,
    OuterConfig,
    RunConfig,
)
from rotogbml.training.assemble import Parts, assemble
from rotogbml.training.run import RunFolder
from rotogbml.training.trainer import Trainer
from rotogbml.training.verb import resolve


@pytest.fixture
def configure(pack: Path) -> Callable[..., RunConfig]:
    """Return a function that makes a resolved configuration; what it is given replaces the tiny defaults.

    Under the strong shift the three tasks of a minibatch are of three sources: each slot acts at every step.
    """

    def make(**changes: Any) -> RunConfig:
        mix = None if changes.get("shift") == "weak" else "one-source-per-task"
        config = RunConfig(
            [str(pack)],
            holdout=["hidden"],
            steps=4,
            episodes=EpisodeConfig(n_way=2, n_query=3, tasks_per_batch=3, mix=mix),
            encoder=EncoderConfig(width=4),
            learner=LearnerConfig(inner_lr=0.2, inner_steps=2),
            outer=OuterConfig(log_every=2, validate_every=4, validation_episodes=6),
        )
        return resolve(replace(config, **changes))

    return make


@pytest.fixture
def build(configure: Callable[..., RunConfig]) -> Callable[..., Parts]:
    """Return a function that assembles such a configuration on the CPU."""

    def make(**changes: Any) -> Parts:
        return assemble(configure(**changes), torch.device("cpu"))

    return make


@pytest.fixture(scope="session")
def trained() -> Callable[[Parts, Path], Trainer]:
    """Return a function that trains in a folder to the end."""

    def train(parts: Parts, folder: Path) -> Trainer:
        trainer = Trainer(parts, RunFolder(folder))
        trainer.fit()
        return trainer

    return train
