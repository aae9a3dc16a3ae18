"""A study's outcomes as rows: each setting's mean over targets and seeds, and what its difference is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np

from rotogbml.evaluation.asked import DEPARTURES
from rotogbml.evaluation.results import stratified
from rotogbml.studies.halving import accuracy, rungs
from rotogbml.studies.ledger import Ledger, Outcome
from rotogbml.studies.plan import Budget, Cell, Rung
from rotogbml.studies.statistics import Difference, bootstrap_episodes, holm

Grid = dict[tuple[str, int], Outcome]
"""Outcomes of a setting, by target and seed."""


@dataclass(frozen=True)
class StudyRow:
    """One setting of one learner after one budget. Accuracies and differences are 0 … 1."""

    learner: str
    setting: str
    method: str
    checkpoint: str
    budget: Budget
    steps: float
    """Taken, a mean over trainings."""
    n_way: int
    k_shot: int
    """Of the test episodes."""
    trained_k_shot: int
    n_query: int
    norm: str
    targets: dict[str, tuple[float, float]]
    """Of each target the mean over the seeds that are done, and its 95 % half width over their episodes."""
    seeds: list[int]
    cells: int
    """Trainings behind it."""
    of: int
    """Trainings that the plan has."""
    episodes: int
    """Of each training."""
    mean: float
    """Over the targets that have begun, each counting alike."""
    ci95: float
    """Half width over episodes alone, seeds and targets being fixed."""
    whole: int
    """Seeds that have every target, here and of what this is compared with."""
    difference: Difference | None
    """To the plan's ``against`` or another that was asked for, over the whole seeds; None of itself, or of none."""
    holm: float | None
    """p of the difference, corrected for all settings of this learner, budget and checkpoint; None of one seed."""
    cosine: float | None
    spread: float | None
    turned: float | None
    """``conflict_of``: means over the cells."""
    ungrouped: str = ""
    """Targets that were tested with images of one lesion, leaf or patient on both sides, apart by commas."""
    departs: tuple[str, ...] = ()
    """Where trainings, tests or packs are not the protocol's, as the outcomes say it; empty where all are."""


def study_rows(ledger: Ledger, against: str | None = None) -> list[StudyRow]:
    """Return a row for each budget, learner, k_shot, checkpoint and setting of which at least a cell is done.

    Args:
        ledger: what is done.
        against: the setting that the others are compared with; the plan's own where None.
    """
    plan = ledger.plan
    against = against or plan.against
    rows = []
    for rung, settings in rungs(ledger):
        for learner, trained, checkpoint in product(plan.span(rung)[2], plan.k_shot, plan.test.checkpoints):
            for k_shot in plan.test.shots(trained):
                group = [
                    _row(ledger, rung, learner, Tested(trained, k_shot, checkpoint), setting, against)
                    for setting in settings
                ]
                rows += corrected([row for row in group if row is not None])
    return rows


class Tested(NamedTuple):
    """How trainings were tested: the shots they had in training, those in testing, and the checkpoint."""

    trained: int
    k_shot: int
    checkpoint: str

    def accuracy(self, outcome: Outcome) -> np.ndarray:
        """Return the accuracy of each test episode, 0 … 1."""
        return accuracy(outcome, self.checkpoint, self.k_shot)


