"""Fill the tables of pages from comparisons kept beside them: ``python -m docs.comparison_tables [--write] [PAGE …]``.

A page says where a table stands, and this puts it between the two lines::

    <!-- compare core-1-shot -->        the table of docs/study/core-1-shot/, as ``rotogbml compare table`` prints it
    <!-- which core-1-shot glyphs -->   what several of them say to one who must choose
    <!-- /compare -->

A folder there holds a comparison's ``plan.yaml`` and ``results.jsonl``. Without ``--write`` pages that would change are
named, and the exit status is 1.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from docs.study_tables import fill_pages

from rotogbml.comparison.choice import LEVEL, Choice, points, time_in_words
from rotogbml.comparison.parts import parts_of
from rotogbml.comparison.render import render
from rotogbml.comparison.verb import opened
from rotogbml.evaluation.cells import NOTHING, percent
from rotogbml.studies.ledger import Ledger
from rotogbml.training.progress import clock

HERE = Path(__file__).resolve().parent
PLACE = re.compile(r"(<!-- (compare|which)((?: [\w.+-]+)+) -->\n).*?(<!-- /compare -->)", re.DOTALL)
ALIKE = 4
"""How many of those not shown to be worse are named in a cell."""


def filled(page: str, outcomes: Path = HERE / "study") -> str:
    """Return a page with its tables as the outcomes say them."""
    write = {"compare": compared, "which": which}
    return PLACE.sub(lambda found: found[1] + write[found[2]](found[3].split(), outcomes) + found[4], page)


def compared(names: list[str], outcomes: Path) -> str:
    """Return the tables of some comparisons in Markdown, and what each took."""
    said = []
    for name in names:
        ledger = opened(str(outcomes / name))
        took = f"{len(ledger.done)} trainings, {clock(ledger.seconds)} on one core, tests in it."
        said.append("\n" + render(ledger.plan, parts_of(ledger), "markdown") + f"\n{took}\n\n")
    return "".join(said)


def which(names: list[str], outcomes: Path) -> str:
    """Return the decision table of some comparisons: a line for each case of each."""
    titles = "case", "measured on", "best", "not shown to be worse", "of these the quickest", "of these the surest"
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for name in names:
        ledger = opened(str(outcomes / name))
        for part in parts_of(ledger):
            lines += [_line(ledger, part.k_shot, choice) for choice in part.choices]
    note = (
        f"Not shown to be worse: p of {LEVEL} or more by Holm's correction over the rows of that case, with the "
        "difference to the best in points; of one seed a ranking and no more. Quickest: to learn a new task, on one "
        "thread. Surest: least Brier score."
    )
    return "\n" + "\n".join(lines) + f"\n\n{note}\n\n"


def _line(ledger: Ledger, k_shot: int, choice: Choice) -> str:
    best, quickest, surest = choice.best, choice.quickest, choice.surest
    alike = [f"{row.short}{points(difference)}" for row, difference in choice.alike[:ALIKE]]
    more = len(choice.alike) - len(alike)
    quick = None if quickest is None or quickest.adapt_seconds is None else time_in_words(quickest.adapt_seconds)
    sure = None if surest is None or surest.brier is None else f"{surest.brier:.3f}"
    cells = [
        choice.situation,
        f"{_where(ledger)}, {k_shot}-shot, {'one seed' if choice.seeds == 1 else f'{choice.seeds} seeds'}",
        f"**{best.short}** {percent(best.study.mean, best.study.ci95)}",
        ", ".join([*alike, *([f"{more} more"] if more else [])]) or NOTHING,
        NOTHING if quickest is None or quick is None else f"{quickest.short}, {quick}",
        NOTHING if surest is None or sure is None else f"{surest.short}, {sure}",
    ]
    return "| " + " | ".join(cells) + " |"


def _where(ledger: Ledger) -> str:
    """Return what a comparison was measured on, and how long its rows were trained."""
    plan = ledger.plan
    norm = f", norm {plan.options['encoder.norm']}" if "encoder.norm" in plan.options else ""
    return f"{', '.join(plan.targets)}; {plan.options.get('encoder.name', 'conv4')}{norm}; {plan.rungs[0].budget}"


if __name__ == "__main__":
    sys.exit(fill_pages("python -m docs.comparison_tables", filled, PLACE))
