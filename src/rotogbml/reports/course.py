"""The course of training as figures: learning curves, ω, gradient norms and cosines of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rotogbml.numbers import signed
from rotogbml.reports.figures import Plot, Series, Style, heat_map, lines, styles
from rotogbml.reports.record import RunRecord, unique
from rotogbml.reports.words import look, rival_of

COSINES = {
    "feature_before": "Features before γ",
    "feature_after": "Features after γ",
    "encoder": "Encoder",
}

BESIDE_ENCODER = ("head", "features")
"""Rooms whose lengths stand beside the encoder's in the table of sources."""


@dataclass(frozen=True)
class SourceLine:
    """One source over a whole run: tasks drawn, then means over the last interval that drew it."""

    source: str
    tasks: int
    loss: float | None
    accuracy: float | None
    norm: float | None
    omega: float | None
    weighted_norm: float | None
    rooms: dict[str, tuple[float | None, float | None]]
    """Of head and features: ‖g‖ and ω‖g‖, means over the whole run; empty where a run did not log them."""


@dataclass(frozen=True)
class Room:
    """How far tasks of two sources were apart in one room, means over all pairs and the whole run."""

    name: str
    cosine: float | None
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Pair:
    """How far tasks of two sources were apart: a room for each of encoder, head and features that was logged."""

    sources: tuple[str, str]
    rooms: list[Room]


@dataclass(frozen=True)
class Cosines:
    """Heat maps of one run, and the mean over pairs of each."""

    plots: list[Plot]
    means: list[tuple[str, str]]


def curves(records: Sequence[RunRecord]) -> list[Plot]:
    """Return loss and accuracy over steps, a hue a run; validation is dashed, with its 95 % interval.

    Validation of the running mean of the weights has a dash of its own, and no interval: it would hide the other.
    """
    loss: list[Series] = []
    accuracy: list[Series] = []
    for hue, record in enumerate(records):
        steps = [line.get("step", 0) for line in record.train]
        loss.append(Series(record.name, steps, _column(record.train, "loss"), Style(hue)))
        accuracy.append(Series(f"{record.name}, training", steps, _column(record.train, "accuracy"), Style(hue)))
        accuracy.append(
            Series(
                f"{record.name}, validation",
                [line.get("step", 0) for line in record.validation],
                _column(record.validation, "accuracy"),
                Style(hue, dash=1),
                band=_column(record.validation, "ci95"),
                marks=True,
            )
        )
        averaged = [line for line in record.validation if "averaged" in line]
        if averaged:
            of_mean = [line["averaged"].get("accuracy") for line in averaged]
            where = [line.get("step", 0) for line in averaged]
            name = f"{record.name}, validation of the running mean"
            accuracy.append(Series(name, where, of_mean, Style(hue, dash=2)))
    plots = []
    if any(_any(one.values) for one in loss):
        plots.append(lines("Training loss", loss, "query loss"))
    if any(_any(one.values) for one in accuracy):
        plots.append(lines("Accuracy", accuracy, "accuracy, %", percent=True))
    return plots


def omega(record: RunRecord) -> Plot | None:
    """Return ω over steps: of each slot, or, where slots last one minibatch only, its mean for each source."""
    slots = _by_name((line.get("step", 0), line.get("omega") or {}) for line in record.train)
    slots = slots or _by_source(record, "omega")
    if not slots:
        return None
    named = {f"place {name}" if name.isdigit() else name: line for name, line in slots.items()}
    look_of = source_styles(record)
    slots_are_places = not named.keys() <= look_of.keys()
    if slots_are_places:
        look_of = styles({name: values[-1] for name, (_, values) in named.items()})
    series = [Series(name, *named[name], look_of[name]) for name in named]
    if rival_of(record):
        return lines("Weight of each source", series, "weight", level=1.0)
    return lines(
        "ω of each place in the minibatch" if slots_are_places else "ω of each source", series, "weight ω", level=1.0
    )


def norms(record: RunRecord) -> list[Plot]:
    """Return the encoder's gradient norms of each source before and, where ω or a rival acted, after; on one scale."""
    before = _by_source(record, "norm")
    rival = rival_of(record)
    after = _by_source(record, "weighted_norm") if rival or look(record.config, "homogenizer.reweight") else {}
    known = [value for part in (before, after) for _, values in part.values() for value in values]
    if not known:
        return []
    look_of = source_styles(record)
    top = 1.05 * max(known)
    plots = []
    weighing = rival or "ω"
    first = f"Norm before {weighing}" if after else "Norm of each source"
    for title, part, label in ((first, before, "norm ‖g‖"), (f"Norm after {weighing}", after, "norm ω ‖g‖")):
        if part:
            series = [Series(name, *part[name], look_of[name]) for name in part]
            plots.append(lines(title, series, label, y_limits=(0.0, top)))
    return plots


