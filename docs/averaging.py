"""What testing the running mean of the weights does, on the same trainings: `python -m docs.averaging STUDY STEPS`."""

from __future__ import annotations

import sys

import numpy as np
from docs.study_tables import ledger_of

from rotogbml.numbers import signed
from rotogbml.studies.halving import rungs
from rotogbml.studies.ledger import Ledger, Outcome
from rotogbml.studies.statistics import Difference, bootstrap_episodes
from rotogbml.studies.table import Tested, grid
from rotogbml.training.state import AVERAGED, LAST


def trainings(ledger: Ledger, steps: int) -> dict[str, list[list[Outcome]]]:
    """Return the outcomes of each setting of a budget, [targets][seeds]; of the first learner and shots."""
    rung, settings = next((rung, names) for rung, names in rungs(ledger) if rung.budget.amount == steps)
    targets, seeds, (learner, *_) = ledger.plan.span(rung)
    found = {}
    for setting in settings:
        done = grid(ledger, rung, learner, ledger.plan.k_shot[0], setting)
        found[setting] = [[done[target, seed] for seed in seeds] for target in targets]
    return found


def accuracies(ledger: Ledger, steps: int, tested: Tested) -> dict[str, np.ndarray]:
    """Return the accuracies of each setting of a budget, [targets, seeds, episodes], 0 … 1."""
    return {
        setting: np.array([[tested.accuracy(cell) for cell in row] for row in cells])
        for setting, cells in trainings(ledger, steps).items()
    }


def states(ledger: Ledger) -> tuple[Tested, Tested]:
    """Return how the last state and the running mean are tested."""
    k_shot = ledger.plan.k_shot[0]
    return Tested(k_shot, k_shot, LAST), Tested(k_shot, k_shot, AVERAGED)


def points(difference: Difference) -> str:
    """Return a difference in points with its 95 % interval, as pages say it."""
    return "{} ({} to {})".format(*(signed(100 * value, 2) for value in difference[:3]))


def differences(ledger: Ledger, steps: int) -> dict[str, tuple[int, Difference]]:
    """Return averaged − last of each setting and of their mean: trainings behind it, and the difference, 0 … 1."""
    last, averaged = states(ledger)
    before, after = (accuracies(ledger, steps, tested) for tested in (last, averaged))
    gaps = {setting: after[setting] - before[setting] for setting in before}
    each = next(iter(gaps.values()))  # [targets, seeds, episodes]
    count = each.shape[0] * each.shape[1]
    found = {name: (count, bootstrap_episodes(gap)) for name, gap in gaps.items()}
    return found | {"all of them": (count * len(gaps), bootstrap_episodes(np.mean(list(gaps.values()), axis=0)))}


def table(name: str, steps: int) -> str:
    """Return the Markdown table of a study whose outcomes are kept beside the pages."""
    lines = ["| setting | trainings | averaged − last, points | 95 % interval | p |", "|---|---:|---:|---:|---:|"]
    for setting, (trainings, d) in differences(ledger_of(name), steps).items():
        mean, low, high = (signed(100 * value, 2) for value in d[:3])
        lines.append(f"| {setting} | {trainings} | {mean} | {low} to {high} | {d.p:.2g} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(sys.argv[1], int(sys.argv[2])))
