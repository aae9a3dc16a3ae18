"""Which one to use: told from outcomes that are made up, checked against the numbers they were made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from docs import comparison_tables
from rotogbml.comparison.choice import Choice, choices, in_words
from rotogbml.comparison.page import page
from rotogbml.comparison.parts import parts_of
from rotogbml.comparison.render import render
from rotogbml.comparison.rows import compare_rows
from rotogbml.studies.ledger import Ledger
from rotogbml.studies.plan_file import written

Made = Callable[..., Ledger]


def by_situation(found: list[Choice]) -> dict[str, Choice]:
    return {choice.situation: choice for choice in found}


def names(choice: Choice) -> list[str]:
    return [row.name for row, _ in choice.alike]


def test_the_best_row_of_each_case_leads_and_what_is_far_behind_is_left_out(made: Made) -> None:
    """ProtoNet answers 60 of 100 right, MAML 50 and 52 with RotoGBML, all else 40, pixels 30."""
    ledger = made(
        methods=("pixels", "random-frozen", "protonet", "protonet-single", "maml", "maml++", "baseline-single")
    )
    rows = compare_rows(ledger, 1)
    found = by_situation(choices(ledger, rows))
    assert found["several sources to train on"].best.name == "protonet"
    assert names(found["several sources to train on"]) == []
    assert found["one source to train on"].best.study.mean == max(
        row.study.mean for row in rows if "single" in row.name
    )
    assert found["nothing to train on"].best.name == "random-frozen"
    assert names(found["nothing to train on"]) == []
    assert "All others are worse." in in_words(found["several sources to train on"])


def test_a_protocol_of_one_source_is_a_case_of_one_source(made: Made) -> None:
    """What counts is on how many sources a row was trained, not what it is called."""
    ledger = made(methods=("protonet", "baseline", "maml"))
    for outcome in ledger.done.values():
        outcome["sources"] = ["imagenet"]
    found = by_situation(choices(ledger, compare_rows(ledger, 1)))
    assert found["one source to train on"].best.name == "protonet"
    assert "several sources to train on" not in found


def test_rows_that_cannot_be_told_apart_are_all_named(made: Made) -> None:
    """Two rows with the very same answers differ by nothing: p is 1."""
    ledger = made(methods=("protonet", "matchingnet", "maml"))
    for cell, budget in list(ledger.done):
        if cell.setting == "matchingnet":
            ledger.done[cell, budget]["correct"] = ledger.done[replace(cell, setting="protonet"), budget]["correct"]
    (choice,) = choices(ledger, compare_rows(ledger, 1))
    assert {choice.best.name, *names(choice)} == {"protonet", "matchingnet"}
    ((_, difference),) = choice.alike
    assert difference is not None
    assert (difference.mean, difference.p) == (0.0, 1.0)
    assert "Not shown to be worse: " in in_words(choice)


def test_the_quickest_and_the_surest_are_of_those_that_are_as_good(made: Made) -> None:
    """Whatever the costs, a row that is worse is never recommended for them."""
    ledger = made(methods=("protonet", "matchingnet", "r2d2", "maml"), seeds=1)
    rows = compare_rows(ledger, 1)
    for costs in np.random.default_rng(0).random((40, len(rows), 2)):
        told = [replace(row, adapt_seconds=a, brier=b) for row, (a, b) in zip(rows, costs.tolist(), strict=True)]
        (choice,) = choices(ledger, told)
        good = [choice.best, *(row for row, _ in choice.alike)]
        assert len(good) < len(rows)
        assert choice.quickest is not None
        assert choice.surest is not None
        assert choice.quickest.adapt_seconds == min(row.adapt_seconds or 0 for row in good)
        assert choice.surest.brier == min(row.brier or 0 for row in good)


def test_one_seed_ranks_and_is_said_to_prove_nothing(made: Made) -> None:
    several, one = (parts_of(made(methods=("protonet", "r2d2", "maml"), seeds=seeds)) for seeds in (2, 1))
    assert {choice.seeds for choice in several[0].choices} == {2}
    assert {choice.seeds for choice in one[0].choices} == {1}
    for said in (in_words(choice) for choice in one[0].choices):
        assert "by one seed, which ranks and proves nothing" in said
        assert "worse" not in said
    ledger = made(methods=("protonet", "r2d2", "maml"), seeds=1)
    below = render(ledger.plan, one, "text")
    assert "one seed knows nothing of what training again would change" in below
    assert "Not shown to be worse" not in below


def test_a_second_seed_that_has_only_begun_proves_nothing(made: Made) -> None:
    ledger = made(lambda cell: cell.seed == 1 and cell.target == "eurosat")
    assert {choice.seeds for choice in choices(ledger, compare_rows(ledger, 1))} == {1}


def test_a_case_of_one_row_and_one_of_the_same_rows_are_not_said(made: Made) -> None:
    """Every row here judges queries by themselves, so that case would repeat the first."""
    found = choices(ledger := made(methods=("protonet", "protonet-single", "maml")), compare_rows(ledger, 1))
    assert [choice.situation for choice in found] == [
        "several sources to train on",
        "queries that come one at a time",
    ]
    alone = choices(ledger := made(methods=("protonet", "maml")), compare_rows(ledger, 1))
    assert [choice.situation for choice in alone] == ["several sources to train on"]


@pytest.mark.parametrize("norm", ["batch", "moving, of pairs batch"])
def test_rows_of_batch_statistics_do_not_serve_queries_one_at_a_time(made: Made, norm: str) -> None:
    ledger = made(methods=("protonet", "matchingnet", "maml"))
    rows = compare_rows(ledger, 1)
    told = [replace(row, study=replace(row.study, norm=norm)) if row.name == "protonet" else row for row in rows]
    found = by_situation(choices(ledger, told))
    assert found["several sources to train on"].best.name == "protonet"
    late = found["queries that come one at a time"]
    assert "protonet" not in {late.best.name, *names(late)}
    alone = f"{norm}, each query beside the support"
    told = [replace(row, study=replace(row.study, norm=alone)) if row.name == "protonet" else row for row in rows]
    assert "queries that come one at a time" not in by_situation(choices(ledger, told))  # all serve: said already


def test_rows_of_a_part_of_the_targets_are_not_chosen(made: Made) -> None:
    ledger = made(lambda cell: cell.setting == "protonet" and cell.target == "eurosat")
    for choice in choices(ledger, compare_rows(ledger, 1)):
        assert "protonet" not in {choice.best.name, *names(choice)}


def test_every_form_says_it(made: Made) -> None:
    ledger = made(k_shot=(1, 5))
    parts = parts_of(ledger)
    sentence = "With several sources to train on: ProtoNet, "
    for form in ("text", "markdown", "latex"):
        assert render(ledger.plan, parts, form).count(sentence) == 2
    assert page(ledger.plan, parts, "again").count(sentence) == 2
    told = json.loads(render(ledger.plan, parts, "json"))["choices"]
    assert [one["k_shot"] for one in told if one["best"] == "protonet"] == [1, 1, 5, 5]


def test_pages_are_filled_from_comparisons_beside_them(made: Made, tmp_path: Path) -> None:
    ledger = made(methods=("protonet", "protonet-single", "baseline-single", "maml"))
    place = tmp_path / "study" / "small"
    place.mkdir(parents=True)
    (place / "plan.yaml").write_text(written(ledger.plan), encoding="utf-8")
    shutil.copy(ledger.path, place / "results.jsonl")
    page = (
        "above\n<!-- compare small -->\nold\n<!-- /compare -->\n<!-- which small small -->\n<!-- /compare -->\nbelow\n"
    )
    filled = comparison_tables.filled(page, tmp_path / "study")
    assert "old" not in filled
    assert filled.startswith("above\n")
    assert filled.endswith("below\n")
    lines = [line for line in filled.splitlines() if line.startswith("| several sources to train on | cars, eurosat; ")]
    assert len(lines) == 2  # it was named twice
    assert "| **ProtoNet** 60." in lines[0]
    assert f"{len(ledger.done)} trainings, " in filled
    assert comparison_tables.filled(filled, tmp_path / "study") == filled
