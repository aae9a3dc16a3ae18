"""How a step grows with N, inner steps, shots and image size: ours and the plain loop: ``python -m benchmarks.growth``.

Each point is a process of its own, since a process keeps what an earlier point made it take. The exponent is the slope
of the logarithms by least squares: 1 is in proportion; below it something does not grow along. Memory is the peak of a
step less what the process held before its first one.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.rounds import Say, measure
from benchmarks.ways import OURS, PLAIN
from benchmarks.work import WORKS, Work

BASE = WORKS["W3"]
ALONE = replace(BASE, tasks=1)
AXES: dict[str, dict[int, Work]] = {
    "tasks N": {n: replace(BASE, tasks=n) for n in (1, 2, 4, 8, 16)},
    "inner steps": {t: replace(ALONE, steps=t) for t in (1, 2, 3, 5, 10)},
    "shots": {k: replace(ALONE, k_shot=k) for k in (1, 2, 5, 10)},
    "image side": {s: replace(ALONE, size=s) for s in (28, 42, 64, 84, 112)},
}
QUICK = {"tasks N": (1, 4), "inner steps": (1, 10), "shots": (1, 5), "image side": (28, 84)}


def slope(points: Mapping[str, float]) -> float:
    """Return the exponent of a power law through the points, by least squares of the logarithms."""
    xs, ys = [math.log(float(x)) for x in points], [math.log(max(y, 1e-9)) for y in points.values()]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sum((x - mx) ** 2 for x in xs)


def grow(rounds: int, say: Say, quick: bool = False, **how: Any) -> dict[str, Any]:
    """Return seconds and memory at every point of every axis, with their exponents.

    Args:
        rounds: so many steps of each way at a point.
        say: told how it goes on.
        quick: fewer points.
        how: as of ``measure``.
    """
    found: dict[str, Any] = {}
    for axis, works in AXES.items():
        points = {value: work for value, work in works.items() if not quick or value in QUICK[axis]}
        rows: dict[str, Any] = {}
        for value, work in points.items():
            say(f"{axis} = {value}")
            rows[str(value)] = measure(work, rounds, say, (OURS, PLAIN), **how)["rows"]
        found[axis] = {way: _course(way, rows) for way in (OURS, PLAIN)}
    return found


def _course(way: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    here: Sequence[str] = [value for value, row in rows.items() if way in row]
    seconds = {value: rows[value][way]["seconds"] for value in here}
    memory = {value: rows[value][way]["peak_mb"] - rows[value][way]["base_mb"] for value in here}
    several = len(here) > 1
    return {
        "seconds": seconds,
        "memory_mb": memory,
        "exponent": slope(seconds) if several else None,
        "memory_exponent": slope(memory) if several else None,
    }


def main() -> None:
    """Print the courses."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    print(json.dumps(grow(given.rounds, print, given.quick), indent=1))


if __name__ == "__main__":
    main()
