"""What several processes gain, and what they say to each other: ``python -m benchmarks.processes [--quick]``.

Time: one training step of conv4-64, 5-way 1-shot, 15 queries a class, N = 4, 5 inner steps, second order, by one
process with all cores as threads and by one process a core with one thread each. The processes stand all the time;
each round takes a step of every variant in turn while the others wait, so that a machine whose speed drifts treats all
alike.

Cost: messages and bytes that a process sends in a step, counted by running the very step on a wire that counts
(``wires.Counting``) instead of a network, up to 1,024 processes. No time is taken there: seconds are bytes over a
line's speed. ``--count`` does this part alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.step import SOURCES, Variant, configuration, minibatch
from benchmarks.wires import Counting
from rotogbml.children import cores, environment, python
from rotogbml.config import EncoderConfig, HomogenizerConfig, IsiConfig
from rotogbml.episodes import Elsewhere, Episode
from rotogbml.learners import Learner, Outcome
from rotogbml.memory import keep_freed_memory
from rotogbml.training.crew import Crew
from rotogbml.training.place import Place, beside, find, met, on_this_machine
from rotogbml.training.ranks import Ranks
from rotogbml.training.recorder import Recorder
from rotogbml.training.step import meta_step

RESULTS = Path(__file__).parent / "results"
WHOLE = {"plain": (None, None), "ω + γ + ISI": (HomogenizerConfig(), IsiConfig())}


@dataclass(frozen=True)
class Work:
    """What a variant computes, with how many threads a process."""

    size: int
    threads: int
    method: str


def play(work: Work, place: Place) -> None:
    """Take a step for each line on the first process's standard input, and print its seconds and its memory."""
    keep_freed_memory()
    torch.set_num_threads(work.threads)
    with met(place, "cpu") as (ranks, _):
        torch.set_num_threads(work.threads)
        variant = Variant(configuration(*WHOLE[work.method]), work.size)
        variant.parts = replace(variant.parts, ranks=ranks)
        i = 0
        while ranks.agree(sys.stdin.readline):
            variant.step(minibatch(work.size, i), i)
            if ranks.first:
                print(json.dumps([variant.seconds[-1], _peak()]), flush=True)
            i += 1


def _peak() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def begin(devices: int, work: Work) -> subprocess.Popen[str]:
    """Start a variant: a program of its own, which starts the other processes."""
    code = f"from benchmarks.processes import lead, Work; lead({devices}, {work!r})"
    pipe = subprocess.PIPE
    return subprocess.Popen(python("-c", code), stdin=pipe, stdout=pipe, text=True, env=environment())


def lead(devices: int, work: Work) -> None:
    """Be the first process of a variant."""
    place = find(devices, 1, 4, "cpu")
    with on_this_machine(place), Crew("benchmarks.processes:play", work, beside(place), place.world):
        play(work, place)


