"""Tables and figures of the studies are made of their outcomes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs import (
    agreement_table,
    averaging,
    comparison_tables,
    coverage,
    judged,
    mixing,
    shape_table,
    study_figures,
    study_tables,
)
from rotogbml.numbers import signed
from rotogbml.presets import PRESETS, SWITCHES
from rotogbml.studies import plan as plans
from rotogbml.studies.cell import packed
from rotogbml.studies.ledger import Ledger
from rotogbml.studies.plan import Plan, Rung
from rotogbml.studies.table import study_rows

DOCS = Path(study_tables.__file__).parent
GAINS = {"plain": 0.0, "omega": 0.1}

Outcome = Callable[..., dict[str, Any]]


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


@pytest.fixture
def made(plan: Plan, outcome: Outcome, ledger_of: Callable[..., Ledger], tmp_path: Path) -> Ledger:
    """Return outcomes of every cell, whose accuracies are drawn about ½ and the setting's gain."""
    drawn = np.random.default_rng(0)
    outcomes = []
    for rung in plan.rungs:
        for cell in plan.cells(rung):
            right = np.clip(drawn.normal(0.5 + GAINS[cell.setting], 0.02, plan.test.episodes), 0, 1)
            conflict = {"cosine": 0.01 * len(cell.learner), "spread": 2.0}
            correct = dict.fromkeys(plan.test.checkpoints, right)
            outcomes.append(outcome(plan, cell, correct, budget=rung.budget, conflict=conflict))
    return ledger_of(plan, tmp_path / "made.jsonl", outcomes)


