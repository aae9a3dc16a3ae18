"""Rounds: every way takes the same step in turn, and what is compared is compared within a round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.ways import OURS, Row, rows
from benchmarks.work import Work
from benchmarks.worker import Worker, WorkerError

Say = Callable[[str], None]


class Runner:
    """The processes of one row, and what their steps were.

    Args:
        work: the step.
        name: the row's.
        row: the row.
        threads: of its one process; None leaves torch's default.
        device: where it computes.
    """

    def __init__(self, work: Work, name: str, row: Row, threads: int | None = None, device: str = "cpu") -> None:
        self.work, self.name, self.row, self.device = work, name, row, device
        self.shares: list[list[int] | None] = [None]
        self.threads = threads
        if row.processes > 1:
            self.shares = [list(range(i, work.tasks, row.processes)) for i in range(row.processes)]
            self.threads = 1
        self.workers: list[Worker] = []
        self.answers: list[dict[str, Any]] = []
        self.base_mb, self.cores = 0.0, 0

    def start(self) -> None:
        """Start the processes, without waiting until they are ready."""
        self.workers = [Worker(self.work, self.name, share, self.threads, self.device) for share in self.shares]

    def step(self, i: int) -> dict[str, Any]:
        """Take step i and return what it took: the clock until the last process is done, the sum of all else."""
        began = time.perf_counter()
        for worker in self.workers:
            worker.send({"step": i})
        told = [worker.answer() for worker in self.workers]
        seconds = time.perf_counter() - began if len(told) > 1 else told[0]["seconds"]
        total = {key: sum(t[key] for t in told) for key in ("cpu", "system", "faults", "peak_mb")}
        return {"seconds": seconds, **total, "notes": told[0]["notes"]}

    def warm(self) -> None:
        """Wait until they are ready, then take a step of one task each: it loads and plans what a first step does."""
        for worker in self.workers:
            worker.ready()
        self.base_mb = sum(worker.base["base_mb"] for worker in self.workers)
        self.cores = sum(worker.base["threads"] for worker in self.workers)
        for worker, share in zip(self.workers, self.shares, strict=True):
            worker.send({"step": 0, "tasks": [0] if share is None else share[:1]})
        for worker in self.workers:
            worker.answer()

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.close()
        self.workers = []


def measure(
    work: Work,
    rounds: int,
    say: Say,
    only: Sequence[str] | None = None,
    threads: int | None = None,
    clock: str = "seconds",
    lean: bool = False,
    device: str = "cpu",
) -> dict[str, Any]:
    """Return rows and what was skipped, and why.

    A way that is not installed is named and left out; so is one that breaks, with the last line it said.

    Args:
        work: the step.
        rounds: so many of each, after one step of one task that warms up.
        say: told how it goes on.
        only: names of ways; None: all.
        threads: of a row's one process; None leaves torch's default.
        clock: what counts as time: ``seconds``, or ``cpu`` for processor time, where a machine has other work too.
        lean: ways that keep their memory live for one round only, so that theirs is not held all at once.
        device: ``cpu``, or ``cuda``, where ways of several processes are left out: they would share one GPU.
    """
    runners: dict[str, Runner] = {}
    skipped: dict[str, str] = {}

    def leave_out(name: str, why: str) -> None:
        skipped[name] = why
        say(f"  without {name}: {why}")
        if name in runners:
            runners.pop(name).close()

    def attempt(what: Callable[[Runner], None], backwards: bool = False) -> None:
        for name in reversed(list(runners)) if backwards else list(runners):
            try:
                what(runners[name])
            except WorkerError as error:
                leave_out(name, str(error))

    try:
        for name, row in rows(work).items():
            if only is not None and name not in only:
                continue
            if row.processes > 1 and device == "cuda":
                leave_out(name, "its processes would share one GPU")
                continue
            if row.missing():
                leave_out(name, row.missing())
                continue
            runners[name] = Runner(work, name, row, threads, device)
        lasting = [runner for runner in runners.values() if not (lean and runner.row.keeps)]
        for runner in lasting:
            runner.start()  # all load at once
        attempt(lambda runner: runner.warm() if runner in lasting else None)

        def turn(runner: Runner, i: int) -> None:
            if runner not in lasting:
                runner.start()
                runner.warm()
            runner.answers.append(runner.step(i))
            if runner not in lasting:
                runner.close()

        for i in range(1, rounds + 1):
            attempt(lambda runner, i=i: turn(runner, i), backwards=i % 2 == 0)
            say(f"  round {i}/{rounds}: " + ", ".join(f"{n} {r.answers[-1][clock]:.2f}" for n, r in runners.items()))
        if OURS not in runners:
            return {"rounds": rounds, "rows": {}, "skipped": skipped}
        reference = [a[clock] for a in runners[OURS].answers]
        found = {name: _row(runner.answers, reference, clock) for name, runner in runners.items()}
        for name, row in found.items():
            row |= {"base_mb": runners[name].base_mb, "cores": runners[name].cores}
        return {"rounds": rounds, "rows": found, "skipped": skipped}
    finally:
        for runner in runners.values():
            runner.close()


def _row(answers: Sequence[dict[str, Any]], reference: Sequence[float], clock: str) -> dict[str, Any]:
    """Return medians, and the ratios to ours within a round: how many times as long as ours it takes."""
    seconds = [a[clock] for a in answers]
    ratios = [a / b for a, b in zip(seconds, reference, strict=True)]
    row: dict[str, Any] = {
        "seconds": statistics.median(seconds),
        "low": min(seconds),
        "high": max(seconds),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "peak_mb": max(a["peak_mb"] for a in answers),
    }
    row |= {key: statistics.median(a[key] for a in answers) for key in ("cpu", "system", "faults")}
    notes = answers[-1]["notes"]
    return row | ({"cg_steps": notes["cg_steps"]} if "cg_steps" in notes else {})


def count_flops(work: Work, way: str) -> float:
    """Return the operations of a step, counted on one task of a way."""
    with Worker(work, way).ready() as worker:
        worker.send({"count": True})
        return float(worker.answer()["flops"]) * work.tasks
