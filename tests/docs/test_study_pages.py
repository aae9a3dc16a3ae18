"""Tables and figures of the studies are made of their outcomes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs import agreement_table, shape_table, study_figures, study_tables
from rotogbml.studies import plan as plans
from rotogbml.studies.cell import packed
from rotogbml.studies.ledger import Ledger
from rotogbml.studies.plan import Plan, Rung

DOCS = Path(study_tables.__file__).parent


def outcomes(path: Path, plan: Plan, gains: dict[str, float]) -> Ledger:
    """Write outcomes of every cell, whose accuracies are drawn about ½ and the setting's gain, and return them."""
    drawn = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        for rung in plan.rungs:
            for cell in plan.cells(rung):
                right = np.clip(drawn.normal(0.5 + gains[cell.setting], 0.02, plan.test.episodes), 0, 1)
                record: dict[str, Any] = {
                    **asdict(cell),
                    "budget": list(rung.budget),
                    "steps": rung.budget.amount,
                    "plan": plan.digest(cell, rung.budget),
                    "method": cell.setting,
                    "n_way": 5,
                    "n_query": 15,
                    "norm": "batch",
                    "seconds": 1.0,
                    "correct": {name: packed(right, 75) for name in plan.test.checkpoints},
                    "conflict": {"cosine": 0.01 * len(cell.learner), "spread": 2.0},
                }
                file.write(json.dumps(record) + "\n")
    return Ledger(plan, path)


@pytest.fixture
def plan() -> Plan:
    return Plan(
        name="made",
        targets=("a", "b"),
        settings={"plain": {}, "omega": {}},
        rungs=(Rung(10, keep=1), Rung(20)),
        seeds=(0, 1),
        test=plans.TestPlan(episodes=20),
        learners={"one": {}, "three": {}},
    )


@pytest.mark.parametrize("page", sorted(p.name for p in DOCS.glob("*.md") if "<!-- study " in p.read_text("utf-8")))
def test_the_tables_of_the_pages_are_those_of_the_outcomes(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert study_tables.filled(text) == text, "python docs/study_tables.py --write"
    assert "Nothing is done yet" not in text


def test_the_table_of_photos_is_that_of_its_outcomes() -> None:
    lines = shape_table.read()
    assert shape_table.table(lines) in (DOCS / "shape.md").read_text(encoding="utf-8"), "python docs/shape_table.py"
    turned = [line | {"measures": {k: v[::-1] for k, v in line["measures"].items()}} for line in lines]
    assert shape_table.table(turned) != shape_table.table(lines)


@pytest.mark.parametrize("room", ["encoder", "features"])
def test_the_tables_of_noise_are_those_of_what_was_measured(room: str) -> None:
    lines = agreement_table.read()
    page = (DOCS / "gradients.md").read_text(encoding="utf-8")
    assert agreement_table.table(lines, room) in page, "python docs/agreement_table.py"
    assert agreement_table.table(lines[::-1], room) not in page


def test_a_place_takes_the_rows_that_it_names(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes(tmp_path / "made.jsonl", plan, {"plain": 0.0, "omega": 0.1})
    monkeypatch.setattr(study_tables, "read_plan", lambda name: plan)
    page = "before\n<!-- study made budget=20 learner=one checkpoint=last -->\nold\n<!-- /study -->\nafter\n"
    made = study_tables.filled(page, tmp_path)
    assert made.startswith("before\n")
    assert made.endswith("\nafter\n")
    assert "old" not in made
    assert made.count("| one | omega |") == 1
    assert "| three |" not in made
    assert "10 steps" not in made
    assert study_tables.filled(made, tmp_path) == made


def test_the_map_says_gain_and_conflict_of_each_condition(plan: Plan, tmp_path: Path) -> None:
    ledger = outcomes(tmp_path / "made.jsonl", plan, {"plain": 0.0, "omega": 0.1})
    lines = study_figures.conflict_map(tmp_path / "map.svg", ledger).splitlines()
    assert (tmp_path / "map.svg").read_text().startswith("<?xml")
    assert len(lines) == 2 * 2  # budgets × conditions
    assert all(": +10." in line or ": +9." in line for line in lines)
    assert sum("cosine 0.0500, norm ratio 2.00" in line for line in lines) == 2


def test_late_training_is_a_curve_of_every_budget(plan: Plan, tmp_path: Path) -> None:
    ledger = outcomes(tmp_path / "made.jsonl", plan, {"plain": 0.0, "omega": 0.1})
    lines = study_figures.late(tmp_path / "late.svg", ledger).splitlines()
    assert (tmp_path / "late.svg").stat().st_size > 1000
    assert {line.split(":")[0] for line in lines} >= {"omega, last, 10 steps", "plain, averaged, 20 steps"}