@pytest.mark.parametrize("page", sorted(p.name for p in DOCS.glob("*.md") if "<!-- study " in p.read_text("utf-8")))
def test_the_tables_of_the_pages_are_those_of_the_outcomes(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert study_tables.filled(text) == text, "python docs/study_tables.py --write"
    assert "Nothing is done yet" not in text


@pytest.mark.parametrize(
    "page", sorted(p.name for p in DOCS.glob("*.md") if "<!-- /compare -->" in p.read_text("utf-8"))
)
def test_the_comparisons_of_the_pages_are_those_of_the_outcomes(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert comparison_tables.filled(text) == text, "python -m docs.comparison_tables --write"
    assert "Nothing is done yet" not in text


def test_steps_are_a_column_where_the_budget_is_another_one() -> None:
    hour = study_tables.table("mini-weak", ["budget=60"], DOCS / "study")
    assert "| trainings | steps | cosine |" in hour
    assert "| 1 of 1 | 740 | – | 1.00 |" in hour
    assert "| steps |" not in study_tables.table("mixes", ["k_shot=1"], DOCS / "study")


def test_numbers_beside_defaults_are_those_of_the_outcomes() -> None:
    rows = {
        (stage, row.budget.amount, row.setting): row.difference
        for stage in ("stage1", "stage2", "mixes", "mixes-elsewhere", "turning", "instead", "readings")
        for row in study_rows(study_tables.ledger_of(stage))
        if (row.checkpoint, row.k_shot) == ("averaged", 1)
    }
    seen = 0
    for choice in (SWITCHES | PRESETS).values():
        for part in choice.measured:
            stage, steps, said = re.fullmatch(r"([\w-]+)/(\d+): (.+)", part).groups()
            for one in said.split(", "):
                setting, points = one.split(" ")
                assert signed(100 * rows[stage, int(steps), setting].mean, 2) == points, (part, one)
                seen += 1
    assert seen > 30


def test_the_table_of_the_running_mean_is_that_of_its_outcomes() -> None:
    assert averaging.table("stage1", 600) in (DOCS / "unlike.md").read_text(encoding="utf-8")


def test_the_table_of_what_validation_takes_is_that_of_its_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged.table() in (DOCS / "unlike.md").read_text(encoding="utf-8"), "python -m docs.judged"
    ledger = study_tables.ledger_of("stage1")
    turned = [line | {"last": line["averaged"], "averaged": line["last"]} for line in judged.lines()]
    monkeypatch.setattr(judged, "lines", lambda: turned)
    preferred, trainings, over_last, over_mean = judged.chosen(ledger, 160)
    assert (preferred, trainings) == (5, 56)
    assert over_last.mean - over_mean.mean == pytest.approx(averaging.differences(ledger, 600)["all of them"][1].mean)
    assert over_mean.mean < -0.004  # who takes the other one loses what was won


def test_a_running_mean_that_is_better_by_a_point_is_so(plan: Plan, made: Ledger) -> None:
    last = np.full(plan.test.episodes, 0.5)
    gain = np.resize([0.01, 0.02], plan.test.episodes)
    for outcome in made.done.values():
        outcome["n_way"] = outcome["n_query"] = 10
        outcome["correct"] = {"last": packed(last, 100), "averaged": packed(last + gain, 100)}
    found = averaging.differences(made, 10)
    assert {name: trainings for name, (trainings, _) in found.items()} == {"plain": 4, "omega": 4, "all of them": 8}
    for _, d in found.values():
        assert d.mean == pytest.approx(0.015)
        assert 0.01 < d.low < d.high < 0.02


def test_what_an_interval_of_few_trainings_is_worth_is_as_simulated() -> None:
    page = (DOCS / "study.md").read_text("utf-8")
    first, _, *lines = coverage.table().splitlines()
    assert " ".join(page.split()).find(first) > 0
    assert "\n".join(lines) in page, "python -m docs.coverage"


def test_an_interval_of_many_targets_is_worth_what_it_says() -> None:
    outside, small = coverage.false_alarms(20, 6, 3.0, 1.0, 0.3)
    assert 0.03 < outside < 0.08
    assert small < 0.02


def test_what_the_mix_does_is_that_of_the_outcomes() -> None:
    assert mixing.table(study_tables.ledger_of(mixing.STUDY), mixing.STEPS) in (DOCS / "unlike.md").read_text("utf-8")


def test_the_mix_is_set_against_the_same_learner_under_the_other_mix(
    plan: Plan, outcome: Outcome, ledger_of: Callable[..., Ledger], tmp_path: Path
) -> None:
    """By hand: ½, and 0.04 more by classes plain, 0.02 more under RotoGBML, which itself costs 0.1."""
    right = {"plain": 0.5, "by-classes": 0.54, "rotogbml": 0.4, "rotogbml-by-classes": 0.42}
    made = replace(plan, settings={name: {} for name in right}, rungs=(Rung(10),), learners={"one": {}})
    drawn, outcomes = np.random.default_rng(0), []
    for cell in made.cells(made.rungs[0]):
        value = np.clip(drawn.normal(right[cell.setting], 0.01, made.test.episodes), 0, 1)
        outcomes.append(outcome(made, cell, dict.fromkeys(made.test.checkpoints, value), budget=made.rungs[0].budget))
    found = mixing.differences(ledger_of(made, tmp_path / "mixed.jsonl", outcomes), 10, 1)
    means = [d.mean for d in found.values()]
    assert means == pytest.approx([0.04, 0.02, 0.03, -0.1, -0.12], abs=0.004)
    ledger = ledger_of(made, tmp_path / "mixed.jsonl", outcomes)
    twice = mixing.everywhere(ledger, ledger, 10, 1)  # the same targets again: the same mean, in a narrower interval
    assert twice.mean == pytest.approx(means[0])
    once = found["by classes − alike, plain"]
    assert once.low <= twice.low < twice.mean < twice.high <= once.high
    assert all(d.low < d.mean < d.high for d in found.values())


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


def test_a_place_takes_the_rows_that_it_names(made: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_tables, "read_plan", lambda name: made.plan)
    page = "before\n<!-- study made budget=20 learner=one checkpoint=last -->\nold\n<!-- /study -->\nafter\n"
    filled = study_tables.filled(page, made.path.parent)
    assert filled.startswith("before\n")
    assert filled.endswith("\nafter\n")
    assert "old" not in filled
    assert filled.count("| one | omega |") == 1
    assert "| three |" not in filled
    assert "10 steps" not in filled
    assert study_tables.filled(filled, made.path.parent) == filled


def test_the_map_says_gain_and_conflict_of_each_condition(made: Ledger, tmp_path: Path) -> None:
    lines = study_figures.conflict_map(tmp_path / "map.svg", made).splitlines()
    assert (tmp_path / "map.svg").read_text().startswith("<?xml")
    assert len(lines) == 2 * 2  # budgets × conditions
    assert all(": +10." in line or ": +9." in line for line in lines)
    assert sum("cosine 0.0500, norm ratio 2.00" in line for line in lines) == 2


def test_late_training_is_a_curve_of_every_budget(made: Ledger, tmp_path: Path) -> None:
    lines = study_figures.late(tmp_path / "late.svg", made).splitlines()
    assert (tmp_path / "late.svg").stat().st_size > 1000
    assert {line.split(":")[0] for line in lines} >= {"omega, seed 0, 10 steps", "plain, seed 1, 20 steps"}


def test_every_setting_of_the_long_trainings_is_drawn(tmp_path: Path) -> None:
    kept = study_tables.ledger_of("late")
    lines = study_figures.late(tmp_path / "late.svg", kept).splitlines()
    assert {line.split(",")[0] for line in lines} == set(kept.plan.settings)
    few = replace(kept.plan, settings=dict.fromkeys(map(str, range(len(study_figures.COLOURS) + 1))))
    with pytest.raises(ValueError, match="shorter"):
        study_figures.late(tmp_path / "late.svg", Ledger(few, tmp_path / "none.jsonl"))