def cosines(record: RunRecord) -> Cosines | None:
    """Return heat maps of the mean cosine of each source pair over the whole run, weighted by how often it met.

    Where γ is off there is no "after": what is logged under that name equals "before".
    """
    names = unique(name for line in record.train for pair in line.get("pairs") or [] for name in pair[:2])
    if len(names) < 2:
        return None
    names.sort()
    place = {name: i for i, name in enumerate(names)}
    total = {kind: np.zeros((len(names), len(names))) for kind in COSINES}
    count = {kind: np.zeros((len(names), len(names))) for kind in COSINES}
    for line in record.train:
        for a, b, values in line.get("pairs") or []:
            for kind in COSINES:
                value, weight = values.get(kind), values.get("count", 1)
                if value is not None and math.isfinite(value) and a != b:
                    row, column = max(place[a], place[b]), min(place[a], place[b])
                    total[kind][row, column] += weight * value
                    count[kind][row, column] += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = {kind: total[kind] / count[kind] for kind in COSINES}
    off = set() if look(record.config, "homogenizer.rotate") else {"feature_after"}
    kept = [kind for kind in COSINES if kind not in off and np.isfinite(mean[kind]).any()]
    if not kept:
        return None
    top = {kind: float(np.nanmax(np.abs(mean[kind]))) for kind in kept}
    features = max([top[kind] for kind in kept if kind != "encoder"], default=0.0)
    scales = {kind: top[kind] if kind == "encoder" else features for kind in kept}
    return Cosines(
        plots=[heat_map(COSINES[kind], names, mean[kind], scales[kind]) for kind in kept],
        means=[(COSINES[kind], signed(total[kind].sum() / count[kind].sum(), 3)) for kind in kept],
    )


def shares(record: RunRecord) -> Plot | None:
    """Return who wins over steps: each source's share in the direction of the encoder's step; evenly it is 1/N."""
    found = _by_name(
        (line.get("step", 0), {name: one.get("share") for name, one in look(line, "conflict.sources").items()})
        for line in record.train
        if isinstance(look(line, "conflict.sources"), dict)
    )
    if not found:
        return None
    look_of = source_styles(record)
    if not found.keys() <= look_of.keys():
        look_of = styles({name: values[-1] for name, (_, values) in found.items()})
    n = look(record.config, "episodes.tasks_per_batch")
    series = [Series(name, *found[name], look_of[name]) for name in found]
    return lines("Share of the step", series, "share", level=1 / n if n else None)


def rooms(record: RunRecord) -> list[Room]:
    """Return mean cosine and d_ij (eq. 11) of encoder, head and features; none where a run did not log them."""
    return _rooms([pair[2] for line in record.train for pair in look(line, "conflict.pairs") or []])


def pairs(record: RunRecord) -> list[Pair]:
    """Return the same of each pair of sources by itself, in order of their names."""
    met: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    for line in record.train:
        for a, b, found in look(line, "conflict.pairs") or []:
            met.setdefault((str(a), str(b)), []).append(found)
    return [Pair(names, _rooms(met[names])) for names in sorted(met)]


def _rooms(pairs: Sequence[Mapping[str, float]]) -> list[Room]:
    names = {"encoder": "encoder θ", "head": "head φ", "features": "features ẑ"}
    found = [
        Room(said, *(_mean(pairs, f"{room}_{what}") for what in ("cosine", "before", "after")))
        for room, said in names.items()
    ]
    return [room for room in found if room.before is not None]


def source_styles(record: RunRecord) -> dict[str, Style]:
    """Return one style a source for all figures of a run; many sources: those of the extreme ω (or norms) stand out."""
    norm = _by_source(record, "norm")
    weight = _by_source(record, "omega") if look(record.config, "homogenizer.reweight") else {}
    names = norm.keys() | weight.keys() | _by_source(record, "weighted_norm").keys()
    ends = weight if weight.keys() == names else norm
    return styles({name: ends[name][1][-1] if name in ends else 0.0 for name in sorted(names)})


def per_source(record: RunRecord) -> list[SourceLine]:
    """Return one line for each training source, in order of name."""
    found = []
    for name in sorted(unique(name for line in record.train for name in line.get("sources") or {})):
        logged = [look(line, "sources").get(name) for line in record.train if name in (line.get("sources") or {})]
        last = logged[-1]
        found.append(
            SourceLine(
                source=name,
                tasks=sum(int(one.get("tasks") or 0) for one in logged),
                **{key: last.get(key) for key in ("loss", "accuracy", "norm", "omega", "weighted_norm")},
                rooms=_rooms_of(record, name),
            )
        )
    return found


def _rooms_of(record: RunRecord, source: str) -> dict[str, tuple[float | None, float | None]]:
    logged = [look(line, "conflict.sources") for line in record.train]
    of_source = [sources[source] for sources in logged if isinstance(sources, dict) and source in sources]
    lengths = {
        room: (_mean(of_source, f"{room}_norm"), _mean(of_source, f"{room}_weighted")) for room in BESIDE_ENCODER
    }
    return {room: pair for room, pair in lengths.items() if pair[0] is not None}


def _mean(logged: Sequence[Mapping[str, float]], key: str) -> float | None:
    known = [one[key] for one in logged if one.get(key) is not None and math.isfinite(one[key])]
    return float(np.mean(known)) if known else None


def _by_source(record: RunRecord, key: str) -> dict[str, tuple[list[float], list[float]]]:
    return _by_name(
        (line.get("step", 0), {name: one.get(key) for name, one in (line.get("sources") or {}).items()})
        for line in record.train
    )


def _by_name(
    lines: Iterable[tuple[float, Mapping[str, float | None]]],
) -> dict[str, tuple[list[float], list[float]]]:
    """Turn lines of {name: value} into one line a name; a name without a value on a line skips that step."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for step, values in lines:
        for name, value in values.items():
            if value is not None and math.isfinite(value):
                steps, column = found.setdefault(str(name), ([], []))
                steps.append(step)
                column.append(value)
    return dict(sorted(found.items()))


def _column(lines: Sequence[Mapping[str, Any]], key: str) -> list[float | None]:
    return [line.get(key) for line in lines]


def _any(values: Sequence[float | None]) -> bool:
    return any(value is not None and math.isfinite(value) for value in values)
