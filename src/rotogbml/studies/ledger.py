"""A study's one table on disk: a line of JSON for each cell that is done, appended as it is done.

It alone says what is done. The runs' folders may be gone: a study whose ``results.jsonl`` is carried to another machine
goes on there with what is left.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rotogbml.errors import RotogbmlError
from rotogbml.files import cannot_write
from rotogbml.studies.plan import Budget, Cell, Plan

FILE = "results.jsonl"

Outcome = dict[str, Any]


class Ledger:
    """The outcomes of a plan in a folder.

    Args:
        plan: whose.
        path: the file; it need not be there.

    Raises:
        RotogbmlError: a line, but for one that was cut off at the end, cannot be read.
    """

    def __init__(self, plan: Plan, path: Path) -> None:
        self.plan, self.path = plan, path
        self.stale = 0
        """Lines of another plan's words, or of cells that are the plan's no more."""
        self.done: dict[tuple[Cell, Budget], Outcome] = {}
        known = {(cell, rung.budget) for rung in plan.rungs for cell in plan.cells(rung)}
        for outcome in read_lines(path):
            cell, budget = cell_of(outcome), budget_of(outcome)
            if (cell, budget) in known and outcome["plan"] == plan.digest(cell, budget):
                self.done[cell, budget] = outcome
            else:
                self.stale += 1

    def add(self, outcome: Outcome) -> None:
        """Take an outcome: one line, on the disk when this returns.

        Raises:
            RotogbmlError: the disk is full or the place cannot be written.
        """
        self.done[cell_of(outcome), budget_of(outcome)] = outcome
        try:
            with self.path.open("ab+") as file:
                if file.tell():  # a line that was cut off is closed, so that this one stands alone
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        file.write(b"\n")
                file.write((json.dumps(outcome, ensure_ascii=False) + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    @property
    def seconds(self) -> float:
        """What all that is done took, of one core each; at the least where runs were gone on with.

        An outcome tells the seconds of the process that wrote it. Where that process went on with a run, what others
        had trained of it by then counts too: those that were killed, and those of a shorter budget.
        """
        runs: dict[Cell, list[Outcome]] = {}
        for (cell, _), outcome in self.done.items():
            runs.setdefault(self.plan.trainer(cell), []).append(outcome)
        return sum(map(_seconds_of_run, runs.values()))

    def lacks(self, cells: Iterable[Cell], budget: Budget) -> list[Cell]:
        """Return the cells that are not done, in their order."""
        return [cell for cell in cells if (cell, budget) not in self.done]


def cell_of(outcome: Outcome) -> Cell:
    """Return whose outcome it is."""
    return Cell(outcome["seed"], outcome["target"], outcome["k_shot"], outcome["learner"], outcome["setting"])


def budget_of(outcome: Outcome) -> Budget:
    """Return how long it was to be trained."""
    amount, unit = outcome.get("budget", (outcome["steps"], "steps"))
    return Budget(amount, unit)


def _seconds_of_run(outcomes: Iterable[Outcome]) -> float:
    """Return the seconds of a run's outcomes, and of the training that no process of theirs can have done."""
    told = [(outcome.get("cost", {}).get("training_seconds", 0.0), outcome["seconds"]) for outcome in outcomes]
    total, until = sum(own for _, own in told), 0.0
    for begun, ended in sorted((max(0.0, end - own), end) for end, own in told):
        total += max(0.0, begun - until)
        until = max(until, ended)
    return total


def read_lines(path: Path) -> list[Outcome]:
    """Return the lines of a results file; those that a kill cut off are left out.

    Raises:
        RotogbmlError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RotogbmlError(f"{path} cannot be read: {error.strerror or error}") from error
    found = []
    for line in text.splitlines():
        try:
            outcome = json.loads(line)
        except ValueError:
            continue  # cut off: its cell counts as not done
        if isinstance(outcome, dict) and {"plan", "steps", "correct"} <= outcome.keys():
            found.append(outcome)
    return found
