"""A study's validation accuracy over meta-steps, from its outcomes: ``python -m docs.course docs/study/STUDY.jsonl``.

Draws ``docs/STUDY.svg``, a panel a learner. Outcomes keep the course that a run's ``metrics.jsonl`` had, so that the
figure can be drawn when the runs' folders are gone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rotogbml.studies.ledger import Outcome, budget_of, cell_of, read_lines
from rotogbml.studies.plan import Cell

HERE = Path(__file__).resolve().parent
HUES = ("#0561cd", "#d2390c", "#0ba46f", "#bb6fb3")


def courses(results: Path) -> dict[Cell, Outcome]:
    """Return the outcome of each training that has a course; that of its largest budget, which has the whole of it."""
    found: dict[Cell, Outcome] = {}
    for outcome in read_lines(results):
        cell = cell_of(outcome)
        if outcome.get("validation") and (cell not in found or budget_of(outcome) > budget_of(found[cell])):
            found[cell] = outcome
    if not found:
        sys.exit(f"{results} holds no outcome with a course of validation: its trainings are older, or validated never")
    return found


def draw(results: Path, out: Path, level: float | None = None) -> str:
    """Draw the courses and return the caption.

    Args:
        results: a study's outcomes.
        out: the .svg.
        level: an accuracy to compare with, per cent; a dotted line.
    """
    found = courses(results)
    learners = list(dict.fromkeys(cell.learner for cell in found))
    settings = list(dict.fromkeys(cell.setting for cell in found))
    figure, axes = _panels(len(learners))
    for panel, learner in zip(axes, learners, strict=True):
        for cell, outcome in found.items():
            if cell.learner == learner:
                hue = HUES[settings.index(cell.setting) % len(HUES)]
                steps, mean, ci95 = np.array(outcome["validation"]).T
                panel.plot(steps, 100 * mean, color=hue, linewidth=1.3, marker=".", markersize=4, label=cell.setting)
                panel.fill_between(steps, 100 * (mean - ci95), 100 * (mean + ci95), color=hue, alpha=0.12, linewidth=0)
        if level is not None:
            panel.axhline(level, color="0.4", linewidth=1, linestyle=":")
        panel.set(title=learner, xlabel="meta-steps", ylabel="validation accuracy, %")
        names = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))  # seeds share a line's name
        panel.legend(names.values(), names.keys(), fontsize=7, frameon=False, loc="lower right")
    figure.savefig(out, metadata={"Date": None})
    return "\n".join(_said(cell, outcome) for cell, outcome in found.items())


def _said(cell: Cell, outcome: Outcome) -> str:
    steps, mean, ci95 = np.array(outcome["validation"]).T
    trained = f"{cell.target} {cell.k_shot}-shot, seed {cell.seed}: {int(steps[-1]):,} steps in {budget_of(outcome)}"
    best = f"{100 * mean.max():.2f} (step {int(steps[mean.argmax()]):,})"
    last = f"{100 * mean[-1]:.2f} ± {100 * ci95[-1]:.2f} %"
    return f"{cell.learner}, {cell.setting}, {trained}; validation at best {best}, at last {last}"


def _panels(n: int) -> tuple[Any, Any]:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.hashsalt": "rotogbml", "font.size": 9.0, "svg.fonttype": "none"})
    figure = Figure(figsize=(4.6 * n, 3.4), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False, sharey=True)[0]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m docs.course", description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="a study's results.jsonl, or its copy in docs/study")
    parser.add_argument("--out", type=Path, help="docs/STUDY.svg where not given")
    parser.add_argument("--level", type=float, help="an accuracy to compare with, per cent: a dotted line")
    given = parser.parse_args(arguments)
    print(draw(given.results, given.out or HERE / f"{given.results.stem}.svg", given.level))


if __name__ == "__main__":
    main()
