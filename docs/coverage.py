"""How often the study's bootstrap sees a difference where there is none: ``python -m docs.coverage``.

Differences of two trainings are drawn as stage 2's were spread, with a mean of zero: a part of each target (an effect
that differs between targets, or none), a part of each training, and the error of its episodes. Of so many drawn studies
the table says in how many the 95 % interval leaves zero out, and in how many p is below one in two hundred.
"""

from __future__ import annotations

import numpy as np
from docs.averaging import accuracies
from docs.study_tables import ledger_of

from rotogbml.seeds import numpy_generator
from rotogbml.studies.statistics import bootstrap
from rotogbml.studies.table import Tested
from rotogbml.training.state import AVERAGED

STUDIES, DRAWS = 1000, 1000
GRIDS = (2, 1), (2, 2), (4, 2), (4, 3)
"""Targets and seeds of: conditions and instead; late; half of stage 2; stage 2."""


def spread(k_shot: int = 1) -> tuple[float, float]:
    """Return of stage 2, in points: standard deviation of a difference to plain between seeds, and of its episodes."""
    ledger = ledger_of("stage2")
    right = accuracies(ledger, 600, Tested(1, k_shot, AVERAGED))
    # [settings, targets, seeds, episodes]
    gaps = np.array([right[name] - right["plain"] for name in right if name != "plain"])
    errors = gaps.std(3, ddof=1) / np.sqrt(gaps.shape[3])
    return 100 * float(np.sqrt(gaps.mean(3).var(2, ddof=1).mean())), 100 * float(np.sqrt((errors**2).mean()))


def false_alarms(targets: int, seeds: int, between: float, training: float, episodes: float) -> tuple[float, float]:
    """Return the shares of studies without an effect whose interval leaves out zero, and whose p is below 0.005.

    Args:
        targets: of each study.
        seeds: of each study.
        between: standard deviation of the effect between targets.
        training: of a difference of trainings, the error of its episodes not counted.
        episodes: of that error.
    """
    draw = numpy_generator(0, "coverage", targets, seeds, round(10 * between))
    outside = small = 0
    for _ in range(STUDIES):
        of_targets, of_cells = draw.standard_normal((targets, 1)), draw.standard_normal((targets, seeds))
        d = between * of_targets + np.hypot(training, episodes) * of_cells
        found = bootstrap(d, np.full_like(d, episodes), DRAWS)
        outside += not found.low <= 0 <= found.high
        small += found.p < 0.005
    return outside / STUDIES, small / STUDIES


def table() -> str:
    """Return the Markdown table."""
    seen, episodes = spread()
    training = float(np.sqrt(max(0.0, seen**2 - episodes**2)))
    lines = [
        f"Between seeds a difference of two trainings moves by {seen:.2f} points (standard deviation, stage 2), "
        f"{episodes:.2f} of it by its episodes.\n",
        "| targets × seeds | effect between targets, sd | interval leaves out 0 | p < 0.005 |",
        "|---|---:|---:|---:|",
    ]
    for targets, seeds in GRIDS:
        for between in (0.0, 1.0):
            shares = (f"{100 * share:.1f} %" for share in false_alarms(targets, seeds, between, training, episodes))
            lines.append(f"| {targets} × {seeds} | {between:g} | " + " | ".join(shares) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
