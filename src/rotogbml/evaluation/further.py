"""The second table: what a row says beside its accuracy, as people read it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

from rotogbml.evaluation.cells import NOTHING, Column, Row, cells

TITLE = "How far its probabilities can be believed, and what a task costs"
FURTHER = (
    (Column("ECE %", True), "ece"),
    (Column("Brier ± 95 % CI", True), "brier"),
    (Column("adapt, s", True), "adapt_seconds"),
    (Column("an image, ms", True), "predict_seconds"),
)
WORDS = (
    "ECE: how far confidence is from accuracy, 15 bins; 0 is best. Brier: 0 best, 2 worst. Seconds until a task is "
    "learned, milliseconds for each further image: medians, one task at a time on one thread."
)


def further(rows: Sequence[Row]) -> tuple[Sequence[Column], list[list[str]]]:
    """Return columns and body, a line for each row; empty where no row knows anything of it (of earlier versions)."""
    known = [(column, name) for column, name in FURTHER if any(row.get(name) is not None for row in rows)]
    if not known:
        return [], []
    shots = {(row.get("n_way"), row.get("k_shot")) for row in rows}
    named = [Column("method", False), Column("target", False)]
    task = [Column("n_way", True), Column("k_shot", True)] if len(shots) > 1 else []
    return [*named, *task, *(column for column, _ in known)], [
        [*cells(row)[:2], *(str(row.get(column.title)) for column in task), *(_cell(row, name) for _, name in known)]
        for row in rows
    ]


def _cell(row: Row, name: str) -> str:
    value, half = row.get(name), row.get("brier_ci95")
    if not _known(value):
        return NOTHING
    if name == "brier":
        return f"{value:.4f} ± {half:.4f}" if _known(half) else f"{value:.4f}"
    factor, digits = {"ece": (100, 2), "adapt_seconds": (1, 4), "predict_seconds": (1000, 3)}[name]
    return f"{factor * value:.{digits}f}"


def _known(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
