"""Fill the tables of a page from the outcomes beside it: ``python docs/study_tables.py [--write] [PAGE …]``.

A page says where a table stands and which, and this puts it between the two lines::

    <!-- study stage1 budget=300 learner=maml-fo k_shot=1 checkpoint=averaged -->
    <!-- /study -->

The name is a plan's; its outcomes are ``docs/study/NAME.jsonl``. A study that a protocol made, and no plan of ours, has
a folder there with its ``plan.yaml`` and ``results.jsonl``. What is not said is not chosen by. Without ``--write``
pages that would change are named, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from rotogbml.studies.ledger import FILE, Ledger
from rotogbml.studies.plan_file import read_plan
from rotogbml.studies.render import render
from rotogbml.studies.table import StudyRow, study_rows
from rotogbml.training.progress import clock

HERE = Path(__file__).resolve().parent
PLACE = re.compile(r"(<!-- study (\S+)((?: \S+=\S+)*) -->\n).*?(<!-- /study -->)", re.DOTALL)


def filled(page: str, outcomes: Path = HERE / "study") -> str:
    """Return a page with its tables as the outcomes say them."""
    return PLACE.sub(lambda found: found[1] + table(found[2], found[3].split(), outcomes) + found[4], page)


def ledger_of(name: str, outcomes: Path = HERE / "study") -> Ledger:
    """Return a study's outcomes as they are kept beside the pages."""
    made = outcomes / name / "plan.yaml"
    if made.exists():
        return Ledger(read_plan(str(made)), made.with_name(FILE))
    return Ledger(read_plan(name), outcomes / f"{name}.jsonl")


def table(name: str, chosen: list[str], outcomes: Path) -> str:
    """Return a study's table in Markdown, and what it took; of the rows that are as ``chosen``."""
    ledger = ledger_of(name, outcomes)
    wanted = dict(one.split("=", 1) for one in chosen)
    rows = [row for row in study_rows(ledger) if all(said(row, field) == value for field, value in wanted.items())]
    if not rows:
        return "\nNothing is done yet.\n\n"
    cells = sum(row.cells for row in rows if row.checkpoint == rows[0].checkpoint and row.k_shot == rows[0].k_shot)
    took = f"{cells} trainings; the whole study so far: {len(ledger.done)}, {clock(ledger.seconds)} on one core each."
    return "\n" + render(ledger.plan, rows, "markdown") + f"\n{took}\n\n"


def said(row: StudyRow, field: str) -> str:
    """Return a row's field as a page says it; a budget by its amount."""
    return f"{row.budget.amount:g}" if field == "budget" else str(getattr(row, field))


def fill_pages(command: str, filled: Callable[[str], str], place: re.Pattern[str]) -> int:
    """Fill the pages that the command line names, or say which are out of date; return the exit status.

    Args:
        command: how the script is called.
        filled: a page's text with its tables anew.
        place: what a table stands between; where the command line names no page, all of this folder that have one.
    """
    parser = argparse.ArgumentParser(prog=command)
    with_tables = [path for path in sorted(HERE.glob("*.md")) if place.search(path.read_text(encoding="utf-8"))]
    parser.add_argument("pages", nargs="*", type=Path, default=with_tables)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    old = []
    for path in given.pages:
        page = path.read_text(encoding="utf-8")
        if filled(page) != page:
            old.append(path)
            if given.write:
                path.write_text(filled(page), encoding="utf-8")
    for path in old:
        print(f"{path} {'written' if given.write else f'is out of date: {command} --write'}")
    return 0 if given.write else len(old) > 0


if __name__ == "__main__":
    sys.exit(fill_pages("python docs/study_tables.py", filled, PLACE))
