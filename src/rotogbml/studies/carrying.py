"""A plan, carried out: rung after rung, and within a rung what others begin with first."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

from rotogbml.studies.cell import Work
from rotogbml.studies.halving import accuracy, survivors
from rotogbml.studies.ledger import Ledger
from rotogbml.studies.plan import Budget, Cell, Plan
from rotogbml.studies.pool import Pool, outcome_of
from rotogbml.training.progress import clock


def carry_out(ledger: Ledger, folder: Path, sources: list[str], pool: Pool) -> list[str]:
    """Carry out rung after rung; return what was said of the cells that failed."""
    plan, failed = ledger.plan, []
    settings: tuple[str, ...] | None = tuple(plan.settings)
    for number, rung in enumerate(plan.rungs):
        failed += _Rung(ledger, rung.budget, folder, sources, pool).carry_out(
            ledger.lacks(plan.cells(rung, settings), rung.budget)
        )
        settings = survivors(ledger, settings, number)
        if settings is None:
            break
    return failed


class _Rung:
    """The cells of one budget."""

    def __init__(self, ledger: Ledger, budget: Budget, folder: Path, sources: list[str], pool: Pool) -> None:
        self.ledger, self.budget, self.folder, self.pool = ledger, budget, folder, pool
        self.sources = tuple(sources)
        self.plan: Plan = ledger.plan
        self.left: list[Cell] = []
        self.done = self.of = 0
        self.failed: list[str] = []

    def carry_out(self, lacking: list[Cell]) -> list[str]:
        """Carry out what is lacking; return what was said of the cells that failed."""
        starts = [cell for cell in map(self.plan.start, lacking) if cell is not None and not self._is_there(cell)]
        first = dict.fromkeys([*(cell for cell in lacking if self.plan.start(cell) is None), *starts])
        self.left = [*first, *(cell for cell in lacking if cell not in first)]
        self.of = len(self.left)
        self._run(list(first))
        second = [cell for cell in lacking if cell not in first]
        ready = [cell for cell in second if self._can_begin(cell)]
        self._run(ready)
        return self.failed

    def _is_there(self, cell: Cell) -> bool:
        """Say whether a cell is done and its run is in the study's folder: others can begin with it.

        A run goes on in its place when a longer budget is asked for; what it left last says of which budget it is.
        """
        work = self._work(cell)
        if (cell, self.budget) not in self.ledger.done or not (work.run / "checkpoints" / "best.pt").is_file():
            return False
        left = outcome_of(work)
        return not isinstance(left, str) and left["plan"] == work.digest

    def _can_begin(self, cell: Cell) -> bool:
        start = self.plan.start(cell)
        if start is None or self._is_there(start):
            return True
        if any(said.startswith(f"{start.id}: ") for said in self.failed):
            self._fail(cell, f"it begins with {start.id}, which failed")
        return False

    def _run(self, cells: list[Cell]) -> None:
        works = [self._work(cell) for cell in cells]
        for work, found in (each for turn in _turns(works) for each in self.pool.run(turn)):
            self.done += 1
            self.left.remove(work.cell)
            if isinstance(found, str):
                self._fail(work.cell, found)
                continue
            self.ledger.add(found)
            mean = accuracy(found, self.plan.judge).mean()
            ahead = seconds_ahead(self.ledger, self.left, self.budget) / self.pool.workers
            print(
                f"[{self.done}/{self.of}] {work.cell.id}, {self.budget}: {mean:.1%} in "
                f"{clock(found['seconds'])}; {clock(ahead)} left of this budget",
                flush=True,
            )

    def _fail(self, cell: Cell, why: str) -> None:
        self.failed.append(f"{cell.id}: {why}")
        print(f"FAILED {self.failed[-1]}", flush=True)

    def _work(self, cell: Cell) -> Work:
        return Work.of(self.plan, cell, self.budget, self.folder, self.sources)


def _turns(works: list[Work]) -> list[list[Work]]:
    """Return works in turns, in each one of every run: who trains a run and who tests it on other targets, in order."""
    by_run: dict[Path, list[Work]] = {}
    for work in works:
        by_run.setdefault(work.run, []).append(work)
    return [[work for work in turn if work is not None] for turn in zip_longest(*by_run.values())]


def mean_seconds(ledger: Ledger, budget: Budget) -> float:
    """Return what a cell of a budget takes: the mean of those that are done, or in proportion where none is."""
    done = [outcome["seconds"] for (_, of), outcome in ledger.done.items() if of == budget]
    if done:
        return sum(done) / len(done)
    rates = [outcome["seconds"] / of.amount for (_, of), outcome in ledger.done.items()]
    return budget.amount * sum(rates) / len(rates) if rates else 0.0


def seconds_ahead(ledger: Ledger, cells: Iterable[Cell], budget: Budget) -> float:
    """Return what some cells take of one core: each as others of its setting did, or as all did where none is done."""
    by_setting: dict[str, list[float]] = {}
    for (cell, of), outcome in ledger.done.items():
        if of == budget:
            by_setting.setdefault(cell.setting, []).append(outcome["seconds"])
    mean = mean_seconds(ledger, budget)
    known = {setting: sum(values) / len(values) for setting, values in by_setting.items()}
    return sum(known.get(cell.setting, mean) for cell in cells)
