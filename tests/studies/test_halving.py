"""Who goes on to the next budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rotogbml.studies.halving import survivors
from rotogbml.studies.ledger import Ledger
from rotogbml.studies.plan import Cell, Plan, Rung

PLAN = Plan(
    name="made",
    targets=("a", "b"),
    settings={name: {} for name in ("plain", "r1", "r2", "r3", "s1", "s2", "s3")},
    rungs=(Rung(10, keep=1), Rung(20)),
    seeds=(0, 1),
    rivals=("s1", "s2", "s3"),
)
MEANS = {"plain": 0.1, "r1": 0.5, "r2": 0.4, "r3": 0.3, "s1": 0.6, "s2": 0.8, "s3": 0.7}

MakeLedger = Callable[[Plan], Ledger]


@pytest.fixture
def made(outcome: Callable[..., dict[str, Any]], ledger_of: Callable[..., Ledger], tmp_path: Path) -> MakeLedger:
    """Return a maker of the first rung's outcomes: a setting's accuracy is its mean, on one target more, else less."""

    def right(plan: Plan, cell: Cell) -> dict[str, np.ndarray]:
        each = np.full(4, MEANS[cell.setting] + (0.05 if cell.target == "a" else -0.05))
        return dict.fromkeys(plan.test.checkpoints, each)

    def make(plan: Plan) -> Ledger:
        cells = plan.cells(plan.rungs[0])
        return ledger_of(plan, tmp_path / "results.jsonl", [outcome(plan, cell, right(plan, cell)) for cell in cells])

    return make


@pytest.mark.parametrize(
    ("rivals", "keep", "kept"),
    [
        (PLAN.rivals, 1, {"plain", "r1", "s2"}),
        (PLAN.rivals, 2, {"plain", "r1", "r2", "s2", "s3"}),
        (PLAN.rivals, 9, set(PLAN.settings)),
        ((), 1, {"plain", "s2"}),
        ((), 4, {"plain", "s2", "s3", "s1", "r1"}),
    ],
)
def test_rivals_are_ranked_among_themselves(
    made: MakeLedger, rivals: tuple[str, ...], keep: int, kept: set[str]
) -> None:
    plan = replace(PLAN, rivals=rivals, rungs=(Rung(10, keep=keep), Rung(20)))
    found = survivors(made(plan), tuple(plan.settings), 0)
    assert found == tuple(name for name in plan.settings if name in kept)
