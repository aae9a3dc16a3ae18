"""Who pulls where, averaged over an interval of training: the entry ``conflict`` of a line of metrics.

    {"sources": {SOURCE: {"share": …, "encoder_norm": …, "encoder_weighted": …, "head_…", "features_…"}},
     "pairs": [[A, B, {"encoder_cosine": …, "encoder_before": …, "encoder_after": …, "head_…", "features_…"}]]}

``share``: of the source in the direction of the encoder's step (``conflict.shares``), a mean over its tasks.
``norm`` and ``weighted``: ‖g_i‖ and |ω_i| ‖g_i‖.
``before`` and ``after``: d_ij (eq. 11) without and with ω; of features also without and with γ. What reaches encoder
and head has been through γ already: without it they would have to be computed a second time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

from rotogbml.homogenizer.conflict import Angles, by_pair, conflict

ROOMS = ("encoder", "head", "features")
Room = tuple[Angles | None, Angles | None]
"""Of the tasks' gradients, and of the same without the homogenizer where those are others."""
Sums = dict[str, dict[str, dict[str, tuple[float, int]]]]
"""Sum and count by ``sources`` or ``pairs``, by the source or the two sources as JSON, by what is measured."""


def tally(sums: Sums, sources: Sequence[str], omega: Sequence[float], *rooms: Room) -> None:
    """Add one step to the sums, in place.

    Args:
        sums: taken up and changed.
        sources: of each task, N.
        omega: ω_i of each task, N.
        rooms: gradients of the encoder, the head and the features; None: it has none.
    """
    weights = torch.tensor(omega, dtype=torch.float64)
    for room, (gradients, before) in zip(ROOMS, rooms, strict=True):
        if gradients is None:
            continue
        found = conflict(gradients, weights, before)
        per_task = {
            f"{room}_norm": found.norms.tolist(),
            f"{room}_weighted": (weights.abs() * found.norms).tolist(),
        }
        if room == "encoder":
            per_task["share"] = found.shares.tolist()
        for name, values in per_task.items():
            for source, value in zip(sources, values, strict=True):
                _add(sums.setdefault("sources", {}), source, name, [value])
        for name, matrix in (("cosine", found.cosine), ("before", found.before), ("after", found.after)):
            for pair, values in by_pair(matrix, sources).items():
                _add(sums.setdefault("pairs", {}), json.dumps(pair), f"{room}_{name}", values)


def averages(sums: Sums) -> dict[str, Any]:
    """Return the means, five digits each: they are for reading, and stand in every line."""
    means = {
        group: {
            key: {name: float(f"{total / count:.5g}") for name, (total, count) in sorted(parts.items())}
            for key, parts in sorted(keys.items())
        }
        for group, keys in sums.items()
    }
    pairs = [[*json.loads(pair), parts] for pair, parts in means.get("pairs", {}).items()]
    return {"sources": means.get("sources", {}), "pairs": pairs}


def _add(sums: dict[str, dict[str, tuple[float, int]]], key: str, name: str, values: Sequence[float]) -> None:
    known = [value for value in values if value == value]
    if known:
        total, count = sums.setdefault(key, {}).get(name, (0.0, 0))
        sums[key][name] = (total + sum(known), count + len(known))