def _row(ledger: Ledger, rung: Rung, learner: str, tested: Tested, setting: str, against: str) -> StudyRow | None:
    plan = ledger.plan
    targets, planned, _ = plan.span(rung)
    found = grid(ledger, rung, learner, tested.trained, setting)
    if not found:
        return None
    values = {key: tested.accuracy(outcome) for key, outcome in found.items()}
    first = next(iter(found.values()))
    conflict = [outcome["conflict"] for outcome in found.values()]
    seeds = [seed for seed in planned if any((target, seed) in found for target in targets)]
    # All seeds are tested on the same episodes: an episode's accuracy is its mean over them, and episodes alone vary.
    by_target = {
        target: stratified([np.mean([v for (of, _), v in values.items() if of == target], axis=0)])
        for target in targets
        if any(of == target for of, _ in values)
    }
    return StudyRow(
        learner=learner,
        setting=setting,
        method=first["method"],
        checkpoint=tested.checkpoint,
        budget=rung.budget,
        steps=float(np.mean([outcome["steps"] for outcome in found.values()])),
        n_way=first["n_way"],
        k_shot=tested.k_shot,
        trained_k_shot=tested.trained,
        n_query=first["n_query"],
        norm=first["norm"],
        targets=by_target,
        seeds=seeds,
        cells=len(found),
        of=len(targets) * len(planned),
        episodes=plan.test.episodes,
        mean=float(np.mean([mean for mean, _ in by_target.values()])),
        ci95=float(np.sqrt(sum(ci95**2 for _, ci95 in by_target.values())) / len(by_target)),
        whole=len(paired(ledger, rung, learner, tested, setting, against)[2]),
        difference=difference_of(ledger, rung, learner, tested, setting, against),
        holm=None,
        cosine=_mean([c["cosine"] for c in conflict if "cosine" in c]),
        spread=_mean([c["spread"] for c in conflict if "spread" in c]),
        turned=_mean([c["turned"] for c in conflict if "turned" in c]),
        ungrouped=", ".join(
            t for t in targets if any(of == t and o.get("groups") == "ignored" for (of, _), o in found.items())
        ),
        departs=tuple(
            dict.fromkeys(
                part
                for outcome in found.values()
                for part in outcome.get("protocol", "").split("; ")
                if part.startswith(DEPARTURES)
            )
        ),
    )


def difference_of(
    ledger: Ledger, rung: Rung, learner: str, tested: Tested, setting: str, against: str
) -> Difference | None:
    """Return setting − against, paired by target, seed and episode, over the seeds that are whole for both.

    None where there is no such seed, and of a setting to itself.
    """
    if setting == against:
        return None
    targets = ledger.plan.span(rung)[0]
    ours, theirs, seeds = paired(ledger, rung, learner, tested, setting, against)
    if not seeds:
        return None
    gaps = np.array(
        [
            [tested.accuracy(ours[target, seed]) - tested.accuracy(theirs[target, seed]) for seed in seeds]
            for target in targets
        ]
    )  # [targets, seeds, episodes]
    return bootstrap_episodes(gaps)


def paired(
    ledger: Ledger, rung: Rung, learner: str, tested: Tested, setting: str, against: str
) -> tuple[Grid, Grid, list[int]]:
    """Return what is done of two settings, and the seeds of which both have every target."""
    targets, planned, _ = ledger.plan.span(rung)
    ours, theirs = (grid(ledger, rung, learner, tested.trained, name) for name in (setting, against))
    both = ours.keys() & theirs.keys()
    return ours, theirs, [seed for seed in planned if all((target, seed) in both for target in targets)]


def grid(ledger: Ledger, rung: Rung, learner: str, k_shot: int, setting: str) -> Grid:
    """Return what is done of a setting, by target and seed."""
    targets, seeds, _ = ledger.plan.span(rung)
    cells = {(t, s): Cell(s, t, k_shot, learner, setting) for s in seeds for t in targets}
    return {key: ledger.done[cell, rung.budget] for key, cell in cells.items() if (cell, rung.budget) in ledger.done}


def corrected(rows: Sequence[StudyRow]) -> list[StudyRow]:
    """Return the rows with Holm's correction over those that have a difference over several seeds.

    One seed has no p: a training alone differs from its repetition by more than its episodes tell (docs/study.md).
    """
    found = holm({row.setting: row.difference.p for row in rows if row.difference is not None and row.whole > 1})
    return [replace(row, holm=found.get(row.setting)) for row in rows]


def groups_ignored(rows: Sequence[StudyRow]) -> str:
    """Return where test tasks had a lesion, leaf or patient on both sides; empty where none had."""
    targets = dict.fromkeys(target for row in rows for target in row.ungrouped.split(", ") if target)
    return f", groups (lesions, leaves, patients) ignored in the tests of {', '.join(targets)}" if targets else ""


def departures(rows: Sequence[StudyRow]) -> str:
    """Return where the rows are not as their protocol says, each said once; empty where they are."""
    return "".join(f"; {part}" for part in dict.fromkeys(part for row in rows for part in row.departs))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
