"""Logistic regression on a test task's support, to its optimum: what SKD judges by.

    min  ½ ‖W‖² + c Σ_i −log softmax(W z_i + b)_{y_i}

By Newton's method on the support's span: W = Aᵀ Z with A [s, n], so that ‖W‖² = tr Aᵀ K A, K = Z Zᵀ. It has the
objective of scikit-learn's default (c = 1, no penalty on b) and is solved to its optimum instead of by 1000 iterations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MOST = 50
TOLERANCE = 1e-10
_TINY = 1e-12


@torch.no_grad()
def logistic(support: Tensor, y: Tensor, n_way: int, c: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return W [n_way, m] and b [n_way] of features [s, m]; Σ_k b_k = 0, which the objective leaves open.

    Of features that are not all finite they are NaN.
    """
    if not support.isfinite().all():  # of a training that has diverged: no decomposition takes them
        return support.new_full((n_way, support.shape[1]), torch.nan), support.new_full((n_way,), torch.nan)
    z = support.double()
    s, hot = len(z), F.one_hot(y, n_way).double()
    # Rows of an orthonormal basis of the span: coordinates are [s, r], and ‖W‖ is that of its coordinates.
    values, vectors = torch.linalg.eigh(z @ z.T)
    kept = values > values.max().clamp_min(_TINY) * _TINY
    x = vectors[:, kept] * values[kept].sqrt()
    r = x.shape[1]
    x1 = torch.cat([x, x.new_ones(s, 1)], dim=1)
    penalty = torch.cat([x.new_ones(r), x.new_full((1,), 1e-9)])  # on b so little that it only settles Σ b = 0
    w = x.new_zeros(r + 1, n_way)

    def objective(w: Tensor) -> Tensor:
        fit = F.cross_entropy(x1 @ w, y, reduction="sum")
        return (penalty[:, None] * w.square()).sum() / 2 + c * fit

    for _ in range(MOST):
        p = (x1 @ w).softmax(1)
        g = penalty[:, None] * w + c * x1.T @ (p - hot)
        if float(g.abs().max()) < TOLERANCE:
            break
        curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None]  # [s, n, n]
        H = c * torch.einsum("ia,ikl,ib->akbl", x1, curvature, x1).reshape((r + 1) * n_way, -1)
        H = H + torch.diag(penalty.repeat_interleave(n_way))
        d = torch.linalg.solve(H, g.flatten()).view_as(w)
        step, here, slope = 1.0, objective(w), float((g * d).sum())
        while step > _TINY and float(objective(w - step * d)) > float(here) - 1e-4 * step * slope:
            step /= 2
        w = w - step * d
    weight = (vectors[:, kept] / values[kept].sqrt()) @ w[:r]  # A with W = Aᵀ Z
    return (weight.T @ z).to(support), w[r].to(support)
