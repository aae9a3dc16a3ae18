"""What sampling, augmentation and copying cost a meta-training step: inline, and drawn a step ahead.

    python -m benchmarks.data [--quick] [--rounds N]

W1 and W3 (conv4-64, 84 and 42 px, 5-way 1-shot, 15 queries a class, N = 4, 5 inner steps, second order, plain learner).
A turn takes two steps on ready-made episodes, or draws each step's own before it (inline), or lets the next one's be
drawn beside it (``training/prefetch.py``). Ways take turns within a round, beginning with another one each time; a
ratio is the median over rounds of (way / ready) within a round, of the clock's time and of the processor's.
With as many threads as cores nothing is idle, and drawing ahead can only push aside what it is to help: that is why
``rotogbml train`` then draws inline. With one thread fewer it uses the core that is left.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import made
from benchmarks.step import Variant, configuration
from rotogbml.children import cores
from rotogbml.episodes import Episode, EpisodeSampler
from rotogbml.memory import keep_freed_memory
from rotogbml.sources.packed import open_pack
from rotogbml.training.prefetch import Prefetch
from rotogbml.training.step import meta_step

RESULTS = Path(__file__).parent / "results"
KINDS = ("closer-look", "shape-safe", "none")
STEPS = 2
"""Steps in a turn."""

Times = tuple[float, float]
"""Seconds and processor seconds."""


def clocked(work: Callable[[], None]) -> Times:
    """Return what a step of it takes."""
    began, processor = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - began) / STEPS, (time.process_time() - processor) / STEPS


def turn(variant: Variant, sampler: EpisodeSampler, way: str, ready: tuple[Episode, ...], at: int) -> Times:
    """Take two steps, drawing as the way does."""

    def step(episodes: tuple[Episode, ...]) -> None:
        meta_step(variant.parts, variant.psi, variant.optimizer, episodes, at)

    def alone() -> None:
        for _ in range(STEPS):
            step(ready)

    def inline() -> None:
        for i in range(STEPS):
            step(sampler.batch(at + i))

    if way != "ahead":
        return clocked(alone if way == "ready" else inline)
    with Prefetch(sampler.batch, stop=at + STEPS + 1) as draw:
        first = [draw(at)]  # while each step trains the next one's are drawn, and waited for

        def ahead() -> None:
            for i in range(STEPS):
                step(first.pop())
                first.append(draw(at + i + 1))

        return clocked(ahead)


def measure(size: int, threads: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return a row for each way and kind of augmentation."""
    torch.set_num_threads(threads)
    variant = Variant(configuration(None, None), size)
    spent: dict[str, list[Times]] = {}
    with tempfile.TemporaryDirectory() as folder:
        sources = open_pack(made.pack(Path(folder) / "pack", "abcd", size, round(1.15 * size), 40)).values()
        samplers = {kind: EpisodeSampler(sources, 5, 1, 15, 4, split="all", augment=kind) for kind in KINDS}
        ready = samplers["none"].batch(0)
        ways = [("ready", "none"), ("ready again", "none"), *((w, k) for k in KINDS for w in ("inline", "ahead"))]
        for i in range(rounds + 1):  # the first round warms up
            for way, kind in ways[i % len(ways) :] + ways[: i % len(ways)]:
                name = way if way.startswith("ready") else f"{kind}, {way}"
                spent.setdefault(name, []).append(turn(variant, samplers[kind], way.split()[0], ready, 10 * i))
            print(f"{size} px, {threads} threads: round {i}/{rounds}", flush=True)
    base = spent["ready"][1:]
    rows = {}
    for name, times in spent.items():
        wall, cpu = ([a[c] / b[c] for a, b in zip(times[1:], base, strict=True)] for c in (0, 1))
        rows[name] = {
            "seconds": statistics.median(t[0] for t in times[1:]),
            "ratio": statistics.median(wall),
            "low": min(wall),
            "high": max(wall),
            "processor": statistics.median(cpu),
        }
    return rows


def alone(size: int, threads: int) -> dict[str, float]:
    """Return the milliseconds of one minibatch by itself."""
    torch.set_num_threads(threads)
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        sources = open_pack(made.pack(Path(folder) / "pack", "abcd", size, round(1.15 * size), 40)).values()
        for kind in KINDS:
            sampler = EpisodeSampler(sources, 5, 1, 15, 4, split="all", augment=kind)
            times = []
            for i in range(12):
                began = time.perf_counter()
                sampler.batch(i)
                times.append(1e3 * (time.perf_counter() - began))
            out[kind] = statistics.median(times[2:])
    return out


def main() -> None:
    """Run, print the tables, write ``benchmarks/results/data.json``."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--quick", action="store_true", help="42 px only, 3 rounds")
    arguments.add_argument("--all", action="store_true", help="with one thread fewer than cores, too")
    given = arguments.parse_args()
    keep_freed_memory()
    sizes, rounds = ((42,), 3) if given.quick else ((84, 42), given.rounds)
    record: dict[str, object] = {"rounds": rounds, "cores": cores(), "torch": torch.__version__}
    for size in sizes:
        for threads in sorted({cores(), max(1, cores() - given.all)}, reverse=True):
            minibatch, rows = alone(size, threads), measure(size, threads, rounds)
            record[f"{size} px, {threads} threads"] = {"minibatch_ms": minibatch, "table": rows}
            print(f"\n{size} px, {threads} threads of {cores()} cores; to a step on ready-made episodes")
            print(f"{'':<24}{'s/step':>8}{'ratio':>8}{'':14}{'processor':>10}{'alone ms':>10}")
            for name, row in rows.items():
                span = f"  {row['low']:.3f} - {row['high']:.3f}"
                alone_ms = f"{minibatch[name.split(',')[0]]:10.1f}" if name.endswith("inline") else ""
                print(f"{name:<24}{row['seconds']:8.3f}{row['ratio']:8.3f}{span}{row['processor']:10.3f}{alone_ms}")
            RESULTS.mkdir(exist_ok=True)
            name = "data-quick.json" if given.quick else "data.json"
            (RESULTS / name).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
