"""A study's rows: what an interval is of, how many seeds a difference is of, where a protocol is departed from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rotogbml.errors import UsageError
from rotogbml.studies import plan as plans
from rotogbml.studies.ledger import Ledger
from rotogbml.studies.plan import Cell, Plan, Rung
from rotogbml.studies.published import published_plan
from rotogbml.studies.render import render
from rotogbml.studies.table import StudyRow, study_rows

Made = Callable[..., list[StudyRow]]


def two(seeds: int) -> Plan:
    """Return a plan of two settings, two targets and so many seeds."""
    return Plan(
        "made",
        ("east", "west"),
        {"plain": {}, "other": {}},
        (Rung(steps=1),),
        seeds=tuple(range(seeds)),
        test=plans.TestPlan(episodes=50, n_query=3, checkpoints=("best",)),
        judge="best",
        against="plain",
    )


@pytest.fixture
def made(outcome: Callable[..., dict[str, Any]], ledger_of: Callable[..., Ledger], tmp_path: Path) -> Made:
    """Return a function that makes rows of a plan; accuracies are of the target, and of the seed where it says so."""

    def make(plan: Plan, by_seed: bool = False, lacks: Callable[[Cell], bool] = lambda _: False, **more: Any) -> Any:
        def right(cell: Cell) -> np.ndarray:
            rng = np.random.default_rng([len(cell.setting), ord(cell.target[0]), cell.seed if by_seed else 0])
            return (rng.random((50, 15)) < 0.5).mean(1)

        cells = [cell for cell in plan.cells(plan.rungs[0]) if not lacks(cell)]
        outcomes = [outcome(plan, cell, {"best": right(cell)}, **more) for cell in cells]
        return study_rows(ledger_of(plan, tmp_path / "results.jsonl", outcomes))

    return make


def test_seeds_that_say_the_same_say_no_more_than_one(made: Made) -> None:
    """All are tested on the same episodes, so that episodes do not multiply with seeds."""
    one, three = (made(two(seeds))[0] for seeds in (1, 3))
    assert list(three.targets.values()) == [pytest.approx(each) for each in one.targets.values()]
    assert (three.mean, three.ci95) == pytest.approx((one.mean, one.ci95))
    assert three.cells == 3 * one.cells


def test_an_interval_is_of_the_seeds_mean_of_each_episode(made: Made) -> None:
    plan = two(3)
    row = made(plan, by_seed=True)[0]
    assert row.setting == "plain"
    each = [
        np.mean([(np.random.default_rng([5, ord(t), s]).random((50, 15)) < 0.5).mean(1) for s in range(3)], axis=0)
        for t in "ew"
    ]
    half = [1.96 * e.std() / np.sqrt(50) for e in each]
    assert list(row.targets.values()) == [pytest.approx((e.mean(), h)) for e, h in zip(each, half, strict=True)]
    assert row.ci95 == pytest.approx(np.hypot(*half) / 2)


def test_a_seed_that_has_begun_is_no_second_seed(made: Made) -> None:
    """Seeds are outermost: while the second is under way the first alone has every target."""
    plan = two(2)
    begun = made(plan, by_seed=True, lacks=lambda cell: cell.seed == 1 and cell.target == "west")
    assert [(row.seeds, row.whole, row.holm) for row in begun] == [([0, 1], 1, None)] * 2
    assert "one seed, so no p" in render(plan, begun, "text")
    done = made(plan, by_seed=True)
    assert [row.whole for row in done] == [2, 2]
    assert done[1].holm is not None


def test_what_departs_from_the_protocol_stands_over_the_table(made: Made) -> None:
    plan = two(1)
    said = (
        "strong, target east; stand-ins (suite core); size 42; departs: at most 1 minutes; not as published: x: 1 of 2"
    )
    rows = made(plan, protocol=said)
    assert rows[0].departs == ("departs: at most 1 minutes", "not as published: x: 1 of 2")
    assert render(plan, rows, "text").count("departs: at most 1 minutes; not as published: x: 1 of 2. Difference") == 1
    assert made(plan)[0].departs == ()


def planned(name: str, k_shot: list[int] | None, **budget: Any) -> Plan:
    return published_plan(name, "paper", ["all"], ["maml"], 1, Rung(**budget), k_shot, None, None, {})


@pytest.mark.parametrize(
    ("name", "trained", "tested", "steps"),
    [
        ("strong", 1, (1,), 60_000),
        ("closer-look", 5, (5,), 40_000),
        ("bscd-fsl", 5, (5, 20, 50), 40_000),
        ("cdfsl", 5, (1, 5), 40_000),
    ],
)
def test_a_protocols_study_has_its_own_shots_and_steps(
    name: str, trained: int, tested: tuple[int, ...], steps: int
) -> None:
    plan = planned(name, None)
    assert plan.k_shot == (trained,)
    assert plan.test.shots(trained) == tested
    assert plan.rungs[0].steps == steps
    own = planned(name, [1, 5], minutes=1)
    assert (own.k_shot, own.test.shots(1), own.test.shots(5)) == ((1, 5), (1,), (5,))


def test_shots_that_are_trained_for_other_steps_are_no_one_study() -> None:
    said = "trains 1-shot for 60,000, 5-shot for 40,000 steps, and a study's tables have one budget"
    with pytest.raises(UsageError, match=said):
        planned("closer-look", [1, 5])
    assert planned("bscd-fsl", [1, 5]).rungs[0].steps == 40_000
