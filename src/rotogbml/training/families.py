"""Where a step's time went: the operators of a trace, put into families.

Every microsecond between two steps belongs to one event alone, the innermost that was open (its *self time*), so the
families add up to the whole. An event's family is, in this order:

    1. that of the range it stands in, the outermost one: data, ISI, homogenizer, …;
    2. by its name: a convolution, a norm, max-pool or ReLU, whichever derivative; a function of ``rotogbml.encoders``;
    3. where it is the derivative of another operator: that one's. What ISI's product or γ cost on the way back is
       theirs, and so is their second derivative;
    4. that of the event around it.

What none of this names is the rest: losses, the head, inner updates, sums. Time in which no operator ran at all is
Python's, between them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

STEP = "step of training"
"""The range of one step in a trace."""
CONVOLUTION, NORM = "convolution", "normalisation, pooling, ReLU"
REST, BETWEEN = "other operators", "between operators (Python)"
BETWEEN_STEPS = ("validation", "saving")
"""What happens now and then between two steps."""
RANGES = ("ISI", "homogenizer", "data", "optimizer", *BETWEEN_STEPS)
"""Families that a range of their name encloses."""
FAMILIES = (CONVOLUTION, NORM, *RANGES, REST, BETWEEN)

_NODE = "autograd::engine::evaluate_function: "
_CONVOLUTION = re.compile(r"conv", re.IGNORECASE)
_NORM = re.compile(
    r"batch_?norm|group_?norm|layer_?norm|(max|avg)_?pool|relu|threshold|clamp_?min|update_stats", re.IGNORECASE
)


@dataclass
class _Event:
    start: float
    end: float
    name: str
    sequence: int | None
    """The number that an operator shares with its derivative."""
    derivative: bool
    inner: float = 0.0
    """Microseconds in the events right inside."""
    family: str = REST
    ranged: bool = False
    """Whether a range has settled the family of all inside."""


def seconds_by_family(
    trace: Iterable[dict[str, Any]], ours: Collection[str] = (), most: int | None = None
) -> dict[str, float]:
    """Return the seconds a step of each of ``FAMILIES``, all of them, from the events of a Chrome trace.

    Args:
        trace: ``traceEvents`` of a trace in which ranges of the name ``STEP`` stand on one thread.
        ours: names of autograd functions that normalise, pool or rectify; convolutions inside them stay such.
        most: so many steps count, from the first; None: all.

    Raises:
        ValueError: no step is in the trace.
    """
    events = _events(trace)
    steps = [event for event in events if event.name == STEP][:most]
    if not steps:
        raise ValueError(f"no range '{STEP}' in the trace")
    events = [event for event in events if event.start < steps[-1].end]
    total = dict.fromkeys(FAMILIES, 0.0)
    open_: list[_Event] = []
    forward: dict[int, _Event] = {}
    for event in events:
        while open_ and open_[-1].end <= event.start:
            _close(open_.pop(), total)
        if not open_ and event.name != STEP:
            continue  # outside of the steps
        around = open_[-1] if open_ else None
        _settle(event, around, forward, ours)
        if around is not None:
            around.inner += event.end - event.start
        if event.sequence is not None and not event.derivative:
            forward[event.sequence] = event  # the innermost and latest of a number is the one that has the derivative
        open_.append(event)
    while open_:
        _close(open_.pop(), total)
    return {family: 1e-6 * microseconds / len(steps) for family, microseconds in total.items()}


def kernel_seconds(trace: Iterable[dict[str, Any]], steps: int) -> float:
    """Return the seconds a step that a GPU computed or copied, from the events of a Chrome trace; 0 without one.

    All of a step's work goes to one stream, one piece after the other: their lengths add up.
    """
    on_gpu = ("kernel", "gpu_memcpy", "gpu_memset")
    return 1e-6 * sum(float(event.get("dur", 0.0)) for event in trace if event.get("cat") in on_gpu) / steps


def _events(trace: Iterable[dict[str, Any]]) -> list[_Event]:
    """Return what ran on the thread of the steps, in the order in which it began, the outer before the inner."""
    ran = [event for event in trace if event.get("ph") == "X" and event.get("cat") in ("cpu_op", "user_annotation")]
    threads = {event["tid"] for event in ran if event["name"] == STEP}
    found = []
    for event in ran:
        if event["tid"] not in threads:
            continue
        told = event.get("args", {})
        start, length = float(event["ts"]), float(event.get("dur", 0.0))
        derivative = told.get("Fwd thread id", 0) > 0
        found.append(_Event(start, start + length, event["name"], told.get("Sequence number"), derivative))
    return sorted(found, key=lambda event: (event.start, -event.end))


def _settle(event: _Event, around: _Event | None, forward: dict[int, _Event], ours: Collection[str]) -> None:
    event.family = REST if around is None or around.family == BETWEEN else around.family
    if event.name == STEP:
        event.family = BETWEEN
    elif around is not None and around.ranged:
        event.ranged = True
    elif event.name in RANGES or event.name.startswith("Optimizer.step#"):  # torch's own range
        event.family = event.name if event.name in RANGES else "optimizer"
        event.ranged = True
    elif event.name == NORM:
        event.family = NORM
    elif family := by_name(event.name, ours):
        event.family = family
    elif event.derivative and event.sequence in forward:
        event.family = forward[event.sequence].family


def by_name(name: str, ours: Collection[str] = ()) -> str | None:
    """Return the family that an operator's name tells, of whichever derivative; None where it tells none."""
    name = name.removeprefix(_NODE)
    if name.removesuffix("Backward") in ours:
        return NORM
    return CONVOLUTION if _CONVOLUTION.search(name) else NORM if _NORM.search(name) else None


def _close(event: _Event, total: dict[str, float]) -> None:
    total[event.family] += event.end - event.start - event.inner
