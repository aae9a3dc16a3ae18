"""Which one should I use: of each situation the best row, what is not shown to be worse, what else sets them apart.

What is best was chosen by the same episodes that it is measured on, so its lead flatters it a little; the rows that are
not shown to be worse are the more honest answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rotogbml.comparison.declared import LEARNER
from rotogbml.comparison.rows import CompareRow
from rotogbml.evaluation.cells import percent, signed_percent
from rotogbml.studies.ledger import Ledger
from rotogbml.studies.plan import Rung
from rotogbml.studies.statistics import Difference, holm
from rotogbml.studies.table import Tested, difference_of, paired

LEVEL = 0.05
"""Of p by Holm's correction over a situation's rows, below which a row is worse than the best."""
TOGETHER = "batch"
"""The norm policy under which an answer depends on the other queries, of maps (``batch``) or of pairs (``moving, of
pairs batch``)."""
ALONE = "each query beside the support"
"""What a row says of its norm where that does not hold, since queries are judged one by one."""


def _together(norm: str) -> bool:
    return TOGETHER in re.findall(r"[\w-]+", norm) and ALONE not in norm


@dataclass(frozen=True)
class Choice:
    """What one situation's rows say."""

    situation: str
    best: CompareRow
    alike: list[tuple[CompareRow, Difference | None]]
    """Not shown to be worse, best first, with the difference to the best; None where no seed is whole for both."""
    quickest: CompareRow | None
    """Of these and the best: the one that learns a new task first."""
    surest: CompareRow | None
    """Of these and the best: the one with the least Brier score."""
    seeds: int
    """Training seeds that every row has: one ranks and proves nothing (docs/study.md)."""


SITUATIONS: tuple[tuple[str, Callable[[CompareRow], bool]], ...] = (
    ("several sources to train on", lambda row: row.images > 0 and row.sources > 1),
    ("one source to train on", lambda row: row.images > 0 and row.sources == 1),
    ("nothing to train on", lambda row: row.images == 0),
    ("queries that come one at a time", lambda row: row.images > 0 and not _together(row.study.norm)),
)
"""Each in words, and which rows can serve in it."""


def choices(ledger: Ledger, rows: Sequence[CompareRow]) -> list[Choice]:
    """Return what some rows of one number of shots say for each situation; those with fewer than two rows are left out.

    Rows count that have every target. Of a situation in which every row of another serves, nothing is said twice.
    """
    targets = {target for row in rows for target in row.study.targets}
    whole = [row for row in rows if len(row.study.targets) == len(targets)]
    found: list[Choice] = []
    seen: list[list[CompareRow]] = []
    for situation, serves in SITUATIONS:
        able = [row for row in whole if serves(row)]
        if len(able) > 1 and able not in seen:
            seen.append(able)
            found.append(_choice(ledger, situation, able))
    return found


def _choice(ledger: Ledger, situation: str, able: Sequence[CompareRow]) -> Choice:
    best = max(able, key=lambda row: row.study.mean)
    behind = {row.name: _difference(ledger, row, best) for row in able if row is not best}
    p = holm({name: difference.p for name, difference in behind.items() if difference is not None})
    alike = [row for row in able if row is not best and p.get(row.name, 1.0) >= LEVEL]
    alike.sort(key=lambda row: -row.study.mean)
    good = [best, *alike]
    timed = [row for row in good if row.adapt_seconds]  # one of 0 was lost in the noise of the clock
    scored = [row for row in good if row.brier is not None]
    return Choice(
        situation=situation,
        best=best,
        alike=[(row, behind[row.name]) for row in alike],
        quickest=min(timed, key=lambda row: row.adapt_seconds or 0.0, default=None),
        surest=min(scored, key=lambda row: row.brier or 0.0, default=None),
        seeds=min(len(paired(ledger, *_pair(ledger, row, best))[2]) for row in able),
    )


def _difference(ledger: Ledger, row: CompareRow, best: CompareRow) -> Difference | None:
    return difference_of(ledger, *_pair(ledger, row, best))


def _pair(ledger: Ledger, row: CompareRow, best: CompareRow) -> tuple[Rung, str, Tested, str, str]:
    """Return which outcomes of two rows are compared."""
    study = row.study
    tested = Tested(study.trained_k_shot, study.k_shot, study.checkpoint)
    return ledger.plan.rungs[0], LEARNER, tested, row.name, best.name


def in_words(choice: Choice, most: int = 5) -> str:
    """Return a choice as a sentence or three.

    Args:
        choice: which.
        most: how many of those that are as good are named.
    """
    best = choice.best
    several = choice.seeds > 1
    by_one = "" if several else " (by one seed, which ranks and proves nothing)"
    said = [f"With {choice.situation}{by_one}: {best.short}, {percent(best.study.mean, best.study.ci95)} %."]
    if choice.alike:
        named = [f"{row.short}{points(difference)}" for row, difference in choice.alike[:most]]
        rest = len(choice.alike) - len(named)
        near = "Not shown to be worse" if several else "Near it"
        said.append(f"{near}: {', '.join(named)}{f' and {rest} more' if rest else ''}.")
    else:
        said.append("All others are worse." if several else "All others are behind by more than episodes explain.")
    quickest, surest = choice.quickest, choice.surest
    if quickest is not None and quickest.adapt_seconds is not None:
        said.append(
            f"Of these {quickest.short} is the quickest to learn a task ({time_in_words(quickest.adapt_seconds)})."
        )
    if surest is not None and surest.brier is not None:
        said.append(f"The best probabilities are of {surest.short} (Brier {surest.brier:.3f}).")
    return " ".join(said)


def points(difference: Difference | None) -> str:
    """Return a difference behind a name."""
    return "" if difference is None else f" ({signed_percent(difference.mean)})"


def time_in_words(seconds: float) -> str:
    """Return seconds with their unit."""
    if seconds < 1e-4:
        return "below 0.1 ms"
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
