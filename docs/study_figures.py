"""Figures of the studies, from the outcomes in ``docs/study``: ``python -m docs.study_figures [map] [late]``.

- map: docs/map.svg, what homogenizing brought, against how unlike the tasks' gradients were
- late: docs/late.svg, accuracy, cosine and norm ratio against steps, in long trainings
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from docs.averaging import points
from docs.figures import HUES, panels
from docs.study_tables import ledger_of
from matplotlib.axes import Axes

from rotogbml.studies.ledger import Ledger
from rotogbml.studies.table import StudyRow, study_rows

HERE = Path(__file__).resolve().parent
COLOURS = (*HUES, "#555555", "#b07d00", "#8a3ffc")
MARKS = ("o", "s", "^", "D")
DASHES = ("-", "--", ":")
"""Of seeds, in their order."""
CONFLICT = {"cosine": "mean cosine", "spread": "largest norm / smallest"}
"""What a row says of it, and its name."""


def conflict_map(out: Path, ledger: Ledger) -> str:
    """Draw each condition's gain of each setting against the conflict of its plain trainings; return the numbers.

    A condition is what the plan calls a learner. Cosine and norm ratio are those of the plain trainings: what was there
    to be homogenized. Bars are the 95 % intervals of the bootstrap.
    """
    rows = [row for row in study_rows(ledger) if row.checkpoint == ledger.plan.judge]
    plain = {row.learner: row for row in rows if row.setting == ledger.plan.against}
    figure, axes = panels(2, width=9.0, height=4.4)
    said = []
    settings = [name for name in ledger.plan.settings if name != ledger.plan.against]
    for setting, hue, mark in zip(settings, *_enough(settings, COLOURS, MARKS), strict=True):
        found = [(plain[row.learner], row) for row in rows if row.setting == setting and row.learner in plain]
        found = [(base, row) for base, row in found if row.difference is not None and base.cosine is not None]
        for panel, field in zip(axes, CONFLICT, strict=True):
            x = [getattr(base, field) for base, _ in found]
            y, low, high = (
                [100 * getattr(row.difference, part) for _, row in found] for part in ("mean", "low", "high")
            )
            bars = [[m - b for m, b in zip(y, low, strict=True)], [t - m for m, t in zip(y, high, strict=True)]]
            panel.errorbar(x, y, bars, fmt=mark, color=hue, markersize=4, elinewidth=0.6, label=setting)
        said += [f"{row.learner}, {setting}: {_gain(row)}; {_conflict(base)}" for base, row in found]
    for panel, (field, name) in zip(axes, CONFLICT.items(), strict=True):
        panel.axhline(0, color="black", linewidth=0.6)
        panel.set(xlabel=f"{name} of the tasks' gradients (plain)", ylabel="gain over plain, points")
        _name(panel, {learner: getattr(row, field) for learner, row in plain.items()})
    axes[0].legend(fontsize=7, frameon=False)
    figure.savefig(out, metadata={"Date": None})
    return "\n".join(said)


def late(out: Path, ledger: Ledger) -> str:
    """Draw accuracy, cosine and norm ratio of long trainings against steps; return the accuracies.

    A line for each setting and seed: the budgets of a training are one training, and means over other seeds at each
    budget make no curve.
    """
    plan, said = ledger.plan, []
    figure, axes = panels(3, width=11.0, height=3.6)
    fields = {"mean": "accuracy %, mean of targets"} | CONFLICT
    for seed, dash in zip(plan.seeds, *_enough(plan.seeds, DASHES), strict=True):
        rows = [row for row in _of_seed(ledger, seed) if row.checkpoint == plan.judge and row.cells == row.of]
        for setting, hue in zip(plan.settings, *_enough(plan.settings, COLOURS), strict=True):
            course = sorted((row for row in rows if row.setting == setting), key=lambda row: row.steps)
            steps = [row.steps for row in course]
            for panel, field in zip(axes, fields, strict=True):
                values = [getattr(row, field) * (100 if field == "mean" else 1) for row in course]
                label = setting if seed == plan.seeds[0] else None
                panel.plot(steps, values, dash, color=hue, marker=".", linewidth=1.0, label=label)
            said += [f"{setting}, seed {seed}, {row.steps:g} steps: {100 * row.mean:.2f}" for row in course]
    budgets = [rung.budget.amount for rung in plan.rungs]
    for panel, name in zip(axes, fields.values(), strict=True):
        panel.set(xscale="log", xlabel="steps", ylabel=name)
        panel.set_xticks(budgets, [f"{amount:g}" for amount in budgets])
        panel.minorticks_off()
    axes[0].legend(fontsize=7, frameon=False)
    figure.savefig(out, metadata={"Date": None})
    return "\n".join(said)


def _enough(what: Collection[object], *looks: Sequence[str]) -> list[Sequence[str]]:
    """Return as many of each kind of look as there is to be told apart; where there are too few, zip says so."""
    return [look[: len(what)] for look in looks]


def _of_seed(ledger: Ledger, seed: int) -> list[StudyRow]:
    """Return the rows of one seed alone, of every setting at every budget that it has."""
    plan = ledger.plan
    its = [replace(rung, seeds=None) for rung in plan.rungs if seed in (rung.seeds or plan.seeds)]
    alone = [Ledger(replace(plan, seeds=(seed,), rungs=(rung,)), ledger.path) for rung in its]
    return [row for one in alone for row in study_rows(one)]


def _name(panel: Axes, at: dict[str, float], gap: float = 0.045) -> None:
    """Write names over a panel, each above its x, no two nearer than ``gap`` of the panel's width."""
    low, high = panel.get_xlim()
    edge = 0.0
    for name, x in sorted(at.items(), key=lambda one: one[1]):
        place = (x - low) / (high - low)
        edge = max(place, edge)
        panel.annotate(
            name,
            (place, 1.0),
            (edge, 1.06),
            "axes fraction",
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=7,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#555555"},
        )
        edge += gap


def _gain(row: StudyRow) -> str:
    assert row.difference is not None
    return points(row.difference)


def _conflict(row: StudyRow) -> str:
    return f"cosine {row.cosine:.4f}, norm ratio {row.spread:.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what is asked for, or all of which there are outcomes."""
    parser = argparse.ArgumentParser(prog="python -m docs.study_figures", description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", choices=("map", "late", []), help="all where not given")
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args(arguments)
    for name, study, draw in (("map", "conditions", conflict_map), ("late", "late", late)):
        ledger = ledger_of(study)
        if name in given.figures or (not given.figures and ledger.done):
            print(draw(given.out / f"{name}.svg", ledger))


if __name__ == "__main__":
    main()
