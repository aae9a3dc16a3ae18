"""From products to what is said of them, and the tables."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from rotogbml.agreement import weights
from rotogbml.agreement.products import Products, jackknife
from rotogbml.numbers import decimal, signed

Value = tuple[float, float]
"""A number and the half width of its 95 % interval."""


@dataclass(frozen=True)
class OfSource:
    """The gradient of one source's tasks."""

    length: float
    """√E‖g‖² of a single task."""
    signal: Value
    """‖μ‖² / E‖g‖²: what of it is the source's own, 0 … 1."""


@dataclass(frozen=True)
class OfPair:
    """Two training sources."""

    sources: tuple[str, str]
    cosine: Value
    """cos(μ_s, μ_t), noise taken out."""
    single: float
    """What a minibatch sees: the same of two single tasks."""


@dataclass(frozen=True)
class OfTarget:
    """A held-out source beside the training sources."""

    even: Value
    """cos(μ_T, Σ μ_s): whether plain training goes the target's way."""
    best: Value
    """The same under the best ω ≥ 0 in hindsight, judged on other tasks than it was chosen on."""
    gain: Value
    """``best`` − ``even``, on the same tasks."""
    omega: dict[str, float]
    """The best ω of all tasks, of mean 1; all 0 where every source pulls away."""


@dataclass(frozen=True)
class Room:
    """The gradients of encoder or features."""

    sources: dict[str, OfSource]
    pairs: list[OfPair]
    agreement: Value
    """Of training sources: a mean of their cosines in which long means count for more."""
    single: float
    """What minibatches see: mean over pairs."""
    targets: dict[str, OfTarget]


@dataclass(frozen=True)
class AgreementReport:
    """What ``rotogbml gradients`` measured; ``RUN/gradients/CHECKPOINT.json`` is the same."""

    run: str
    method: str
    checkpoint: str
    step: int
    n_way: int
    k_shot: int | tuple[int, int]
    n_query: int
    tasks: int
    seed: int
    training: list[str]
    command: str
    rooms: dict[str, Room]


def room_of(products: Products, names: list[str], training: int) -> Room:
    """Return what is said of one room's products; the first ``training`` of the sources are the run's own."""
    own = range(training)
    pairs = list(combinations(own, 2))
    single, lengths = products.single(), products.lengths().sqrt().tolist()
    signal = _values(Products.signal, products)
    cosines = _values(Products.cosines, products)

    def target(at: int) -> OfTarget:
        beside = products.among([*own, at])
        even, best, gain = _values(_toward, beside)
        return OfTarget(even, best, gain, dict(zip(names, weights.hindsight(beside).tolist(), strict=False)))

    return Room(
        sources={name: OfSource(*of) for name, of in zip(names, zip(lengths, signal, strict=True), strict=True)},
        pairs=[OfPair((names[s], names[t]), cosines[s * len(names) + t], float(single[s, t])) for s, t in pairs],
        agreement=_values(lambda of: [of.among(own).agreement()], products)[0],
        single=sum(float(single[s, t]) for s, t in pairs) / len(pairs) if pairs else math.nan,
        targets={names[t]: target(t) for t in range(training, len(names))},
    )


def _values(asked: Callable[[Products], Tensor | Sequence[float]], products: Products) -> list[Value]:
    """Return numbers, row by row, each with its interval."""
    numbers, halves = jackknife(asked, products)
    return list(zip(numbers.flatten().tolist(), halves.flatten().tolist(), strict=True))


def _toward(of: Products) -> Sequence[float]:
    even, best = weights.even(of), weights.best(of)
    return even, best, best - even


def show(report: AgreementReport) -> None:
    """Print the tables."""
    console = Console(file=sys.stdout, highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
    shots = report.k_shot if isinstance(report.k_shot, int) else " to ".join(map(str, report.k_shot))
    console.print(
        f"{report.run}: {report.method}, {report.checkpoint} checkpoint (step {report.step}), {report.n_way}-way "
        f"{shots}-shot, {report.tasks} tasks of each source, ± 95 %"
    )
    for name, room in report.rooms.items():
        table = _table(f"gradients of the {name}", "length of a task's", "its source's own share", "tasks for half")
        for source, of in room.sources.items():
            held = "" if source in report.training else " (held out)"
            table.add_row(source + held, f"{of.length:.3g}", _share(of.signal), _tasks(of.signal[0]))
        console.print(table)
        if room.pairs:
            table = _table("training sources", "cosine of two tasks", "of two sources, noise taken out")
            for pair in room.pairs:
                known = all(_above_noise(room.sources[source].signal) for source in pair.sources)
                table.add_row(
                    " and ".join(pair.sources), _signed(pair.single), _both(pair.cosine) if known else "noise"
                )
            table.add_section()
            table.add_row("all together", _signed(room.single), _both(room.agreement))
            console.print(table)
        if room.targets:
            table = _table("cosine with the target's", "all sources alike", "the best ω in hindsight", "gain")
            for target, of in room.targets.items():
                table.add_row(target, _both(of.even), _both(of.best), _both(of.gain))
            console.print(table)
            for target, of in room.targets.items():
                said = ", ".join(f"{source} {value:.2f}" for source, value in of.omega.items())
                console.print(f"the best ω for {target}: {said}", soft_wrap=True)


def _table(first: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def _above_noise(signal: Value) -> bool:
    """Say whether a mean is known well enough to have an angle."""
    return signal[0] > signal[1]


def _share(value: Value) -> str:
    return f"{decimal(100 * value[0], 1)} ± {100 * value[1]:.1f} %"


def _tasks(signal: float) -> str:
    """Return how many tasks' mean is half signal: the noise of N tasks' mean is an N-th of one's."""
    return f"{(1 - signal) / signal:.0f}" if signal > 0 else "–"


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else signed(value, 3)


def _both(value: Value) -> str:
    if not (math.isfinite(value[0]) and math.isfinite(value[1])):
        return "–"  # noise leaves nothing of a mean, with or without some block
    return f"{signed(value[0], 2)} ± {value[1]:.2f}"
