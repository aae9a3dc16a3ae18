"""What all that is done took, where runs were gone on with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rotogbml.studies import plan as plans
from rotogbml.studies.ledger import Ledger
from rotogbml.studies.plan import Cell, Plan, Rung

ALIKE = "bscd-fsl"
"""Its training is the same for all targets."""
PLAN = Plan(
    "made",
    ("cropdiseases", "eurosat"),
    {"plain": {}},
    (Rung(steps=1), Rung(steps=2)),
    test=plans.TestPlan(episodes=50, n_query=3, checkpoints=("best",)),
    judge="best",
    against="plain",
)


@pytest.mark.parametrize(
    ("protocol", "told", "whole"),
    [
        ("", [(0, 0, 8.0, 6.0)], 8.0),
        ("", [(0, 0, 8.0, 6.0), (1, 0, 9.0, 6.0)], 17.0),
        ("", [(0, 0, 5.0, 12.0)], 12.0),  # a killed process, or one of a shorter budget, trained seven seconds
        ("", [(0, 0, 8.0, 6.0), (0, 1, 7.0, 12.0)], 15.0),  # the second budget begins where the first one ended
        ("", [(0, 0, 8.0, 6.0), (0, 1, 7.0, 18.0)], 20.0),  # between the two somebody trained for five seconds
        (ALIKE, [(0, 0, 8.0, 6.0), (1, 0, 2.0, 6.0)], 10.0),  # the second target is only tested
        (ALIKE, [(1, 0, 2.0, 9.0), (0, 0, 2.5, 9.0)], 11.0),  # both only tested: by whom it was trained is not known
        ("", [(0, 0, 3.0, None)], 3.0),  # as outcomes were before they said what training cost
    ],
)
def test_seconds_count_what_processes_without_an_outcome_trained(
    outcome: Callable[..., dict[str, Any]],
    ledger_of: Callable[..., Ledger],
    tmp_path: Path,
    protocol: str,
    told: list[tuple[int, int, float, float | None]],
    whole: float,
) -> None:
    """Each is told by its target, budget, own seconds, and seconds that its run had been trained by then."""
    plan = replace(PLAN, protocol=protocol)
    outcomes = [
        outcome(
            plan,
            Cell(0, plan.targets[target], 1, "maml", "plain"),
            {},
            budget=plan.rungs[rung].budget,
            seconds=seconds,
            cost={} if trained is None else {"training_seconds": trained},
        )
        for target, rung, seconds, trained in told
    ]
    ledger = ledger_of(plan, tmp_path / "results.jsonl", outcomes)
    assert len(ledger.done) == len(told)
    assert ledger.seconds == pytest.approx(whole)
