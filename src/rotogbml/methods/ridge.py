"""Ridge regression on the support, in closed form: R2D2 (Bertinetto et al. 2019) and MetaOptNet's (Lee et al. 2019).

With X [s, m] the support's features, Y [s, n] its labels one-hot and K = X Xᵀ:

    R2D2         W = Xᵀ (K + λI)⁻¹ Y,      scores α X_q W + β,    λ, α, β learned
    MetaOptNet   a = 2 (K + λI)⁻¹ Y,       scores s X_q Xᵀ a,     λ = 50, s learned from 1 on

They differ by a factor of 2 that the scale takes up, by β and by λ. The system is [s, s], s = n_way · k_shot, and is
solved in float64: K + λI may be far from round.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rotogbml.learners import Psi
from rotogbml.methods.episodic import Episodic

LAMBDA = 50.0
"""MetaOptNet's code."""


def dual(support: Tensor, y: Tensor, n_way: int, lam: Tensor | float) -> Tensor:
    """Return (X Xᵀ + λI)⁻¹ Y, [s, n_way], in the features' type."""
    x = support.double()
    eye = torch.eye(len(x), dtype=x.dtype, device=x.device)
    lam = lam.double() if isinstance(lam, Tensor) else lam
    return torch.linalg.solve(x @ x.T + lam * eye, F.one_hot(y, n_way).to(x)).to(support)


class RidgeHead(nn.Module):
    """R2D2's three numbers: log λ, α, β.

    λ begins at 1 and α at 1, β at 0: the paper learns all three; where they begin is ours.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_lambda = nn.Parameter(torch.tensor(math.log(1.0)))
        self.alpha = nn.Parameter(torch.tensor(1.0))
        self.beta = nn.Parameter(torch.tensor(0.0))


class ScaleHead(nn.Module):
    """MetaOptNet's one number: the scale of the scores, 1 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))


class R2D2(Episodic):
    """Ridge regression with learned λ, trained end to end."""

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return α X_q Xᵀ (K + λI)⁻¹ Y + β."""
        a = dual(support, y, n_way, psi.phi["log_lambda"].exp())
        return psi.phi["alpha"] * (query @ support.T) @ a + psi.phi["beta"]


class MetaOptRidge(Episodic):
    """MetaOptNet with ridge regression as its convex head."""

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return s X_q Xᵀ · 2 (K + λI)⁻¹ Y."""
        return psi.phi["scale"] * (query @ support.T) @ (2 * dual(support, y, n_way, LAMBDA))
