"""Successive halving (Jamieson & Talwalkar 2016): which settings go on to the next budget."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rotogbml.studies.cell import unpacked
from rotogbml.studies.ledger import Ledger, Outcome
from rotogbml.studies.plan import Budget, Cell, Rung


def accuracy(outcome: Outcome, checkpoint: str, k_shot: int | None = None) -> np.ndarray:
    """Return the accuracy of each test episode, 0 … 1, with the fewest shots tested or with ``k_shot``."""
    correct = outcome.get("correct_at", {}).get(str(k_shot), outcome["correct"])
    return unpacked(correct[checkpoint], outcome["n_way"] * outcome["n_query"])


def survivors(ledger: Ledger, settings: tuple[str, ...], rung: int) -> tuple[str, ...] | None:
    """Return the settings that go on beyond a rung, in their order; None where a cell of it is not done.

    Ranked by the mean over learners, seeds, targets and shots of the judge's accuracy: every setting has the same
    cells, so this is the order of their mean differences too. What the others are compared with goes on always;
    rivals are ranked among themselves, so that the best of both kinds meet at the next budget.
    """
    plan = ledger.plan
    budget, keep = plan.rungs[rung].budget, plan.rungs[rung].keep
    cells = list(plan.cells(plan.rungs[rung], settings))
    if ledger.lacks(cells, budget):
        return None
    if keep is None:
        return settings
    scores: dict[str, list[float]] = {}
    for cell in cells:
        found = accuracy(ledger.done[cell, budget], plan.judge)
        scores.setdefault(cell.setting, []).append(float(found.mean()))
    always = {plan.against, *plan.always}
    ranked = sorted((name for name in settings if name not in always), key=lambda name: -np.mean(scores[name]))
    kept = always
    for rivals in (True, False):
        kept = kept | set([name for name in ranked if (name in plan.rivals) == rivals][:keep])
    return tuple(name for name in settings if name in kept)


def rungs(ledger: Ledger) -> list[tuple[Rung, tuple[str, ...]]]:
    """Return the budgets that have begun, each with its settings, as far as it is known who goes on."""
    settings: tuple[str, ...] | None = tuple(ledger.plan.settings)
    found = []
    for number, rung in enumerate(ledger.plan.rungs):
        if settings is None:
            break
        found.append((rung, settings))
        settings = survivors(ledger, settings, number)
    return found


def ahead(ledger: Ledger) -> Iterator[tuple[Cell, Budget]]:
    """Yield the cells that are left, with their budgets; of a budget that waits, those of all who may come to it."""
    begun = rungs(ledger)
    for number, rung in enumerate(ledger.plan.rungs):
        settings = begun[min(number, len(begun) - 1)][1]
        for cell in ledger.lacks(ledger.plan.cells(rung, settings), rung.budget):
            yield cell, rung.budget
