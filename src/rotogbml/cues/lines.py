"""From accuracies on altered episodes to the lines of a table, and the table."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from rotogbml.cues.images import DISTORTIONS
from rotogbml.cues.share import shape_share
from rotogbml.evaluation.results import stratified
from rotogbml.numbers import decimal, signed

Values = dict[tuple[str, str], list[np.ndarray]]
"""One array [episodes] a target, by what was measured and the run."""


@dataclass(frozen=True)
class Line:
    """One measure, on all targets together and on each."""

    measure: str
    """``shape share (look)``, ``decided (look)``, ``cues agree (look)``, or ``accuracy, blurred``."""
    severity: str
    values: dict[str, tuple[float, float]]
    """Mean over targets and half width of its 95 % interval over episodes, by method; 0 … 1."""
    differences: dict[str, tuple[float, float]]
    """The first method minus another, paired by episode, by the other's name."""
    targets: dict[str, dict[str, tuple[float, float]]]
    """Mean and half width of each target, by method."""


@dataclass(frozen=True)
class ShapeReport:
    """What ``rotogbml shape`` measured; ``RUN/shape/shape.json`` of the first run is the same."""

    runs: dict[str, str]
    """Run folder of each method as named here."""
    targets: list[str]
    n_way: int
    k_shot: int
    n_query: int
    episodes: int
    seed: int
    checkpoint: str
    command: str
    lines: list[Line] = field(default_factory=list)


def lines_of(measured: Values, methods: list[str], targets: list[str]) -> list[Line]:
    """Return the table's lines: shares first, then accuracies."""
    ways = list(dict.fromkeys(key.split("|")[0] for key, _ in measured if key.split("|")[0] not in DISTORTIONS))
    lines = []
    for way in ways:
        shape, texture, both = (
            {m: measured[f"{way}|{asks}", m] for m in methods} for asks in ("shape", "texture", "both")
        )
        share = {m: [shape_share(s, t) for s, t in zip(shape[m], texture[m], strict=True)] for m in methods}
        either = {m: [s + t for s, t in zip(shape[m], texture[m], strict=True)] for m in methods}
        lines += [
            _line(f"shape share ({way})", "shape / (shape + texture decisions)", share, methods, targets),
            _line(f"decided ({way})", "by shape or by texture", either, methods, targets),
            _line(f"cues agree ({way})", "accuracy without conflict", both, methods, targets),
        ]
    for name, distortion in DISTORTIONS.items():
        accuracy = {m: measured[f"{name}|shape", m] for m in methods}
        lines.append(_line(f"accuracy, {name}", distortion.severity, accuracy, methods, targets))
    return lines


def _line(
    measure: str, severity: str, values: dict[str, list[np.ndarray]], methods: list[str], targets: list[str]
) -> Line:
    first = methods[0]
    return Line(
        measure=measure,
        severity=severity,
        values={m: stratified(values[m]) for m in methods},
        differences={
            m: stratified([a - b for a, b in zip(values[first], values[m], strict=True)]) for m in methods[1:]
        },
        targets={name: {m: stratified([values[m][i]]) for m in methods} for i, name in enumerate(targets)},
    )


def show(report: ShapeReport) -> None:
    """Print the table."""
    console = Console(file=sys.stdout, highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    methods = list(report.runs)
    console.print(
        f"{report.n_way}-way {report.k_shot}-shot, {report.episodes} episodes of each of "
        f"{', '.join(report.targets)}; in %, ± 95 % over episodes (one training run each)"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("measure", no_wrap=True)
    table.add_column("severity", overflow="fold")
    for method in methods:
        table.add_column(method, justify="right", overflow="fold")
    for method in methods[1:]:
        table.add_column(f"first − {method}", justify="right", overflow="fold")
    for line in report.lines:
        cells = [_percent(*line.values[m]) for m in methods]
        table.add_row(
            line.measure, line.severity, *cells, *(_percent(*line.differences[m], signed) for m in methods[1:])
        )
    console.print(table)


def _percent(mean: float, half: float, said: Callable[[float, int], str] = decimal) -> str:
    return f"{said(100 * mean, 1)} ± {100 * half:.1f}" if math.isfinite(mean) else "–"
