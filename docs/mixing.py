"""What drawing sources by their classes does, plain and under RotoGBML: ``python -m docs.mixing``."""

from __future__ import annotations

import numpy as np
from docs.averaging import accuracies, points
from docs.study_tables import ledger_of

from rotogbml.studies.ledger import Ledger
from rotogbml.studies.statistics import Difference, bootstrap, bootstrap_episodes
from rotogbml.studies.table import Tested
from rotogbml.training.state import AVERAGED

STUDY, ELSEWHERE, STEPS = "mixes", "mixes-elsewhere", 600
ALIKE, BY_CLASSES = ("plain", "rotogbml"), ("by-classes", "rotogbml-by-classes")
"""Plain and RotoGBML, each source drawn alike, and as often as it has classes."""


def differences(ledger: Ledger, steps: int, k_shot: int) -> dict[str, Difference]:
    """Return what the mix does to each, and to their mean, and what RotoGBML does under each mix; 0 … 1."""
    tested = Tested(ledger.plan.k_shot[0], k_shot, AVERAGED)
    right = accuracies(ledger, steps, tested)
    plain, rotogbml = (right[drawn] - right[alike] for alike, drawn in zip(ALIKE, BY_CLASSES, strict=True))
    gaps = {
        "by classes − alike, plain": plain,
        "by classes − alike, RotoGBML": rotogbml,
        "by classes − alike, both": (plain + rotogbml) / 2,
        "RotoGBML − plain, alike": right[ALIKE[1]] - right[ALIKE[0]],
        "RotoGBML − plain, by classes": right[BY_CLASSES[1]] - right[BY_CLASSES[0]],
    }
    return {name: bootstrap_episodes(gap) for name, gap in gaps.items()}


def everywhere(here: Ledger, elsewhere: Ledger, steps: int, k_shot: int) -> Difference:
    """Return by classes − alike, plain, over the targets of two studies and the seeds that both have; 0 … 1."""
    tested = Tested(here.plan.k_shot[0], k_shot, AVERAGED)
    seeds = min(len(here.plan.seeds), len(elsewhere.plan.seeds))
    gaps = []  # [seeds, episodes] of each target
    for ledger in (here, elsewhere):
        right = accuracies(ledger, steps, tested)
        gaps += list((right[BY_CLASSES[0]] - right[ALIKE[0]])[:, :seeds])
    errors = [[gap.std(ddof=1) / np.sqrt(len(gap)) for gap in target] for target in gaps]
    return bootstrap(np.array([[gap.mean() for gap in target] for target in gaps]), np.array(errors))


def table(ledger: Ledger, steps: int) -> str:
    """Return the Markdown table of a study, with all shots that it was tested with, and with the other targets."""
    shots = ledger.plan.test.shots(ledger.plan.k_shot[0])
    found = {k: differences(ledger, steps, k) for k in shots}
    titles = "difference, points", *(f"{k}-shot (95 % interval) | p" for k in shots)
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|---:|" * len(shots)]
    for name in found[shots[0]]:
        cells = [f"{points(found[k][name])} | {found[k][name].p:.2g}" for k in shots]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    both = [everywhere(ledger, ledger_of(ELSEWHERE), steps, k) for k in shots]
    cells = [f"{points(d)} | {d.p:.2g}" for d in both]
    lines.append("| by classes − alike, plain, all eight targets, two seeds | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(ledger_of(STUDY), STEPS))
