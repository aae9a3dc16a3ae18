"""A study's rows as people read them: one table for each budget, k_shot and checkpoint; or CSV and JSON, all fields."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Literal

from rotogbml.evaluation.cells import NOTHING, percent
from rotogbml.numbers import signed
from rotogbml.studies.plan import Plan
from rotogbml.studies.statistics import Difference
from rotogbml.studies.table import StudyRow, departures, groups_ignored

Format = Literal["text", "markdown", "csv", "json"]


def render(plan: Plan, rows: Sequence[StudyRow], format: Format) -> str:
    """Return the rows as one string that ends in a line feed; text and markdown have the latest budget first."""
    if format == "csv":
        return _csv(rows)
    if format == "json":
        return json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n"
    if not rows:
        return "Nothing is done yet.\n"
    write = _text if format == "text" else _markdown
    return "\n".join(write(*part) for part in _parts(plan, rows))


def _parts(plan: Plan, rows: Sequence[StudyRow]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield heading, columns and body of each table."""

    def kind(row: StudyRow) -> tuple[float, int, int, int]:
        checkpoint = plan.test.checkpoints.index(row.checkpoint)
        return -row.budget.amount, row.trained_k_shot, row.k_shot, checkpoint

    for _, group in groupby(sorted(rows, key=kind), kind):
        members = list(group)
        first = members[0]
        seeds = ", ".join(map(str, sorted({seed for row in members for seed in row.seeds})))
        protocol = f", protocol {plan.protocol}" + (", stand-ins (suite core)" if plan.suite == "core" else "")
        protocol = protocol if plan.protocol else "; each target held out in its turn"
        aside = groups_ignored(members) + departures(members)
        head = (
            f"{first.budget}, {first.n_way}-way {_shots(first)}, {first.n_way * first.n_query} queries, "
            f"checkpoint {first.checkpoint}, norm {first.norm}, {first.episodes} episodes a training, training seeds "
            f"{seeds}{protocol}{aside}. Difference to {plan.against} in points, with its "
            f"95 % interval by bootstrap over targets, seeds and episodes; {_of_p(members)}."
        )
        targets = [target for target in plan.targets if any(target in row.targets for row in members)]
        columns = ["learner", "setting", *targets, "mean ± 95 % CI", "difference", "95 % interval", "p", "trainings"]
        body = [_cells(row, targets) for row in members]
        most = max(row.cells for row in members)
        alike = [line for row, line in zip(members, body, strict=True) if row.cells == most]
        _star(alike, 2, 3 + len(targets))
        columns += [*(["steps"] if _steps(first) else []), "cosine", "norm ratio"]
        if any(row.turned is not None for row in members):
            columns.append("γ turned")
            body = [[*line, _degrees(row.turned)] for row, line in zip(members, body, strict=True)]
        yield head, columns, body


def _of_p(members: Sequence[StudyRow]) -> str:
    several = any(row.whole > 1 for row in members)
    return "p by Holm's correction over settings" if several else "one seed, so no p, and an interval too narrow"


def _shots(row: StudyRow) -> str:
    trained = "" if row.trained_k_shot == row.k_shot else f" (trained {row.trained_k_shot}-shot)"
    return f"{row.k_shot}-shot{trained}"


def _cells(row: StudyRow, targets: Sequence[str]) -> list[str]:
    each = [percent(*row.targets[target]) if target in row.targets else NOTHING for target in targets]
    difference, interval = _said(row.difference)
    return [
        row.learner,
        row.setting,
        *each,
        percent(row.mean, row.ci95) if len(row.targets) == len(targets) else NOTHING,  # of others it would mislead
        difference,
        interval,
        NOTHING if row.holm is None else f"{row.holm:.2g}",
        f"{row.cells} of {row.of}",
        *_steps(row),
        NOTHING if row.cosine is None else f"{row.cosine:.3f}",
        NOTHING if row.spread is None else f"{row.spread:.2f}",
    ]


def _steps(row: StudyRow) -> list[str]:
    """Return the steps that were taken, where the budget is another one: there they are a result."""
    return [] if row.budget.unit == "steps" else [f"{row.steps:,.0f}"]


def _degrees(turned: float | None) -> str:
    return NOTHING if turned is None else f"{math.degrees(turned):.1f}°"


def _star(body: list[list[str]], first: int, last: int) -> None:
    """Put ``**`` about the best of each column of accuracies, among rows of as many trainings; as printed."""
    for c in range(first, last):
        best = max((line[c] for line in body if line[c] != NOTHING), key=_leading, default=NOTHING)
        for line in body:
            if line[c] != NOTHING and _leading(line[c]) == _leading(best) and len(body) > 1:
                line[c] = f"**{line[c]}**"


def _leading(cell: str) -> float:
    return float(cell.split(" ")[0].strip("*"))


def _said(difference: Difference | None) -> tuple[str, str]:
    if difference is None:
        return NOTHING, NOTHING
    mean, low, high = (signed(100 * value, 2) for value in difference[:3])
    return mean, f"{low} to {high}"


def _markdown(head: str, columns: list[str], body: list[list[str]]) -> str:
    rule = ["---" if column in ("learner", "setting") else "---:" for column in columns]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in [columns, rule, *body]]
    return "\n".join([head, "", *lines, ""])


def _text(head: str, columns: list[str], body: list[list[str]]) -> str:
    width = [max(len(line[c]) for line in [columns, *body]) for c in range(len(columns))]

    def line(cells: list[str]) -> str:
        texts = (
            cell.ljust(w) if c < 2 else cell.rjust(w) for c, (cell, w) in enumerate(zip(cells, width, strict=True))
        )
        return "  ".join(texts).rstrip()

    return "\n".join([head, "", line(columns), *map(line, body), ""])


def _csv(rows: Sequence[StudyRow]) -> str:
    buffer = io.StringIO()
    names = [name for name in StudyRow.__dataclass_fields__ if name not in ("budget", "targets", "seeds", "difference")]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*names, "budget", "difference", "low", "high", "p", "seeds", "targets"])
    for row in rows:
        d: Sequence[float | str] = row.difference or ("", "", "", "")
        targets = " ".join(f"{name}={mean:.6f}±{ci95:.6f}" for name, (mean, ci95) in row.targets.items())
        writer.writerow(
            [*(getattr(row, name) for name in names), str(row.budget), *d, " ".join(map(str, row.seeds)), targets]
        )
    return buffer.getvalue()
