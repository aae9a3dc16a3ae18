"""How far tasks disagree: cosines and distances of their gradients, for the log and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_COLUMNS = 1 << 20
"""Columns taken at a time, so that float64 copies of long gradients stay small."""


def gramian(rows: Tensor) -> Tensor:
    """Return ⟨g_i, g_j⟩ of rows [N, P]: float64 [N, N] on the CPU."""
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for part in rows.detach().split(_COLUMNS, dim=1):
        part = part.double()
        gram += (part @ part.T).cpu()
    return gram


def cosines(vectors: Tensor) -> Tensor:
    """Return the cosine of every pair of rows, [N, P] → float64 [N, N], symmetric.

    It is NaN wherever one of the two rows is zero or not finite: an undefined angle is not an angle of 90°.
    """
    vectors = vectors.detach()
    gram = torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
    # Of the largest entry 1: squares of very small gradients would be lost.
    scale = vectors.abs().amax(dim=1, keepdim=True).double() if vectors.shape[1] else torch.zeros(len(vectors), 1)
    for part in vectors.split(_COLUMNS, dim=1):
        part = part.double() / scale
        gram += (part @ part.T).cpu()
    norm = gram.diagonal().sqrt()
    return (gram / norm / norm[:, None]).clamp(-1.0, 1.0)


def distances(norms: Tensor, cosine: Tensor) -> Tensor:
    """Return d_ij = ‖g_i − g_j‖ from norms [N] and cosines [N, N]: [N, N] (RotoGBML eq. 11).

    d_ij² = ‖g_i‖² + ‖g_j‖² − 2‖g_i‖‖g_j‖ cos_ij, written as (‖g_i‖ − ‖g_j‖)² + 2‖g_i‖‖g_j‖(1 − cos_ij) so that
    near gradients do not cancel: the first term is what ω acts on, the second what γ acts on. A length below 0, of a
    gradient that a rival weighs negatively, is that of its opposite.
    """
    sign = torch.where(norms < 0, -1.0, 1.0).double()
    cosine = cosine.double() * sign[:, None] * sign
    a, b = norms.double().abs()[:, None], norms.double().abs()[None, :]
    # A zero gradient has no angle but does have a distance.
    apart = torch.where(a * b > 0, 2 * a * b * (1 - cosine), 0.0)
    return ((a - b) ** 2 + apart).sqrt()


def shares(norms: Tensor, cosine: Tensor, weights: Tensor) -> Tensor:
    """Return who wins: ⟨ω_i g_i, ḡ⟩ / (N ‖ḡ‖²) with ḡ = (1/N) Σ_j ω_j g_j, from ‖g‖ [N], cosines [N, N] and ω [N]: [N].

    It is task i's share of the step along the step's own direction: the shares add up to 1, are 1/N each where all
    weighted gradients are equal, and one is negative where its task is led uphill. NaN where ḡ is zero.
    """
    weighted = norms.double() * weights.double()
    # A zero gradient has no angle; a weight below 0 is as good as any.
    gram = torch.where(weighted[:, None] * weighted != 0, weighted[:, None] * weighted * cosine.double(), 0.0)
    pull = gram.sum(1)
    return pull / pull.sum()


class Conflict(NamedTuple):
    """How far N tasks disagree in one room (encoder, head or features), all float64."""

    norms: Tensor
    """‖g_i‖, [N]."""
    cosine: Tensor
    """[N, N]."""
    before: Tensor
    """d_ij without ω (and, of features, without γ), [N, N] (eq. 11)."""
    after: Tensor
    """d_ij of ω_i g_i, [N, N]."""
    shares: Tensor
    """Each task's share of the step, [N]."""


class Angles(NamedTuple):
    """What is known of N gradients among themselves, float64."""

    norms: Tensor
    """‖g_i‖, [N]."""
    cosine: Tensor
    """[N, N], as of ``cosines``."""


def angles(rows: Tensor) -> Angles:
    """Return lengths and cosines of rows [N, P]."""
    return Angles(rows.detach().norm(dim=1, dtype=torch.float64).cpu(), cosines(rows))


def angles_of_gram(gram: Tensor) -> Angles:
    """Return lengths and cosines from the products ⟨g_i, g_j⟩, float64 [N, N]."""
    norms = gram.diagonal().sqrt()
    return Angles(norms, (gram / norms / norms[:, None]).clamp(-1.0, 1.0))


def conflict(gradients: Angles, weights: Tensor, before: Angles | None = None) -> Conflict:
    """Return norms, cosines, distances and shares of the tasks' gradients.

    Args:
        gradients: of g_i as they are averaged; a task's is zero where it has none.
        weights: ω_i, [N].
        before: of g_i as they were without the homogenizer where those are others (γ on features).
    """
    norms, cosine = gradients
    weights = weights.detach().double().cpu()
    apart = distances(*(gradients if before is None else before))
    return Conflict(norms, cosine, apart, distances(weights * norms, cosine), shares(norms, cosine, weights))


def by_pair(matrix: Tensor, sources: Sequence[str]) -> dict[tuple[str, str], list[float]]:
    """Return the defined entries of a symmetric [N, N] by the pair of *different* sources they compare.

    A pair's names are in alphabetical order, and the pairs too.
    """
    pairs: dict[tuple[str, str], list[float]] = {}
    for i, a in enumerate(sources):
        for j, b in enumerate(sources[:i]):
            value = float(matrix[i, j])
            if a != b and not math.isnan(value):
                pairs.setdefault((min(a, b), max(a, b)), []).append(value)
    return dict(sorted(pairs.items()))
