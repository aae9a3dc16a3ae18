"""A meta-training step against the others', as ratios of interleaved rounds: ``python -m benchmarks.speed``.

    agreement   all ways compute the same meta-gradient in float64, or nothing is measured
    peak        what the machine can do at most
    W1 … W4     seconds, processor seconds, memory of each way, in rounds (``rounds.py``); first order, ANIL, iMAML
    growth      with tasks, inner steps, shots, image size (``growth.py``)
    roofline    what bounds each layer of W1 (``roofline.py``)
    where       where ``rotogbml train`` spends a step of W1 (``where.py``)

What was measured is written after each part: ``--resume`` goes on after one that was stopped, ``--only`` measures a
part anew. ``--quick`` takes two minutes and shows less. Two threads that share a core with something else wait for each
other, and their times say nothing: on a machine that has other work, ``--busy`` takes one thread and processor time.
``--accelerator cuda`` takes the steps on a GPU and writes speed-cuda.json.
Writes ``benchmarks/results/speed.json``; ``python docs/speed_page.py`` makes docs/speed.md of it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import agreement, growth, targets
from benchmarks.rounds import count_flops, measure
from benchmarks.tables import growth_table, work_table
from benchmarks.ways import BF16, BF16_PAIR, OURS, PAIR, PLAIN, PLAIN_KEEPS
from benchmarks.where import where
from benchmarks.work import WORKS
from benchmarks.worker import ROOT

RESULTS = Path(__file__).parent / "results"
ROUNDS = {
    "W1": 5,
    "W2": 3,
    "W3": 7,
    "W4, 5 steps": 3,
    "W4, 1 step": 3,
    "W1, first order": 5,
    "W1, ANIL": 5,
    "W1, iMAML": 5,
}
QUICK = {"W1": 1, "W3": 2}
"""Rounds of each work."""
HEAVY = ("W2",)
"""Works whose ways would hold more memory together than a machine may have."""
FEW = (OURS, PAIR, BF16, BF16_PAIR, PLAIN, PLAIN_KEEPS)
"""Ways where not all are asked for: of W4, and of W1 where it is quick."""


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def measured_apart(module: str, *options: str) -> Any:
    """Return what a benchmark prints as JSON in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    done = subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


class Speed:
    """The record, part by part.

    Args:
        path: where it is written.
        quick: less of everything.
        busy: one thread, processor time.
        rounds: so many of each work; None: as ``ROUNDS`` or ``QUICK`` has it.
        keep: whether what is there already is kept.
        device: ``cpu``, or ``cuda``: the works alone, since all else is about the processor.
    """

    def __init__(
        self, path: Path, quick: bool, busy: bool, rounds: int | None, keep: bool, device: str = "cpu"
    ) -> None:
        self.path, self.quick, self.busy, self.rounds = path, quick, busy, rounds
        there = json.loads(path.read_text(encoding="utf-8")) if keep and path.exists() else {}
        now = conditions(busy, device)
        before = there.get("conditions", now)["clock"]
        if before != now["clock"]:
            raise SystemExit(f"{path} was measured by {before}: measure all anew, or give --busy as it had it")
        self.record: dict[str, Any] = there | {"conditions": now}
        self.how: dict[str, Any] = {"threads": 1, "clock": "cpu"} if busy else {}
        self.device = device

    def parts(self) -> dict[str, Callable[[], None]]:
        """Return what is to be measured, by name, in its order."""
        busy = ["--busy"] if self.busy else []
        short = ["--seconds", "0.15"] if self.quick else []
        parts: dict[str, Callable[[], None]] = {
            "agreement": lambda: self.put("agreement", agreement.every(QUICK if self.quick else agreement.KINDS)),
            "peak": lambda: self.put("peak", measured_apart("peak", *busy, *short)),
        }
        for name, rounds in (QUICK if self.quick else ROUNDS).items():
            parts[name] = lambda name=name, rounds=rounds: self.work(name, self.rounds or rounds)
        if self.device == "cuda":
            return {name: take for name, take in parts.items() if name != "peak"}
        rounds = self.rounds or (1 if self.quick else 3)
        parts["growth"] = lambda: self.put("growth", growth.grow(rounds, say, self.quick, **self.how))
        if not self.quick:
            parts["roofline"] = lambda: self.put("roofline", measured_apart("roofline", *busy))
            parts["where"] = lambda: self.put("where", where(self.how.get("threads")))
        return parts

    def put(self, name: str, found: Any) -> None:
        """Keep a part."""
        self.record[name] = found

    def work(self, name: str, rounds: int) -> None:
        """Measure one work and print its table."""
        work = WORKS[name]
        few = FEW if name.startswith("W4") or (self.quick and name == "W1") else None
        load = os.getloadavg()[0]
        found = measure(work, rounds, say, few, lean=name in HEAVY, device=self.device, **self.how)
        found |= {"said": work.said(), "flops": count_flops(work, PLAIN), "load": load}
        self.record.setdefault("works", {})[name] = found
        say("\n" + work_table(self.record, name) + "\n")

    def has(self, name: str) -> bool:
        """Say whether a part is there."""
        return name in self.record or name in self.record.get("works", {})

    def save(self) -> None:
        """Write all there is."""
        self.path.parent.mkdir(exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(self.path)


def conditions(busy: bool, device: str = "cpu") -> dict[str, Any]:
    """Return what the numbers hold for."""
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    return gpu | {
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "clock": "processor time of one thread" if busy else "the clock",
    }


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two minutes: W1 and W3, one round and two")
    parser.add_argument("--busy", action="store_true", help="one thread and processor time")
    parser.add_argument("--rounds", type=int, help="so many of each work")
    parser.add_argument("--only", nargs="+", metavar="PART", help="measure these parts anew, keep the others")
    parser.add_argument("--resume", action="store_true", help="keep what an earlier one measured, do the rest")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu", help="where the steps are taken")
    given = parser.parse_args()
    if given.accelerator == "cuda" and not torch.cuda.is_available():
        raise SystemExit("accelerator is cuda, but torch sees no such GPU here: leave --accelerator out")
    name = "speed" + "-cuda" * (given.accelerator == "cuda") + "-quick" * given.quick
    path = RESULTS / f"{name}.json"
    keep = given.resume or bool(given.only)
    speed = Speed(path, given.quick, given.busy, given.rounds, keep, given.accelerator)
    parts = speed.parts()
    for name in given.only or []:
        if name not in parts:
            raise SystemExit(f"no part '{name}': there are {', '.join(parts)}")
    for name, take in parts.items():
        if (given.only and name not in given.only) or (given.resume and not given.only and speed.has(name)):
            continue
        began = time.monotonic()
        say(f"{name}: {WORKS[name].said() if name in WORKS else ''}")
        take()
        speed.save()
        say(f"{name} took {time.monotonic() - began:.0f} s")
    others = targets.read_others(RESULTS)
    if "growth" in speed.record:
        say("\n" + growth_table(speed.record))
    say("\n" + targets.table(speed.record, others))


if __name__ == "__main__":
    main()
