"""A comparison's outcomes as the rows of its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rotogbml import method_presets
from rotogbml.comparison.declared import LEARNER
from rotogbml.comparison.published import Published, published_beside
from rotogbml.comparison.roster import BLOCKS, Entry, entry_of
from rotogbml.studies.ledger import Ledger, Outcome
from rotogbml.studies.plan import UNTRAINED, Budget, Plan
from rotogbml.studies.table import StudyRow, corrected, grid, study_rows

Interval = tuple[float, float]
"""A mean and half of its 95 % interval."""


@dataclass(frozen=True)
class CompareRow:
    """One method. Accuracies and differences are 0 … 1, seconds are of one thread, bytes are bytes."""

    number: int
    """Its place in the table, from 1."""
    block: str
    name: str
    label: str
    """As papers write it, with what it begins with."""
    trained_on: str
    """In words: how many sources, which one alone, or that nothing is trained."""
    sources: int
    """The most that a training of it saw."""
    study: StudyRow
    """Accuracies, intervals and the difference to ours."""
    untrained: Interval | None
    """The same network untrained, where that was tested."""
    parameters: int | None
    memory: int | None
    """The most bytes that a training's process held."""
    training_seconds: float | None
    """A mean over trainings, those of what it begins with in them."""
    images: float
    """Training images seen, likewise."""
    adapt_seconds: float | None
    """For a new task, before its first query."""
    predict_seconds: float | None
    ece: float | None
    brier: float | None
    course: list[tuple[float, float]]
    """Seconds of training and validation accuracy on the training sources, a mean over targets and seeds."""
    published: list[Published]

    @property
    def short(self) -> str:
        """Its name, with what tells it from the same method on all sources; what it begins with is left out."""
        return entry_of(self.name).short


def compare_rows(ledger: Ledger, k_shot: int) -> list[CompareRow]:
    """Return the rows of which at least a cell is done, in the table's order; p is corrected over them."""
    plan = ledger.plan
    found = [row for row in study_rows(ledger) if row.trained_k_shot == k_shot and row.setting not in plan.hidden]
    untrained = {row.setting: (row.mean, row.ci95) for row in found if row.checkpoint == UNTRAINED}
    tested = corrected([row for row in found if row.checkpoint == plan.judge])
    ordered = sorted(tested, key=lambda row: BLOCKS.index(entry_of(row.setting).block))
    return [_row(ledger, row, number, untrained.get(row.setting)) for number, row in enumerate(ordered, 1)]


def _row(ledger: Ledger, row: StudyRow, number: int, untrained: Interval | None) -> CompareRow:
    plan, entry = ledger.plan, entry_of(row.setting)
    outcomes = grid(ledger, plan.rungs[0], LEARNER, row.trained_k_shot, row.setting)
    start = plan.starts.get(row.setting)
    starts = {} if start is None else grid(ledger, plan.rungs[0], LEARNER, row.trained_k_shot, start)
    both = [[outcomes[key], *([starts[key]] if key in starts else [])] for key in outcomes]
    costs = [[outcome.get("cost", {}) for outcome in pair] for pair in both]
    seen = [
        sum(one["steps"] * plan.images_of_step(one["setting"], row.trained_k_shot) for one in pair) for pair in both
    ]
    return CompareRow(
        number=number,
        block=entry.block,
        name=row.setting,
        label=_label(plan, entry),
        trained_on=_trained_on(plan, entry, list(outcomes.values())),
        sources=max(len(outcome["sources"]) for outcome in outcomes.values()),
        study=row,
        untrained=untrained,
        parameters=None if entry.pixels else _most([pair[0].get("parameters") for pair in costs]),
        memory=None if not _trains(plan, entry) else _most([cost.get("memory") for pair in costs for cost in pair]),
        training_seconds=_mean([_sum([cost.get("training_seconds") for cost in pair]) for pair in costs]),
        images=float(np.mean(seen)),
        adapt_seconds=_mean([pair[0].get("adapt_seconds") for pair in costs]),
        predict_seconds=_mean([pair[0].get("predict_seconds") for pair in costs]),
        ece=_mean([_of_checkpoint(outcome, "ece", plan.judge) for outcome in outcomes.values()]),
        brier=_mean([_of_checkpoint(outcome, "brier", plan.judge) for outcome in outcomes.values()]),
        course=_course(list(outcomes.values())),
        published=published_beside(plan, row.setting, row.k_shot, row.n_way),
    )


def _trains(plan: Plan, entry: Entry) -> bool:
    return entry.options.get("method.name") not in method_presets.UNTRAINED or entry.name in plan.starts


def _label(plan: Plan, entry: Entry) -> str:
    """Return a row's name: with what it begins with, and how the budget is shared."""
    start, given = plan.starts.get(entry.name), plan.settings[entry.name].get("method.start")
    if given is not None:
        return f"{entry.label} (from {given}, not of this budget)"
    if start is None:
        return entry.label
    first = entry_of(start).label
    share, budget = plan.shares.get(entry.name), plan.rungs[0].budget
    if share is None:
        return f"{entry.label} (from {first}, {budget})"
    halves = Budget(budget.amount * plan.shares[start], budget.unit), Budget(budget.amount * share, budget.unit)
    if budget.unit != "minutes":
        a, b = halves[0].amount // 1, -(-halves[1].amount // 1)
        halves = Budget(a, budget.unit), Budget(b, budget.unit)
    return f"{entry.label} ({halves[0]} of {first}, then {halves[1]})"


def _trained_on(plan: Plan, entry: Entry, outcomes: Sequence[Outcome]) -> str:
    if not _trains(plan, entry):
        given = plan.settings[entry.name].get("method.start")
        return "nothing: no network" if entry.pixels else "nothing" if given is None else "nothing here"
    named = {tuple(outcome["sources"]) for outcome in outcomes}
    counts = sorted({len(sources) for sources in named})
    if counts == [1]:
        names = sorted({sources[0] for sources in named})
        alone = names[0] if len(names) == 1 else "the target's dataset"
        return f"single-source: {alone}" if entry.single else alone
    said = "–".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return f"multi-source: {said}"


def _course(outcomes: Sequence[Outcome]) -> list[tuple[float, float]]:
    """Return the mean of the validations that all trainings have, in their order."""
    courses = [
        [(seconds, line[1]) for seconds, line in zip(seconds_of, outcome.get("validation", []), strict=False)]
        for outcome in outcomes
        for seconds_of in [outcome.get("cost", {}).get("validation_seconds", [])]
    ]
    shortest = min(map(len, courses), default=0)
    if not shortest:
        return []
    means = np.array([course[:shortest] for course in courses]).mean(0)
    return [(float(seconds), float(accuracy)) for seconds, accuracy in means]


def _of_checkpoint(outcome: Outcome, name: str, checkpoint: str) -> float | None:
    value: Any = outcome.get(name)
    return value.get(checkpoint) if isinstance(value, dict) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(sum(known)) if known else None


def _most(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
