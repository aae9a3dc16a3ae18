"""A comparison's outcomes, a part for each number of shots: its rows, and what they say to one who must choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rotogbml.comparison.choice import Choice, choices
from rotogbml.comparison.rows import CompareRow, compare_rows
from rotogbml.studies.ledger import Ledger


class Part(NamedTuple):
    """What one number of shots has."""

    k_shot: int
    rows: Sequence[CompareRow]
    choices: Sequence[Choice] = ()


def parts_of(ledger: Ledger) -> list[Part]:
    """Return a part for each number of shots that the plan has, in its order; without rows where nothing is done."""
    return [part_of(ledger, k_shot) for k_shot in ledger.plan.k_shot]


def part_of(ledger: Ledger, k_shot: int) -> Part:
    """Return one number of shots."""
    rows = compare_rows(ledger, k_shot)
    return Part(k_shot, rows, choices(ledger, rows))
