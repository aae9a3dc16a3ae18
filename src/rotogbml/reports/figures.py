"""Learning curves, ω, gradient norms, cosines and results as small figures.

One panel a figure: panels stand side by side on a desk and below each other on a phone, legible 400 px wide.
Legends are handed out as data: the page sets them as text that wraps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rotogbml.numbers import signed
from rotogbml.reports import svg

POINTS = 300  # more than this no screen shows; longer runs are averaged over equal stretches
MARKS = (  # matplotlib's name, and the same shape as an SVG path in a box of 10 × 10
    ("o", "M1 5a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z"),
    ("s", "M1.5 1.5h7v7h-7z"),
    ("D", "M5 0.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z"),
    ("^", "M5 1l4.5 8h-9z"),
    ("v", "M5 9l4.5 -8h-9z"),
    ("P", "M3.5 0.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z"),
)
KEPT = 8  # lines of one figure that a reader can still tell apart


@dataclass(frozen=True)
class Style:
    """The hue, dash or mark of what is drawn; a muted line is thin, grey and not in the legend."""

    hue: int = 0
    dash: int = 0
    muted: bool = False
    mark: int | None = None

    @property
    def colour(self) -> str:
        """Return the colour as #rrggbb."""
        return svg.MUTED if self.muted else svg.HUES[self.hue % len(svg.HUES)]

    @property
    def dashes(self) -> str:
        """Return the dash pattern as SVG writes it; empty for a solid line."""
        return svg.DASHES[self.dash % len(svg.DASHES)]

    @property
    def shape(self) -> str | None:
        """Return the mark as an SVG path in a box of 10 × 10; None for a line."""
        return None if self.mark is None else MARKS[self.mark % len(MARKS)][1]


@dataclass(frozen=True)
class Series:
    """One line; ``band`` is the half width of an interval around it, ``marks`` shows each point."""

    label: str
    steps: Sequence[float]
    values: Sequence[float | None]
    style: Style = Style()
    band: Sequence[float | None] | None = None
    marks: bool = False


@dataclass(frozen=True)
class Plot:
    """A finished figure: its SVG, title, what it shows in words, legend as (label, style), or its colour scale.

    ``scale`` is the value of full colour; ``least`` the least width in pixels.
    """

    svg: str
    title: str
    alt: str
    legend: list[tuple[str, Style]] = field(default_factory=list)
    more: str = ""
    least: int = 0
    scale: str = ""


