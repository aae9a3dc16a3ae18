"""Result rows as a table for a terminal of the width at hand; in a narrow one, what all rows share is said once."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from rotogbml.evaluation.cells import (
    ACCURACY,
    COLUMNS,
    Column,
    Row,
    best,
    by_target,
    cells,
    firsts,
    paired_table,
)
from rotogbml.evaluation.further import TITLE, WORDS, further

WHOLE = 112  # columns of a terminal in which every column of the table has its place
ALWAYS = ("method", "target", COLUMNS[ACCURACY].title)


def text(rows: Sequence[Row], paired: Sequence[Row]) -> str:
    """Return the table, then the paired differences; bold and rules only where the output is a terminal."""
    from rich.console import Console

    buffer = io.StringIO()
    width = max(shutil.get_terminal_size((140, 24)).columns, 60)
    console = Console(file=buffer, width=width, force_terminal=sys.stdout.isatty(), highlight=False, markup=False)
    if rows:
        _results(console, by_target(rows), width < WHOLE)
        columns, more = further(by_target(rows))
        if more:
            console.print(f"\n{TITLE}")
            console.print(_table(columns, more, groups=firsts(by_target(rows))))
            console.print(WORDS, style="dim")
    else:
        console.print("No result rows.")
    if paired:
        compared, columns, body = paired_table(paired)
        console.print(f"\nPaired differences, episode by episode, in points{': ' * bool(compared)}{compared}")
        console.print(_table(columns, body))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).strip("\n") + "\n"


def _results(console: Any, rows: Sequence[Row], narrow: bool) -> None:
    body = [cells(row, names=1) for row in rows]
    same = [len({line[c] for line in body}) == 1 for c in range(len(COLUMNS))]
    kept = [c for c, column in enumerate(COLUMNS) if not (narrow and same[c] and column.title not in ALWAYS)]
    top = best(rows)
    for index in top:
        body[index][ACCURACY] += " *"
    shown = [[line[c] for c in kept] for line in body]
    console.print(_table([COLUMNS[c] for c in kept], shown, {(r, kept.index(ACCURACY)) for r in top}, firsts(rows)))
    shared = [f"{column.title} {body[0][c]}" for c, column in enumerate(COLUMNS) if c not in kept]
    if shared:
        console.print(f"In every row: {', '.join(shared)}.", style="dim")
    console.print("* best mean of its target. queries: in one episode, all classes together.", style="dim")


def _table(
    columns: Sequence[Column],
    body: Sequence[Sequence[str]],
    bold: set[tuple[int, int]] | None = None,
    groups: set[int] | None = None,
) -> Any:
    """Build the table; ``groups`` are the rows that begin a new group."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for column in columns:
        title = column.title.replace(" ± ", "\n± ").replace("training ", "training\n")
        justify = "right" if column.number else "left"
        table.add_column(title, justify=justify, overflow="fold", no_wrap=column.number)
    for r, line in enumerate(body):
        texts = (Text(cell, style="bold" if (r, c) in (bold or ()) else "") for c, cell in enumerate(line))
        table.add_row(*texts, end_section=r + 1 in (groups or ()))
    return table
