"""A comparison as figures: accuracy against what it costs, differences to ours, and how each method learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rotogbml.comparison.roster import BLOCKS
from rotogbml.comparison.rows import CompareRow
from rotogbml.numbers import signed
from rotogbml.reports import svg
from rotogbml.reports.figures import MARKS, Plot, Series, Style, lines, styles

_STYLE = {block: Style(hue=i, mark=i) for i, block in enumerate(BLOCKS)}


def figures(rows: Sequence[CompareRow], ours: str) -> list[Plot]:
    """Return the figures of one table's rows; those for which nothing was measured are left out.

    Args:
        rows: of the table; a point bears its row's number. An average has its place where it is of all targets.
        ours: label of the row that all are compared with.
    """
    targets = {target for row in rows for target in row.study.targets}
    whole = [row for row in rows if len(row.study.targets) == len(targets)]
    drawn = [
        _against(
            whole, "Accuracy against seconds of training", "seconds of training", lambda row: row.training_seconds
        ),
        _against(
            whole,
            "Accuracy against seconds of adaptation",
            "seconds of adaptation to a new task, one thread",
            lambda row: row.adapt_seconds,
        ),
        _differences(rows, ours),
        _courses(rows),
    ]
    return [plot for plot in drawn if plot is not None]


def _against(
    rows: Sequence[CompareRow], title: str, label: str, cost: Callable[[CompareRow], float | None]
) -> Plot | None:
    """Draw each row's average accuracy over a cost, in a logarithm where costs are far apart; 0 has its place."""
    points = [(row, x) for row in rows if (x := cost(row)) is not None]
    if not points:
        return None
    positive = [x for _, x in points if x > 0]
    with svg.style():
        figure, axes = svg.panel(height=3.6)
        for row, x in points:
            style = _STYLE[row.block]
            axes.errorbar(
                x,
                100 * row.study.mean,
                yerr=100 * row.study.ci95,
                fmt=MARKS[style.mark or 0][0],
                color=style.colour,
                markersize=5,
                linewidth=0.8,
            )
            at = (x, 100 * row.study.mean)
            axes.annotate(str(row.number), at, xytext=(4, 3), textcoords="offset points", fontsize=8)
        if positive and max(positive) > 10 * min(positive):
            if len(positive) < len(points):
                axes.set_xscale("symlog", linthresh=min(positive))
            else:
                axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
            axes.xaxis.get_major_locator().set_params(numticks=6)
            axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.set_xlabel(label)
        axes.set_ylabel("average accuracy, %")
        axes.grid(color=svg.INK, alpha=0.12, linewidth=0.6)
        text = svg.write(figure)
    words = "; ".join(f"{row.number} {row.label} {100 * row.study.mean:.1f} % at {x:.3g} s" for row, x in points)
    shown = {row.block for row, _ in points}
    legend = [(block, style) for block, style in _STYLE.items() if block in shown]
    return Plot(text, title, f"{title}: {words}", legend, "numbers are the table's rows")


def _differences(rows: Sequence[CompareRow], ours: str) -> Plot | None:
    """Draw each row's paired difference to ours with its interval, one below the other."""
    found = [(row, row.study.difference) for row in rows if row.study.difference is not None]
    if not found:
        return None
    with svg.style():
        figure, axes = svg.panel(width=6.4, height=1.0 + 0.24 * len(found))
        axes.axvline(0, color=svg.INK, linewidth=0.7, alpha=0.6)
        for place, (row, d) in enumerate(found):
            style = _STYLE[row.block]
            reach = [[100 * (d.mean - d.low)], [100 * (d.high - d.mean)]]
            axes.errorbar(
                100 * d.mean,
                place,
                xerr=[[max(0.0, side[0])] for side in reach],
                fmt=MARKS[style.mark or 0][0],
                color=style.colour,
                markersize=5,
                linewidth=1.3,
            )
        axes.set_yticks(range(len(found)), [f"{_short(row.short)}  {row.number}" for row, _ in found], fontsize=8.5)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.set_xlabel("points above ours")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=svg.INK, alpha=0.12, linewidth=0.6)
        text = svg.write(figure)
    title = f"Difference to {ours}, 95 % interval"
    words = "; ".join(f"{row.label} {signed(100 * d.mean, 2)}" for row, d in found)
    shown = {row.block for row, _ in found}
    legend = [(block, style) for block, style in _STYLE.items() if block in shown]
    return Plot(text, title, f"{title}: {words}", legend)


def _courses(rows: Sequence[CompareRow]) -> Plot | None:
    """Draw validation accuracy over seconds of training."""
    found = [row for row in rows if row.course]
    if not found:
        return None
    names = {row.number: f"{row.number} {row.short}" for row in found}
    chosen = styles({names[row.number]: row.course[-1][1] for row in found})
    series = [
        Series(name, [x for x, _ in row.course], [y for _, y in row.course], chosen[name], marks=True)
        for row, name in zip(found, names.values(), strict=True)
    ]
    return lines(
        "Validation on the training sources",
        series,
        "accuracy, %",
        percent=True,
        x_label="seconds of training",
    )


def _short(label: str, most: int = 34) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"
