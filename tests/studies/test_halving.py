"""Who goes on to the next budget."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from rotogbml.studies.cell import packed
from rotogbml.studies.halving import survivors
from rotogbml.studies.ledger import Ledger
from rotogbml.studies.plan import Plan, Rung

PLAN = Plan(
    name="made",
    targets=("a", "b"),
    settings={name: {} for name in ("plain", "r1", "r2", "r3", "s1", "s2", "s3")},
    rungs=(Rung(10, keep=1), Rung(20)),
    seeds=(0, 1),
    rivals=("s1", "s2", "s3"),
)
MEANS = {"plain": 0.1, "r1": 0.5, "r2": 0.4, "r3": 0.3, "s1": 0.6, "s2": 0.8, "s3": 0.7}


def ledger(plan: Plan, path: Path, means: dict[str, float]) -> Ledger:
    """Return outcomes of the first rung: each setting's accuracy is its mean, on one target more, on the other less."""
    done = Ledger(plan, path)
    for cell in plan.cells(plan.rungs[0]):
        right = packed(np.full(4, means[cell.setting] + (0.05 if cell.target == "a" else -0.05)), 75)
        outcome = asdict(cell) | {"budget": [10, "steps"], "steps": 10, "n_way": 5, "n_query": 15}
        done.add(outcome | {"correct": dict.fromkeys(plan.test.checkpoints, right)})
    return done


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
def test_rivals_are_ranked_among_themselves(tmp_path: Path, rivals: tuple[str, ...], keep: int, kept: set[str]) -> None:
    plan = replace(PLAN, rivals=rivals, rungs=(Rung(10, keep=keep), Rung(20)))
    found = survivors(ledger(plan, tmp_path / "results.jsonl", MEANS), tuple(plan.settings), 0)
    assert found == tuple(name for name in plan.settings if name in kept)
