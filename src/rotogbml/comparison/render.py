"""A comparison's table as text, Markdown and LaTeX for people, as CSV and JSON with every field in whole precision."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from rotogbml.comparison.cells import LAST_OF_ACCURACY, Table, table_of
from rotogbml.comparison.choice import Choice
from rotogbml.comparison.parts import Part
from rotogbml.comparison.rows import CompareRow
from rotogbml.evaluation.tables import latex_escape, markdown_escape
from rotogbml.studies.plan import Plan

Format = Literal["text", "markdown", "latex", "csv", "json"]
WHICH = "Which one to use, by these rows:"


def render(plan: Plan, parts: Sequence[Part], format: Format) -> str:
    """Return the rows as one string that ends in a line feed, a table for each number of shots."""
    if format == "csv":
        return _csv([_flat(plan, row) for part in parts for row in part.rows])
    if format == "json":
        whole = {
            "budget": str(plan.rungs[0].budget),
            "protocol": plan.protocol,
            "stand_ins": plan.suite == "core",
            "ours": plan.against,
            "choices": [{"k_shot": part.k_shot, **_chosen(choice)} for part in parts for choice in part.choices],
            "rows": [_tree(row) for part in parts for row in part.rows],
        }
        return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
    write = {"text": _text, "markdown": _markdown, "latex": _latex}[format]
    return "\n".join(write(table_of(plan, part)) for part in parts if part.rows) or "Nothing is done yet.\n"


def _text(table: Table) -> str:
    """Write the table for a terminal: accuracies first, then what the rows say beside them."""
    titles = [column.title for column in table.columns]
    cut = titles.index(LAST_OF_ACCURACY) + 1
    halves = (list(range(cut)), [0, 1, *range(cut, len(titles))])
    which = [WHICH, *(f"  {line}" for line in table.choices), ""] if table.choices else []
    return "\n".join([table.heading, "", *(_lines(table, half) for half in halves), *which, *table.below, ""])


def _lines(table: Table, chosen: Sequence[int]) -> str:
    titles = [column.title for column in table.columns]
    body = _starred(table)
    width = {c: max(len(line[c]) for line in [titles, *body]) for c in chosen}

    def line(cells: Sequence[str]) -> str:
        parts = (cells[c].rjust(width[c]) if table.columns[c].number else cells[c].ljust(width[c]) for c in chosen)
        return "  ".join(parts).rstrip()

    said, rest = [line(titles)], iter(body)
    for block, members in table.blocks:
        said += [f"-- {block}", *(line(next(rest)) for _ in members)]
    return "\n".join([*said, ""])


def _starred(table: Table) -> list[list[str]]:
    return [
        [f"**{cell}**" if c in bold else cell for c, cell in enumerate(line)]
        for (_, lines), bolds in zip(table.blocks, table.bold, strict=True)
        for line, bold in zip(lines, bolds, strict=True)
    ]


def _markdown(table: Table) -> str:
    titles = [markdown_escape(column.title) for column in table.columns]
    rule = ["---:" if column.number else "---" for column in table.columns]
    lines = [titles, rule]
    for (block, members), bolds in zip(table.blocks, table.bold, strict=True):
        lines.append(["", f"*{block}*", *[""] * (len(titles) - 2)])
        for cells, bold in zip(members, bolds, strict=True):
            escaped = [markdown_escape(cell) for cell in cells]
            lines.append([f"**{cell}**" if c in bold else cell for c, cell in enumerate(escaped)])
    body = ["| " + " | ".join(line) + " |" for line in lines]
    which = [f"**{WHICH}**", "", *(f"- {markdown_escape(line)}" for line in table.choices), ""] if table.choices else []
    notes = [f"- {markdown_escape(line)}" for line in table.below]
    return "\n".join([markdown_escape(table.heading), "", *body, "", *which, *notes, ""])


def _latex(table: Table) -> str:
    form = "".join("r" if column.number else "l" for column in table.columns)
    wide = len(table.columns)
    lines = ["% \\usepackage{booktabs}", f"% {table.heading}", rf"\begin{{tabular}}{{{form}}}", r"\toprule"]
    lines.append(" & ".join(latex_escape(column.title) for column in table.columns) + r" \\")
    for (block, members), bolds in zip(table.blocks, table.bold, strict=True):
        lines += [r"\midrule", rf"\multicolumn{{{wide}}}{{l}}{{\textit{{{latex_escape(block)}}}}} \\"]
        for cells, bold in zip(members, bolds, strict=True):
            escaped = [latex_escape(cell) for cell in cells]
            lines.append(" & ".join(rf"\textbf{{{x}}}" if c in bold else x for c, x in enumerate(escaped)) + r" \\")
    notes = [f"% {line}" for line in [*table.choices, *table.below] if line not in table.must]
    said = [rf"\par\footnotesize {latex_escape(line)}" for line in table.must]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *said, *notes, ""])


def _tree(row: CompareRow) -> dict[str, Any]:
    """Return every field of a row, for machines."""
    tree = asdict(row)
    study = tree.pop("study")
    study["budget"] = str(row.study.budget)
    difference = row.study.difference
    study["difference"] = None if difference is None else difference._asdict()
    return {**tree, **{name: value for name, value in study.items() if name not in ("learner", "setting")}}


def _chosen(choice: Choice) -> dict[str, Any]:
    """Return a choice by the names of its rows."""
    told = {"quickest": choice.quickest, "surest": choice.surest}
    return {
        "situation": choice.situation,
        "seeds": choice.seeds,
        "best": choice.best.name,
        "alike": [row.name for row, _ in choice.alike],
        **{name: None if row is None else row.name for name, row in told.items()},
    }


_MEASURED = ("memory", "training_seconds", "adapt_seconds", "predict_seconds")
"""What no two runs have alike."""


def _flat(plan: Plan, row: CompareRow) -> dict[str, Any]:
    """Return a row as one line of CSV; accuracies are 0 … 1, published ones too."""
    tree = _tree(row)
    flat: dict[str, Any] = {"protocol": plan.protocol, "stand_ins": plan.suite == "core", "ours": plan.against}
    flat |= {name: value for name, value in tree.items() if not isinstance(value, dict | list | tuple)}
    flat |= {f"accuracy {target}": mean for target, (mean, _) in row.study.targets.items()}
    flat |= {f"ci95 {target}": ci95 for target, (_, ci95) in row.study.targets.items()}
    d = row.study.difference
    flat |= {"difference": "", "low": "", "high": "", "p": ""} if d is None else d._asdict() | {"difference": d.mean}
    flat["mean"], flat["ci95"] = row.study.mean, row.study.ci95
    flat["untrained"], flat["untrained_ci95"] = row.untrained or ("", "")
    flat["seeds"] = " ".join(map(str, row.study.seeds))
    flat["published_elsewhere"] = "; ".join(
        f"{p.target} {p.mean:.4f}{'' if p.ci95 is None else f' ± {p.ci95:.4f}'} ({p.note(plan.suite)})"
        for p in row.published
    )
    return flat


def _csv(lines: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for line in lines for name in line))
    names = [*(name for name in names if name not in _MEASURED), *(name for name in _MEASURED if name in names)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in line.items()} for line in lines)
    return buffer.getvalue()
