"""Result rows → a table: terminal, Markdown, CSV, LaTeX or JSON.

A row is one method on one target as ``evaluation/results.json`` keeps it; accuracies are fractions there and in
CSV and JSON (whole precision, every field), percent with two decimals where people read (text, Markdown, LaTeX).
Runs of several training seeds stay rows of their own: a mean over seeds is a claim that the reader should make.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from rotogbml.errors import UsageError, did_you_mean
from rotogbml.evaluation.cells import (
    ACCURACY,
    COLUMNS,
    PAIRED_COLUMNS,
    Column,
    Row,
    best,
    by_target,
    cells,
    paired_cells,
    protocols,
)
from rotogbml.evaluation.further import TITLE, further
from rotogbml.evaluation.terminal import text
from rotogbml.numbers import defined

Format = Literal["text", "markdown", "csv", "latex", "json"]
CSV_FIELDS = (
    *("kind", "method", "versus", "target", "split", "classes", "n_way", "k_shot", "n_query", "episodes", "norm"),
    *("inner_steps", "mean", "ci95", "training_seed", "test_seed", "sources", "steps", "checkpoint", "groups"),
    *("ece", "brier", "brier_ci95", "adapt_seconds", "predict_seconds", "run", "key"),
)


def render(rows: Sequence[Row], paired: Sequence[Row], format: Format) -> str:
    """Return the results as one string that ends in a line feed.

    Args:
        rows: result rows of ``results.json``.
        paired: its paired differences; may be empty.
        format: text (for a terminal of the width at hand), markdown, csv, latex (needs booktabs) or json.

    Raises:
        UsageError: there is no such format.
    """
    if format not in get_args(Format):
        known = get_args(Format)
        raise UsageError(f"no table format '{format}'{did_you_mean(format, known)}: there are {', '.join(known)}")
    writer = {"text": text, "markdown": _markdown, "csv": _csv, "latex": _latex, "json": _json}[format]
    return writer(rows, paired) + _protocols(rows, format)


def _protocols(rows: Sequence[Row], format: Format) -> str:
    """Return a line on the protocol of each run that has one, for the formats that people read."""
    if format in ("csv", "json"):
        return ""
    lines = protocols(rows)
    if not lines:
        return ""
    if format == "markdown":
        return "\n" + "\n".join(f"- {markdown_escape(line)}" for line in lines) + "\n"
    return "\n" + "\n".join(f"% {line}" if format == "latex" else line for line in lines) + "\n"


def _markdown(rows: Sequence[Row], paired: Sequence[Row]) -> str:
    rows = by_target(rows)
    top = best(rows)
    body = [[markdown_escape(cell) for cell in cells(row)] for row in rows]
    for index in top:
        body[index][ACCURACY] = f"**{body[index][ACCURACY]}**"
    parts = [_pipes(COLUMNS, body)]
    columns, more = further(rows)
    if more:
        parts += [f"{TITLE}:", _pipes(columns, [[markdown_escape(cell) for cell in line] for line in more])]
    if paired:
        lines = [[markdown_escape(cell) for cell in paired_cells(pair)] for pair in paired]
        parts += ["Paired differences, episode by episode (percentage points):", _pipes(PAIRED_COLUMNS, lines)]
    return "\n\n".join(parts) + "\n"


def _pipes(columns: Sequence[Column], body: Iterable[Sequence[str]]) -> str:
    head = [markdown_escape(column.title) for column in columns]
    rule = ["---:" if column.number else "---" for column in columns]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])


def _latex(rows: Sequence[Row], paired: Sequence[Row]) -> str:
    rows = by_target(rows)
    top = best(rows)
    body = [[latex_escape(cell) for cell in cells(row)] for row in rows]
    for index in top:
        body[index][ACCURACY] = rf"\textbf{{{body[index][ACCURACY]}}}"
    parts = ["% \\usepackage{booktabs}", _tabular(COLUMNS, body)]
    columns, more = further(rows)
    if more:
        lines = [[latex_escape(cell) for cell in line] for line in more]
        parts += ["", f"% {TITLE[0].lower()}{TITLE[1:]}", _tabular(columns, lines)]
    if paired:
        lines = [[latex_escape(cell) for cell in paired_cells(pair)] for pair in paired]
        parts += ["", "% paired differences, episode by episode (percentage points)", _tabular(PAIRED_COLUMNS, lines)]
    return "\n".join(parts) + "\n"


def _tabular(columns: Sequence[Column], body: Iterable[Sequence[str]]) -> str:
    head = " & ".join(latex_escape(column.title) for column in columns) + r" \\"
    lines = [" & ".join(line) + r" \\" for line in body]
    form = "".join("r" if column.number else "l" for column in columns)
    return "\n".join(
        [rf"\begin{{tabular}}{{{form}}}", r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"]
    )


_LATEX = {
    **{mark: "\\" + mark for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "\n": " ",
}


def latex_escape(text: str) -> str:
    """Return text in which LaTeX sees only characters."""
    return "".join(_LATEX.get(mark, mark) for mark in text)


def markdown_escape(text: str) -> str:
    """Return text on one line in which Markdown sees only characters."""
    return "".join("\\" + mark if mark in r"\`*_[]<>|#~" else mark for mark in text.replace("\n", " "))


def _csv(rows: Sequence[Row], paired: Sequence[Row]) -> str:
    """Write one rectangle: a pair is a line of kind ``difference`` with method − versus in ``mean``."""
    lines = [{"kind": "accuracy", **defined(dict(row)), "sources": ";".join(row.get("sources") or [])} for row in rows]
    lines += [
        {
            "kind": "difference",
            "method": pair.get("a"),
            "versus": pair.get("b"),
            "target": pair.get("target"),
            "mean": pair.get("difference"),
            "ci95": pair.get("ci95"),
            "episodes": pair.get("episodes"),
        }
        for pair in paired
    ]
    more = sorted({name for line in lines for name in line} - set(CSV_FIELDS))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*CSV_FIELDS, *more], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _json(rows: Sequence[Row], paired: Sequence[Row]) -> str:
    whole = {"rows": [dict(row) for row in rows], "paired": [dict(pair) for pair in paired]}
    return json.dumps(defined(whole), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
