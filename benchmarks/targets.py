"""What the step was to reach, beside what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ways import BF16, BF16_PAIR, OURS, PAIR, PLAIN

Record = dict[str, Any]
Others = dict[str, Record]
"""The records of other benchmarks, by the names of ``OTHERS``; empty where there is none."""
OTHERS = ("step", "data", "evaluation")


@dataclass(frozen=True)
class Measured:
    """A value and its range over rounds; both ends are the value where it was taken once."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Target:
    """A bar.

    Attributes:
        work: what is done.
        against: what it is held against.
        bar: the number to reach.
        least: whether the number is to be at least the bar; else at most.
        unit: ``×`` or ``%``.
        find: takes it from the record of ``benchmarks.speed``, or from another; KeyError: not there.
        command: what measures it, where ``benchmarks.speed`` does not.
    """

    work: str
    against: str
    bar: float
    least: bool
    unit: str
    find: Callable[[Record, Others], Measured]
    command: str = ""

    def shown_bar(self) -> str:
        """Return the bar as the table has it."""
        return f"{'≥' if self.least else '≤'} {self.bar:g} {self.unit}"

    def verdict(self, found: Measured) -> str:
        """Return ``met`` or ``missed``; where the range over rounds holds the bar, that it does."""
        met = found.value >= self.bar if self.least else found.value <= self.bar
        close = found.low < self.bar < found.high
        return ("met" if met else "**missed**") + (", the bar lies in the range" if close else "")


def faster(work: str, way: str, ours: str = OURS) -> Callable[[Record, Others], Measured]:
    """How many times as long as ours a way takes."""

    def find(record: Record, _: Others) -> Measured:
        rows = record["works"][work]["rows"]
        row, by = rows[way], 1.0 if ours == OURS else rows[ours]["ratio"]
        return Measured(row["ratio"] / by, row["ratio_low"] / by, row["ratio_high"] / by)

    return find


def share_of_peak(work: str, way: str = OURS) -> Callable[[Record, Others], Measured]:
    """Per cent of the machine's peak of float32 convolution."""

    def find(record: Record, _: Others) -> Measured:
        row = record["works"][work]["rows"][way]
        peak = 1e9 * record["peak"][str(row["cores"])]["peak"]
        at_peak = 100 * record["works"][work]["flops"] / peak
        return Measured(at_peak / row["seconds"], at_peak / row["high"], at_peak / row["low"])

    return find


def memory(work: str, way: str) -> Callable[[Record, Others], Measured]:
    """Our peak of resident memory over a way's."""

    def find(record: Record, _: Others) -> Measured:
        rows = record["works"][work]["rows"]
        ratio = rows[OURS]["peak_mb"] / rows[way]["peak_mb"]
        return Measured(ratio, ratio, ratio)

    return find


def more_than_plain(variant: str) -> Callable[[Record, Others], Measured]:
    """Per cent that a variant of ``benchmarks.step`` takes longer than the plain learner."""

    def find(_: Record, others: Others) -> Measured:
        row = others["step"]["table"][variant]
        return Measured(*(100 * (row[key] - 1) for key in ("ratio", "low", "high")))

    return find


def data_inline(_: Record, others: Others) -> Measured:
    """Per cent that a plain step of W1 takes longer when it draws and augments its own tasks."""
    threads = others["data"]["cores"]
    row = others["data"][f"84 px, {threads} threads"]["table"]["closer-look, inline"]
    return Measured(*(100 * (row[key] - 1) for key in ("ratio", "low", "high")))


def evaluation(_: Record, others: Others) -> Measured:
    """How many times as long the naive loop takes for a test episode of MAML."""
    row = others["evaluation"]["table"]["MAML, 84 px"]["graph"]
    return Measured(row["ratio"], row["low"], row["high"])


_STEP = "python -m benchmarks.step"
ANIL_AGAIN = "plain loop, body run in every step"
PEERS = (PLAIN, "higher", "torchopt", "learn2learn's algorithm")
TARGETS = [
    *(Target("W1", way, 3.5, True, "×", faster("W1", way)) for way in PEERS),
    Target("W1, two processes", PLAIN, 3.5, True, "×", faster("W1", PLAIN, PAIR)),
    Target("W1, bf16", PLAIN, 5.0, True, "×", faster("W1", PLAIN, BF16)),
    Target("W1, bf16, two processes", PLAIN, 5.0, True, "×", faster("W1", PLAIN, BF16_PAIR)),
    Target("W1", "peak of f32 convolution", 60, True, "%", share_of_peak("W1")),
    Target("W1, two processes", "peak of f32 convolution", 60, True, "%", share_of_peak("W1", PAIR)),
    *(Target(work, way, 3.0, True, "×", faster(work, way)) for work in ("W2", "W3") for way in PEERS),
    *(Target(f"{w}, two processes", PLAIN, 3.0, True, "×", faster(w, PLAIN, PAIR)) for w in ("W2", "W3")),
    *(Target(work, PLAIN, 1.6, True, "×", faster(work, PLAIN)) for work in ("W4, 5 steps", "W4, 1 step")),
    Target("W1, first order", PLAIN, 2.2, True, "×", faster("W1, first order", PLAIN)),
    Target("W1, ANIL", ANIL_AGAIN, 2.5, True, "×", faster("W1, ANIL", ANIL_AGAIN)),
    Target("W1, ANIL", PLAIN, 2.5, True, "×", faster("W1, ANIL", PLAIN)),
    Target("W1, iMAML", PLAIN, 2.5, True, "×", faster("W1, iMAML", PLAIN)),
    Target("W1, memory", PLAIN, 1.0, False, "×", memory("W1", PLAIN)),
    Target("ω + γ", "step without", 2, False, "%", more_than_plain("ω + γ, support too (default)"), _STEP),
    Target("ISI, 2 layers", "step without", 15, False, "%", more_than_plain("ISI, 2 layers"), _STEP),
    Target("data, drawn and augmented inline", "step without", 3, False, "%", data_inline, "python -m benchmarks.data"),
    Target(
        "600 test episodes of MAML, 84 px", "naive loop", 3, True, "×", evaluation, "python -m benchmarks.evaluation"
    ),
]


def table(record: Record, others: Others) -> str:
    """Return the targets as a Markdown table."""
    lines = ["| work | against | target | measured | range | |", "|---|---|---:|---:|---:|---|"]
    for target in TARGETS:
        start = f"| {target.work} | {target.against} | {target.shown_bar()} |"
        try:
            found = target.find(record, others)
        except KeyError:
            again = f" by `{target.command}`" if target.command else ""
            lines.append(f"{start} | | not measured{again} |")
            continue
        once = found.low == found.high
        spread = "" if once else f"{found.low:.2f}–{found.high:.2f}"
        lines.append(f"{start} {found.value:.2f} {target.unit} | {spread} | {target.verdict(found)} |")
    return "\n".join(lines)


def read_others(results: Path) -> Others:
    """Return the records of other benchmarks that lie in a folder."""
    paths = {name: results / f"{name}.json" for name in OTHERS}
    return {name: json.loads(p.read_text(encoding="utf-8")) if p.exists() else {} for name, p in paths.items()}
