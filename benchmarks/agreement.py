"""Do all ways compute the same? Meta-gradients in float64 against the plain loop's: ``python -m benchmarks.agreement``.

A benchmark that compares different things compares nothing: ``benchmarks.speed`` runs this first, and stops where a
way is further than ``BOUND`` from the plain loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from benchmarks.ways import PLAIN, mean_gradient, rows
from benchmarks.work import WORKS, Work, minibatch

BOUND = 1e-9
"""‖a − b‖ / ‖b‖ of a tensor's gradient; tensors with less than a millionth of the largest gradient count by that."""


def small(work: Work) -> Work:
    """Return the same work on fewer filters, so that float64 takes a moment; the maps stay as large as they are."""
    return replace(work, width=16, n_query=1, tasks=2, steps=2)


def compare(work: Work) -> dict[str, float]:
    """Return each way's largest relative error against the plain loop, tensor by tensor."""
    episodes = minibatch(work, 0, dtype=torch.float64)
    expected = mean_gradient(work, PLAIN, episodes, torch.float64)
    floor = 1e-6 * max(float(g.norm()) for g in expected.values())
    errors = {}
    for name, row in rows(work).items():
        if row.missing() or name == PLAIN or not row.exact:
            continue
        found = mean_gradient(work, name, episodes, torch.float64)
        if found.keys() != expected.keys():
            raise SystemExit(f"{name}: gradients of {sorted(found)}, the plain loop has {sorted(expected)}")
        errors[name] = max(float((found[k] - g).norm()) / max(float(g.norm()), floor) for k, g in expected.items())
    return errors


KINDS = ("W1", "W2", "W4, 5 steps", "W1, first order", "W1, ANIL", "W1, iMAML")
"""Works that are compared: the others are one of these on other sizes."""


def every(kinds: Iterable[str] = KINDS) -> dict[str, dict[str, float]]:
    """Return the errors of each kind of work.

    Raises:
        SystemExit: a way does not compute what the plain loop computes.
    """
    found = {name: compare(small(WORKS[name])) for name in kinds}
    for name, errors in found.items():
        for way, error in errors.items():
            if not error <= BOUND:
                raise SystemExit(f"{name}: the meta-gradient of '{way}' is {error:.1e} from the plain loop's")
    return found


def main() -> None:
    """Print the errors."""
    for name, errors in every().items():
        for way, error in errors.items():
            print(f"{name:<20}{way:<40}{error:.1e}")


if __name__ == "__main__":
    main()
