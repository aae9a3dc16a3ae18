"""What RotoGBML's parts cost: one meta-training step with and without them, interleaved, as ratios.

    python -m benchmarks.step [--quick] [--rounds N] [--threads N]

The work is the literature's: conv4-64, 84 px, 5-way 1-shot, 15 queries a class, N = 4, 5 inner steps, second order,
m = 1600. Each round takes one step of every variant in turn, so that a machine whose speed drifts treats all alike;
a ratio is the median over rounds of (variant / plain) within a round. Episodes are made of noise in memory: drawing
and augmenting images is no part of the comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rotogbml.config import (
    HomogenizerConfig,
    IsiConfig,
    RotateConfig,
    RunConfig,
)
from rotogbml.encoders.isi import Isi
from rotogbml.episodes import Episode, Examples
from rotogbml.homogenizer import TaskStatistics, create_homogenizer
from rotogbml.memory import keep_freed_memory
from rotogbml.training.assemble import Parts, build_learner
from rotogbml.training.recorder import StepRecord
from rotogbml.training.resolve import resolve
from rotogbml.training.step import meta_step
from rotogbml.training.validation import Validation

SOURCES = ("a", "b", "c", "d")
RESULTS = Path(__file__).parent / "results"


def configuration(homogenizer: HomogenizerConfig | None, isi: IsiConfig | None, **changes: Any) -> RunConfig:
    """Return the resolved configuration of a variant, all else at its default but what is given."""
    return resolve(RunConfig(list(SOURCES), steps=1, homogenizer=homogenizer, isi=isi, **changes))


class Variant:
    """One way to take a step, with its own weights and state."""

    def __init__(self, config: RunConfig, size: int) -> None:
        learner = build_learner(config, size)
        homogenizer = create_homogenizer(
            config.homogenizer,
            sources=SOURCES,
            tasks_per_batch=config.episodes.tasks_per_batch,
            feature_dim=learner.network.feature_dim,
            n_way=5,
        )
        isi = None if config.isi is None else Isi(config.isi)
        none = Validation({}, 0)
        # The sampler is not asked: episodes are handed in.
        self.parts = Parts(config, {}, None, learner, homogenizer, isi, none, torch.device("cpu"))  # type: ignore[arg-type]
        self.psi = learner.network.psi()
        self.optimizer = torch.optim.Adam(self.psi.tensors(), lr=1e-3)
        self.seconds: list[float] = []

    def step(self, episodes: tuple[Episode, ...], i: int) -> StepRecord:
        """Take one step and keep its time."""
        began = time.perf_counter()
        record = meta_step(self.parts, self.psi, self.optimizer, episodes, i)
        self.seconds.append(time.perf_counter() - began)
        return record


def minibatch(size: int, seed: int) -> tuple[Episode, ...]:
    """Return four tasks of noise."""
    g = torch.Generator().manual_seed(seed)

    def examples(n: int) -> Examples:
        return Examples(torch.randn(n, 3, size, size, generator=g), torch.arange(n) % 5)

    return tuple(Episode(examples(5), examples(75), s, ("a",) * 5, (np.arange(5), np.arange(75))) for s in SOURCES)


def rotation_update(m: int, rounds: int) -> list[float]:
    """Return the seconds of an update of ω and γ of four tasks with m features."""
    homogenizer = create_homogenizer(
        configuration(HomogenizerConfig(), None).homogenizer, sources=SOURCES, tasks_per_batch=4, feature_dim=m, n_way=5
    )
    g = torch.Generator().manual_seed(0)
    seconds = []
    for _ in range(rounds):
        stats = TaskStatistics(
            SOURCES, torch.rand(4, generator=g), torch.rand(4, generator=g), torch.randn(4, m, generator=g)
        )
        began = time.perf_counter()
        homogenizer.weights(stats)
        homogenizer.update(stats)
        seconds.append(time.perf_counter() - began)
    return seconds


def main() -> None:
    """Run, print the table, write ``benchmarks/results/step.json``."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--quick", action="store_true", help="42 px instead of 84, 3 rounds")
    arguments.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    given = arguments.parse_args()
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    size, rounds = (42, 3) if given.quick else (84, given.rounds)

    rotate_queries = HomogenizerConfig(rotate=RotateConfig(rotate_support=False))
    variants = {
        "plain": Variant(configuration(None, None), size),
        "plain again": Variant(configuration(None, None), size),
        "ω": Variant(configuration(HomogenizerConfig(rotate=None), None), size),
        "ω + γ, queries rotated": Variant(configuration(rotate_queries, None), size),
        "ω + γ, support too (default)": Variant(configuration(HomogenizerConfig(), None), size),
        "ISI, 2 layers": Variant(configuration(None, IsiConfig()), size),
        "ω + γ + ISI": Variant(configuration(HomogenizerConfig(), IsiConfig()), size),
    }
    for i in range(rounds + 1):  # the first round warms up
        episodes = minibatch(size, i)
        for variant in variants.values():
            variant.step(episodes, i)
        print(f"round {i}/{rounds}", flush=True)
    m = variants["plain"].parts.learner.network.feature_dim
    update = rotation_update(m, 20)[3:]

    plain = variants["plain"].seconds[1:]
    table = {}
    for name, variant in variants.items():
        ratios = [a / b for a, b in zip(variant.seconds[1:], plain, strict=True)]
        table[name] = {
            "seconds": statistics.median(variant.seconds[1:]),
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
        }
    print(f"\nconv4-64, {size} px, 5-way 1-shot, 15 queries, N = 4, 5 steps, second order, {given.threads} threads")
    print(f"{'variant':<32}{'s/step':>8}{'ratio':>8}   range over {rounds} rounds")
    for name, row in table.items():
        print(f"{name:<32}{row['seconds']:8.3f}{row['ratio']:8.3f}   {row['low']:.3f} - {row['high']:.3f}")
    milliseconds = [1e3 * s for s in update]
    middle, worst = statistics.median(milliseconds), max(milliseconds)
    print(f"update of ω and γ, m = {m}, N = 4: median {middle:.1f} ms, max {worst:.1f} ms")

    RESULTS.mkdir(exist_ok=True)
    record = {
        "work": {"size": size, "m": m, "rounds": rounds, "threads": given.threads},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__},
        "table": table,
        "update_ms": {"median": middle, "max": worst},
    }
    name = "step-quick.json" if given.quick else "step.json"
    (RESULTS / name).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