def times(size: int, method: str, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each variant: seconds of a step, ratios within rounds, peak memory of a process."""
    n = min(cores(), 4)
    ways = {"1 process": (1, n), f"{n} processes": (n, 1), "1 process again": (1, n), "1 process, 1 thread": (1, 1)}
    programs = {name: begin(devices, Work(size, threads, method)) for name, (devices, threads) in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    memory: dict[str, float] = {}
    try:
        for _ in range(rounds + 1):  # the first round warms up
            for name, program in programs.items():
                assert program.stdin is not None
                assert program.stdout is not None
                print("go", file=program.stdin, flush=True)
                took, memory[name] = json.loads(program.stdout.readline())
                seconds[name].append(took)
    finally:
        for program in programs.values():
            program.communicate()
    rows = []
    for name, (devices, threads) in ways.items():
        ratios = sorted(a / b for a, b in zip(seconds["1 process"][1:], seconds[name][1:], strict=True))
        rows.append(
            {
                "size": size,
                "method": method,
                "variant": name,
                "processes": devices,
                "threads": threads,
                "seconds": statistics.median(seconds[name][1:]),
                "times_as_fast": statistics.median(ratios),
                "low": ratios[0],
                "high": ratios[-1],
                "peak_MB_of_a_process": round(memory[name]),
            }
        )
    return rows


class Idle:
    """A learner that does no work: gradients of the right sizes come from nowhere. Only what is said of them counts."""

    def __init__(self, learner: Learner) -> None:
        self.network, self.alpha = learner.network, learner.alpha

    def prepare(self, *_: Any) -> None:
        """Do nothing."""

    def meta_gradient(self, psi: Any, *_: Any) -> Outcome:
        """Return an outcome of ones."""
        theta, phi = ([torch.ones_like(p.detach()) for p in group.values()] for group in (psi.theta, psi.phi))
        feature = torch.ones(self.network.feature_dim)
        return Outcome(torch.tensor(1.0), 0.5, theta, phi, [], feature, {}, {})


def cost(encoder: EncoderConfig, size: int, n: int, world: int) -> dict[str, Any]:
    """Return what process 0 sends in a step of n tasks: messages, and bytes by exchange."""
    config = configuration(HomogenizerConfig(), None)
    config = replace(config, encoder=replace(config.encoder, name=encoder.name, width=encoder.width))
    variant = Variant(config, size)
    wire = Counting(world)
    ranks = Ranks(wire)
    learner: Any = Idle(variant.parts.learner)
    parts = replace(variant.parts, learner=learner, ranks=ranks)
    one = minibatch(8, 0)[0]
    mine = ranks.share(n)
    episodes: list[Episode | Elsewhere] = [
        replace(one, source=SOURCES[i % 4]) if i in mine else Elsewhere(SOURCES[i % 4]) for i in range(n)
    ]
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), ranks)
        for step in range(2):  # in the first one the room for messages is found
            wire.count.messages.clear()
            wire.count.bytes.clear()
            gathered = wire.count.bytes
            record = meta_step(parts, variant.psi, variant.optimizer, episodes, step)
            told_and_joined = gathered.get("all_gather", 0)
            recorder.add(record)
            ranks.each([0.0, 0.0, 0.0])
    psi = sum(p.numel() for p in variant.psi.tensors())
    return {
        "encoder": encoder.name,
        "psi": psi,
        "m": learner.network.feature_dim,
        "N": n,
        "W": world,
        "messages": sum(wire.count.messages.values()),
        "bytes": sum(wire.count.bytes.values()),
        "columns": wire.count.bytes["all_to_all"],
        "told_and_joined": told_and_joined,
        "cosines": wire.count.bytes["all_reduce"],
        "clock": wire.count.bytes["all_gather"] - told_and_joined,
        "all_reduce_of_psi": 8 * (world - 1) * psi // world,
    }


def costs() -> list[dict[str, Any]]:
    """Return the rows of the cost table."""
    conv, resnet = EncoderConfig("conv4", 64), EncoderConfig("resnet18", 64)
    asked = [
        (conv, n, world) for n in (4, 16, 64, 256, 1024) for world in (2, 4, 16, 64, 256, 1024) if n // 16 <= world <= n
    ]
    asked += [(resnet, n, world) for n, world in ((4, 2), (4, 4), (16, 16), (64, 64))]
    return [cost(encoder, 84, n, world) for encoder, n, world in asked]


def main() -> None:
    """Run, print the tables, write ``benchmarks/results/processes.json``."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--quick", action="store_true", help="42 px alone, 3 rounds")
    arguments.add_argument("--count", action="store_true", help="messages and bytes alone")
    given = arguments.parse_args()
    RESULTS.mkdir(exist_ok=True)
    name = "processes-quick.json" if given.quick else "processes.json"
    before = json.loads((RESULTS / name).read_text()) if (RESULTS / name).exists() else {}

    rows = before.get("time", [])
    if not given.count:
        rounds = 3 if given.quick else given.rounds
        rows = [
            row
            for size in ((42,) if given.quick else (84, 42))
            for method in WHOLE
            for row in times(size, method, rounds)
        ]
        print(f"{'px':<4}{'method':<14}{'variant':<22}{'s/step':>8}{'times as fast':>15}   range{'MB a process':>20}")
        for row in rows:
            spread = f"{row['low']:.2f} - {row['high']:.2f}"
            print(
                f"{row['size']:<4}{row['method']:<14}{row['variant']:<22}{row['seconds']:8.3f}"
                f"{row['times_as_fast']:15.2f}   {spread}{row['peak_MB_of_a_process']:14}"
            )
    table = costs()
    heads = ["encoder", "\\|ψ\\|", "m", "N", "W", "messages", "columns kB", "told + joined kB", "all kB"]
    heads += ["s at 1 Gbit/s", "at 10"]
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in table:
        kilobytes = [f"{row[key] / 1e3:,.0f}" for key in ("columns", "told_and_joined", "bytes")]
        seconds = [f"{8 * row['bytes'] / line:.4f}" for line in (1e9, 1e10)]
        cells = [row["encoder"], f"{row['psi']:,}", row["m"], row["N"], row["W"], row["messages"], *kilobytes, *seconds]
        print(f"| {' | '.join(map(str, cells))} |")
    record = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__},
        "time": rows,
        "cost": table,
    }
    (RESULTS / name).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
