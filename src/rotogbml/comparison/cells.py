"""The one table as strings: columns, and each row's cells, for whatever writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from rotogbml.comparison.choice import LEVEL, in_words
from rotogbml.comparison.own_values import replaced
from rotogbml.comparison.parts import Part
from rotogbml.comparison.published import Published
from rotogbml.comparison.roster import entry_of
from rotogbml.comparison.rows import CompareRow
from rotogbml.evaluation.cells import NOTHING, Column, percent, signed_percent
from rotogbml.studies.plan import Plan
from rotogbml.studies.table import groups_ignored

AVERAGE = "average"
LAST_OF_ACCURACY = "p (Holm)"
"""Titles of columns that others look for."""
STAND_INS = "Stand-ins for the protocol's datasets (suite core): no number compares with a published one."


@dataclass(frozen=True)
class Table:
    """A table that people read.

    Attributes:
        heading: what all rows share.
        columns: of every row.
        blocks: name and rows of each block, in order.
        bold: of each block's rows the columns whose mean is the table's best.
        choices: which one to use, a line for each situation.
        below: notes, a line each.
        must: without which the table would mislead: what stands for the datasets (the heading says it too), and
            where published numbers are from (``below`` has them too). They are printed wherever the table is.
    """

    heading: str
    columns: list[Column]
    blocks: list[tuple[str, list[list[str]]]]
    bold: list[list[set[int]]]
    choices: list[str]
    below: list[str]
    must: list[str]


class _Field(NamedTuple):
    column: Column
    cell: Callable[[CompareRow], str]


def table_of(plan: Plan, part: Part) -> Table:
    """Return the table of one number of shots."""
    rows = part.rows
    targets = [target for target in plan.targets if any(target in row.study.targets for row in rows)]
    notes = _Notes(plan, rows)
    fields = _fields(plan, rows, targets, notes)
    columns = [field.column for field in fields]
    accuracy = [c for c, column in enumerate(columns) if column.title in (*targets, AVERAGE)]
    body = [[field.cell(row) for field in fields] for row in rows]
    best = {c: max(map(_leading, (line[c] for line in body)), default=None) for c in accuracy}
    blocks, bold = [], []
    for block, group in groupby(zip(rows, body, strict=True), lambda pair: pair[0].block):
        lines = [line for _, line in group]
        blocks.append((block, lines))
        bold.append([{c for c in accuracy if len(rows) > 1 and 0 <= _leading(line[c]) == best[c]} for line in lines])
    said = [in_words(choice) for choice in part.choices]
    must = [*([STAND_INS] if plan.suite == "core" else []), *notes.lines()]
    return Table(_heading(plan, rows), columns, blocks, bold, said, _below(plan, part, notes), must)


def _fields(plan: Plan, rows: Sequence[CompareRow], targets: Sequence[str], notes: _Notes) -> list[_Field]:
    """Return the columns; those of which no row knows anything are left out."""
    text, number = False, True
    fields = [
        _Field(Column("#", number), lambda row: str(row.number)),
        _Field(Column("method", text), lambda row: row.label),
        _Field(Column("trained on", text), lambda row: row.trained_on),
        *(_Field(Column(target, number), _accuracy_on(target)) for target in targets),
        _Field(Column(AVERAGE, number), _average(targets)),
        _Field(Column("− ours", number), _difference),
        _Field(Column("95 % interval", number), _interval),
        _Field(Column(LAST_OF_ACCURACY, number), lambda row: _number(row.study.holm, 1, 3)),
    ]
    optional = [
        _Field(Column("untrained", number), lambda row: percent(*row.untrained) if row.untrained else NOTHING),
        _Field(Column("ECE, %", number), lambda row: _number(row.ece, 100, 2)),
        _Field(Column("Brier", number), lambda row: _number(row.brier, 1, 3)),
    ]
    fields += [field for field in optional if any(field.cell(row) != NOTHING for row in rows)]
    fields += [
        _Field(Column("parameters", number), lambda row: NOTHING if row.parameters is None else f"{row.parameters:,}"),
        _Field(Column("memory, MB", number), lambda row: _number(row.memory, 2**-20, 0)),
        _Field(Column("training, s", number), lambda row: _number(row.training_seconds, 1, 1)),
        _Field(Column("adapt, s", number), lambda row: _number(row.adapt_seconds, 1, 4)),
        _Field(Column("an image, ms", number), lambda row: _number(row.predict_seconds, 1000, 2)),
        _Field(Column("norm", text), lambda row: row.study.norm),
    ]
    if any(row.study.cells < row.study.of for row in rows):
        fields.append(_Field(Column("trainings", number), lambda row: f"{row.study.cells} of {row.study.of}"))
    if any(row.published for row in rows):
        fields.append(_Field(Column("PUBLISHED, other pipelines", text), notes.cell))
    return fields


def _accuracy_on(target: str) -> Callable[[CompareRow], str]:
    return lambda row: percent(*row.study.targets[target]) if target in row.study.targets else NOTHING


def _average(targets: Sequence[str]) -> Callable[[CompareRow], str]:
    """Return the cell of the average; of fewer targets than other rows have it would compare with none of them."""
    return lambda row: percent(row.study.mean, row.study.ci95) if len(row.study.targets) == len(targets) else NOTHING


def _difference(row: CompareRow) -> str:
    return NOTHING if row.study.difference is None else signed_percent(row.study.difference.mean)


def _interval(row: CompareRow) -> str:
    d = row.study.difference
    return NOTHING if d is None else f"{signed_percent(d.low)} to {signed_percent(d.high)}"


def _number(value: float | None, factor: float, digits: int) -> str:
    return NOTHING if value is None else f"{factor * value:,.{digits}f}"


def _leading(cell: str) -> float:
    return -1.0 if cell == NOTHING else float(cell.split(" ")[0])


class _Notes:
    """Published numbers as a cell, and where each comes from as a note with a letter."""

    def __init__(self, plan: Plan, rows: Sequence[CompareRow]) -> None:
        said = (published.note(plan.suite) for row in rows for published in row.published)
        self.plan = plan
        self.letters = {note: _letter(i) for i, note in enumerate(dict.fromkeys(said))}

    def cell(self, row: CompareRow) -> str:
        """Return what was published of a row: target, number, letter."""
        return "; ".join(map(self._one, row.published)) or NOTHING

    def _one(self, p: Published) -> str:
        interval = "" if p.ci95 is None else f" ± {100 * p.ci95:.2f}"
        return f"{p.target} {100 * p.mean:.2f}{interval} [{self.letters[p.note(self.plan.suite)]}]"

    def lines(self) -> list[str]:
        """Return the notes."""
        return [f"[{letter}] {note}." for note, letter in self.letters.items()]


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"a{number}"


def _heading(plan: Plan, rows: Sequence[CompareRow]) -> str:
    if not rows:
        return "Nothing is done yet."
    first = rows[0].study
    seeds = ", ".join(map(str, sorted({seed for row in rows for seed in row.study.seeds})))
    suite = ", STAND-INS for its datasets (suite core)" if plan.suite == "core" else ""
    protocol = f", protocol {plan.protocol}{suite}" if plan.protocol else ""
    return (
        f"Accuracy in %, {first.n_way}-way {first.k_shot}-shot, {first.n_way * first.n_query} queries, "
        f"{first.episodes:,} test episodes a training, 95 % intervals over them; every method trained to "
        f"{plan.rungs[0].budget}, training seeds {seeds}, checkpoint {first.checkpoint}{protocol}"
        f"{groups_ignored([row.study for row in rows])}."
    )


def _below(plan: Plan, part: Part, notes: _Notes) -> list[str]:
    rows = part.rows
    if not rows:
        return []
    ours = entry_of(plan.against).label
    budget = plan.rungs[0].budget
    lines = [
        f"− ours: difference to {ours} in points, on the same episodes, with its 95 % interval by bootstrap over "
        "targets, seeds and episodes; p by Holm's correction over the rows.",
        _budget_in_words(plan, rows),
        "Memory: the most that a training's process held, Python and torch in it. adapt: seconds of one thread until a "
        "new task is learned; an image: milliseconds for each further query. norm: whose statistics normalise at test; "
        "under batch queries are judged together.",
    ]
    if any(row.untrained for row in rows):
        lines.append("untrained: the average of the same network before training, on the same episodes.")
    if any(row.ece is not None for row in rows):
        lines.append(
            "ECE: how far confidence is from accuracy, 15 bins; 0 is best. Brier: squared error of the probabilities, "
            "0 is best, 2 worst. Both are means over trainings."
        )
    if part.choices:
        lines.append(_alike_in_words(min(choice.seeds for choice in part.choices)))
    if len({len(row.study.targets) for row in rows}) > 1:
        lines.append("average: only of rows that have every target of the table.")
    started = [setting for setting in plan.starts if setting in {row.name for row in rows}]
    if started:
        lines.append(
            f"Where a row begins with another run, that run's training counts: {budget} are of both together, and so "
            "are its seconds."
        )
    there = {row.name for row in rows}
    absent = [entry_of(name) for name in plan.settings if name not in plan.hidden and name not in there]
    if absent:
        lines.append(f"Not begun: {', '.join(entry.short for entry in absent)}.")
    lines += [*_departures(rows), *replaced(plan)]
    if notes.letters:
        lines.append(
            "PUBLISHED numbers are of other pipelines and stand apart: no interval or difference here uses them."
        )
    elif plan.protocol:
        lines.append("No published number of these rows, targets and shots is known.")
    return [*lines, *notes.lines()]


def _departures(rows: Sequence[CompareRow]) -> list[str]:
    """Return where rows are not as their protocol says: what most share, then by name what others say."""
    by: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        by.setdefault(row.study.departs, []).append(row.short)
    parts = sorted(by.items(), key=lambda one: -len(one[1]))
    said = ["; ".join(departs) or "as the protocol says" for departs, _ in parts]
    if said in ([], ["as the protocol says"]):
        return []
    others = [f"{', '.join(labels)}: {text}." for (_, labels), text in zip(parts[1:], said[1:], strict=True)]
    return [f"Beside the protocol, all rows{' but those named next' if others else ''}: {said[0]}.", *others]


def _alike_in_words(seeds: int) -> str:
    by = f"p of {LEVEL} or more by the same bootstrap, difference to the best row, corrected over the rows of that case"
    flatters = "The best is chosen by the episodes that it is measured on, which flatters it."
    if seeds > 1:
        return f"Not shown to be worse: {by}. {flatters}"
    return f"Near it: {by}; but one seed knows nothing of what training again would change. {flatters}"


def _budget_in_words(plan: Plan, rows: Sequence[CompareRow]) -> str:
    budget = plan.rungs[0].budget
    images = [row.images for row in rows if row.images]
    seen = f"{min(images):,.0f} to {max(images):,.0f}" if images else "no"
    what = {
        "minutes": "of training on one core, validation in it",
        "steps": "of the outer loop, whatever each costs",
        "images": "to train on, counted again each time they are seen",
    }[budget.unit]
    return f"Budget: {budget} {what}; {seen} training images were seen."