def styles(ends: Mapping[str, float]) -> dict[str, Style]:
    """Return a style for each name; beyond ``KEPT`` only those that end highest and lowest keep a colour."""
    if len(ends) <= KEPT:
        kept = sorted(ends)
    else:
        order = sorted(ends, key=lambda name: (-ends[name], name))
        kept = [*order[: KEPT // 2], *order[-(KEPT // 2) :]]
    hues = len(svg.HUES)
    chosen = {name: Style(hue=place % hues, dash=place // hues) for place, name in enumerate(kept)}
    return chosen | {name: Style(muted=True) for name in ends if name not in chosen}


def lines(
    title: str,
    series: Sequence[Series],
    y_label: str,
    *,
    level: float | None = None,
    y_limits: tuple[float, float] | None = None,
    percent: bool = False,
    x_label: str = "meta-training step",
) -> Plot:
    """Draw lines over meta-training steps, or what ``x_label`` says; ``level`` is a thin reference line."""
    drawn = [one for one in series if np.isfinite(_floats(one.values)).any()]
    with svg.style():
        figure, axes = svg.panel()
        if level is not None:
            axes.axhline(level, color=svg.INK, linewidth=0.6, alpha=0.5)
        for one in sorted(drawn, key=lambda one: not one.style.muted):
            _draw(axes, one, 100 if percent else 1)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if y_limits is not None:
            axes.set_ylim(*y_limits)
        axes.grid(axis="y", color=svg.INK, alpha=0.12, linewidth=0.6)
        axes.xaxis.get_major_locator().set_params(nbins=5, integer=True)
        axes.yaxis.get_major_locator().set_params(nbins=6)
        text = svg.write(figure)
    shown = [one for one in drawn if not one.style.muted]
    others = len(drawn) - len(shown)
    alt = f"{title}: " + "; ".join(_in_words(one, percent) for one in shown)
    return Plot(
        svg=text,
        title=title,
        alt=alt,
        legend=[(one.label, one.style) for one in shown],
        more=f"{others} more in grey" if others else "",
    )


def heat_map(title: str, names: Sequence[str], values: np.ndarray, scale: float) -> Plot:
    """Draw cosines [n, n] of pairs, lower triangle: full colour at ±``scale``, none at 0, a dot where NaN."""
    from matplotlib.patches import Rectangle

    n, digits = len(names), 2 if scale >= 0.1 else 3
    large = max(1.0, n / 14)  # with many sources the labels keep their size, and a narrow page scrolls
    known = [(float(values[r, c]), r, c) for r in range(n) for c in range(r) if np.isfinite(values[r, c])]
    with svg.style():
        figure, axes = svg.panel(width=4.7 * large, height=4.4 * large)
        for value, row, column in known:
            cell = Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, linewidth=0)
            strength = min(abs(value) / scale, 1.0) if scale > 0 else 0.0
            cell.set(facecolor=svg.HUES[1] if value > 0 else svg.HUES[0], alpha=0.85 * strength)
            axes.add_patch(cell)
            if n <= 8:
                axes.text(column, row, signed(value, digits), ha="center", va="center", fontsize=9.5)
        for row, column in zip(*np.nonzero(np.tril(~np.isfinite(values), -1)), strict=True):
            axes.text(column, row, "·", ha="center", va="center", alpha=0.6)
        axes.set(xlim=(-0.5, max(n - 1.5, 0.5)), ylim=(n - 0.5, 0.5), aspect="equal")
        axes.set_xticks(range(n - 1), [_short(name) for name in names[:-1]], rotation=90)
        axes.set_yticks(range(1, n), [_short(name) for name in names[1:]])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        text = svg.write(figure)
    if not known:
        return Plot(svg=text, title=title, alt=f"{title}: no pair was measured")
    low, high = min(known), max(known)
    mean = float(np.mean([value for value, *_ in known]))
    alt = (
        f"{title}: mean {signed(mean, 3)} over {len(known)} pairs; "
        f"lowest {signed(low[0], 3)} ({names[low[2]]}, {names[low[1]]}); "
        f"highest {signed(high[0], 3)} ({names[high[2]]}, {names[high[1]]})"
    )
    return Plot(
        svg=text, title=title, alt=alt, least=round(340 * large) if large > 1 else 0, scale=f"{scale:.{digits}f}"
    )


def dots(title: str, results: Mapping[str, Mapping[str, tuple[float, float | None]]]) -> Plot:
    """Draw mean accuracy ± interval (fractions) by method and target: ``results[method][target]``."""
    targets = list(dict.fromkeys(target for by_target in results.values() for target in by_target))
    style = {method: Style(hue=place, mark=place) for place, method in enumerate(results)}
    with svg.style():
        figure, axes = svg.panel(height=1.0 + max(len(targets), 2) * (0.22 + 0.1 * len(results)))
        for place, (method, by_target) in enumerate(results.items()):
            shift = (place - (len(results) - 1) / 2) * 0.7 / len(results)
            for target, (mean, ci95) in by_target.items():
                axes.errorbar(
                    100 * mean,
                    targets.index(target) + shift,
                    xerr=None if ci95 is None else 100 * ci95,
                    fmt=MARKS[place % len(MARKS)][0],
                    color=style[method].colour,
                    markersize=5,
                    linewidth=1.4,
                )
        axes.set_yticks(range(len(targets)), [_short(target) for target in targets])
        axes.set_ylim(len(targets) - 0.5, -0.5)
        axes.set_xlabel("accuracy, %")
        axes.grid(axis="x", color=svg.INK, alpha=0.12, linewidth=0.6)
        axes.tick_params(axis="y", length=0)
        text = svg.write(figure)
    words = "; ".join(
        f"{method} on {target} {100 * mean:.1f} %" for method, by in results.items() for target, (mean, _) in by.items()
    )
    return Plot(svg=text, title=title, alt=f"{title}: {words}", legend=list(style.items()))


def thin(steps: Sequence[float], values: Sequence[float | None]) -> tuple[np.ndarray, np.ndarray]:
    """Return float arrays of at most ``POINTS`` points, means over equal stretches; None becomes NaN (a gap)."""
    x, y = _floats(steps), _floats(values)
    if len(x) <= POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), POINTS)
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])


def _draw(axes: Any, one: Series, factor: float) -> None:
    steps, values = thin(one.steps, one.values)
    dash = one.style.dashes
    pattern: Any = (0, tuple(float(part) for part in dash.split())) if dash else "-"
    axes.plot(
        steps,
        factor * values,
        color=one.style.colour,
        linestyle=pattern,
        linewidth=0.8 if one.style.muted else 1.6,
        alpha=0.45 if one.style.muted else 1.0,
        marker="o" if one.marks or len(steps) == 1 else None,
        markersize=3.2,
    )
    if one.band is not None:
        half = thin(one.steps, one.band)[1]
        low, high = factor * (values - half), factor * (values + half)
        axes.fill_between(steps, low, high, color=one.style.colour, alpha=0.16, linewidth=0)


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _short(name: str, most: int = 18) -> str:
    """Leave out the middle: names of sources often begin alike."""
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def _in_words(one: Series, percent: bool) -> str:
    values = _floats(one.values)
    first, last = values[np.isfinite(values)][[0, -1]]
    if percent:
        return f"{one.label} from {100 * first:.1f} % to {100 * last:.1f} %"
    return f"{one.label} from {first:.3g} to {last:.3g}"
