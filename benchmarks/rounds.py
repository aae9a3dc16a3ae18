"""Rounds: every way takes the same step in turn, and what is compared is compared within a round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.ways import OURS, Row, rows
from benchmarks.work import Work
from benchmarks.worker import Worker, WorkerError

Say = Callable[[str], None]


@dataclass
class Runner:
    """The processes of one row, and what their steps were."""

    workers: list[Worker]
    shares: list[list[int] | None]
    answers: list[dict[str, Any]]

    @classmethod
    def start(cls, work: Work, name: str, row: Row, threads: int | None = None) -> Runner:
        """Start them, without waiting until they are ready."""
        if row.processes == 1:
            return cls([Worker(work, name, threads=threads)], [None], [])
        shares: list[list[int] | None] = [list(range(i, work.tasks, row.processes)) for i in range(row.processes)]
        return cls([Worker(work, name, share, threads=1) for share in shares], shares, [])

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
        for worker, share in zip(self.workers, self.shares, strict=True):
            worker.send({"step": 0, "tasks": [0] if share is None else share[:1]})
        for worker in self.workers:
            worker.answer()

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.close()


def measure(
    work: Work,
    rounds: int,
    say: Say,
    only: Sequence[str] | None = None,
    threads: int | None = None,
    clock: str = "seconds",
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
            if row.missing():
                leave_out(name, row.missing())
                continue
            runners[name] = Runner.start(work, name, row, threads)
        attempt(lambda runner: runner.warm())
        for i in range(1, rounds + 1):
            attempt(lambda runner, i=i: runner.answers.append(runner.step(i)), backwards=i % 2 == 0)
            say(f"  round {i}/{rounds}: " + ", ".join(f"{n} {r.answers[-1][clock]:.2f}" for n, r in runners.items()))
        base = {name: sum(w.base["base_mb"] for w in runner.workers) for name, runner in runners.items()}
        threads = {name: runner.workers[0].base["threads"] for name, runner in runners.items()}
        if OURS not in runners:
            return {"rounds": rounds, "rows": {}, "skipped": skipped}
        reference = [a[clock] for a in runners[OURS].answers]
        found = {name: _row(runner.answers, reference, clock) for name, runner in runners.items()}
        for name, row in found.items():
            row |= {"base_mb": base[name], "cores": threads[name] * len(runners[name].workers)}
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
