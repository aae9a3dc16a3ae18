"""A pack of made-up images and a run on it, for benchmarks that go through whole commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import rotogbml
from rotogbml.config import EncoderConfig, EpisodeConfig, LearnerConfig
from rotogbml.sources.writer import write_source

CLASSES = [f"class{c:02}" for c in range(20)]


def pack(root: Path, names: str, size: int, side: int, images: int) -> Path:
    """Write a source for each letter: 20 classes of so many images, a coarse pattern each in changing light."""
    for name in names:
        rng = np.random.default_rng([ord(name)])
        patterns = rng.integers(40, 216, (len(CLASSES), 6, 6, 3)).repeat(side // 6 + 1, 1).repeat(side // 6 + 1, 2)
        rows = (
            p[None, :side, :side] + rng.normal(0, 40, (images, side, side, 3)) + rng.normal(0, 60, (images, 1, 1, 3))
            for p in patterns
        )
        write_source(
            root / name,
            name=name,
            size=size,
            images=(block.clip(0, 255).astype(np.uint8) for block in rows),
            classes=CLASSES,
            offsets=np.arange(len(CLASSES) + 1) * images,
            splits={"all": CLASSES},
            split_rule="not split",
            inputs=[],
            made={},
        )
    return root


def run(out: Path, packed: Path, learner: str, norm: str, test_steps: int) -> str:
    """Train conv4-64 on source ``a`` for one step, 5-way 1-shot, and return the run's folder."""
    first_order = True if learner in ("maml", "anil") else None
    rotogbml.train(
        [str(packed)],
        str(out),
        holdout=["b"],
        steps=1,
        shift="weak",
        episodes=EpisodeConfig(n_query=1, tasks_per_batch=1, augment="none"),
        encoder=EncoderConfig(norm=norm),
        learner=LearnerConfig(learner, first_order=first_order, inner_steps=1, inner_lr=0.01, test_steps=test_steps),
        homogenizer=None,
        isi=None,
    )
    return str(out)
