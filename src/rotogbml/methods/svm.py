"""MetaOptNet's support vector machine (Lee et al. 2019): Crammer and Singer's dual, solved and differentiated here.

For a support of s images in n classes, Gram matrix K [s, s], one variable α_im for each image and class:

    min  ½ Σ_m α_·mᵀ (K + I) α_·m − Σ_i α_{i y_i}     such that  α_im ≤ C·1[m = y_i],  Σ_m α_im = 0

(the paper's code adds I to K ⊗ I; C = 0.1), scores s·K_qs α, s learned from 1 on.

**Solver.** Primal-dual interior point with Mehrotra's corrector, float64. With slack t = h − α > 0, multipliers z > 0
of the bounds and ν of the sums, an iteration solves two systems of one matrix,

    [Q + diag(z/t)  Aᵀ]
    [A              0 ]

of s·n + s unknowns: 150 for 5-way 5-shot, one task after the other. It stops when t·z and all residuals are below
``TOLERANCE``; what is left after ``MOST`` iterations is told (``svm_gap``).

**Gradient.** The solution moves with Q by the same system (implicit function theorem): for v = ∂L/∂α solve it with v on
the right, to d; then ∂L/∂Q = −½ (d αᵀ + α dᵀ), and of Q = (K + I) ⊗ I the blocks of a class add up.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.learners import Network, Psi
from rotogbml.methods.compared import Options
from rotogbml.methods.episodic import Episodic

C = 0.1
"""MetaOptNet's code."""
TOLERANCE = 1e-11
MOST = 50

log = logging.getLogger(__name__)


class Solution(NamedTuple):
    """Where the interior point stopped."""

    alpha: Tensor
    """[s, n], float64."""
    slack: Tensor
    """t = h − α, > 0."""
    multipliers: Tensor
    """z, > 0."""
    gap: float
    """t·z and the largest residual, whichever is larger: 0 at the solution."""


def solve(K: Tensor, hot: Tensor, c: float = C) -> Solution:
    """Return the dual's solution.

    Args:
        K: [s, s], symmetric, positive semidefinite.
        hot: [s, n], 1 at each image's class, else 0.
        c: C > 0.
    """
    K, hot = K.detach().double(), hot.double()
    s, n = hot.shape
    Q, A = _quadratic(K, n), _sums(s, n, K)
    h, linear = (c * hot).flatten(), -hot.flatten()
    alpha = (c / 2 * (hot - (1 - hot) / (n - 1))).flatten()
    t, z, nu = h - alpha, torch.ones_like(h), K.new_zeros(s)
    gap = float("inf")
    for _ in range(MOST):
        dual, equal, bound = Q @ alpha + linear + z + A.T @ nu, A @ alpha, alpha + t - h
        mu = float(t @ z) / len(t)
        gap = max(float(t @ z), *(float(r.abs().max()) for r in (dual, equal, bound)))
        if gap < TOLERANCE:
            break
        newton = _Newton(torch.linalg.lu_factor(_system(Q, A, z / t)), t, z, dual, equal, bound)
        d, dt, dz, _ = newton.step(t * z)
        reach = min(_reach(t, dt), _reach(z, dz))
        after = float((t + reach * dt) @ (z + reach * dz)) / len(t)
        d, dt, dz, dnu = newton.step(t * z + dt * dz - (after / mu) ** 3 * mu)
        reach = 0.99 * min(_reach(t, dt), _reach(z, dz))
        alpha, t, z, nu = alpha + reach * d, t + reach * dt, z + reach * dz, nu + reach * dnu
    return Solution(alpha.view(s, n), t, z, gap)


class _Newton(NamedTuple):
    """One iteration's linear system, and what is to vanish."""

    system: tuple[Tensor, Tensor]
    t: Tensor
    z: Tensor
    dual: Tensor
    """Qα − 1[y] + z + Aᵀν."""
    equal: Tensor
    """Aα."""
    bound: Tensor
    """α + t − h."""

    def step(self, complementary: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the steps of α, t, z and ν: t dz + z dt = −complementary, and the other residuals to 0."""
        right = torch.cat([(complementary - self.z * self.bound) / self.t - self.dual, -self.equal])
        both = torch.linalg.lu_solve(*self.system, right[:, None])[:, 0]
        d, dnu = both[: len(self.t)], both[len(self.t) :]
        dt = -self.bound - d
        return d, dt, (-complementary - self.z * dt) / self.t, dnu


def _quadratic(K: Tensor, n: int) -> Tensor:
    """Return (K + I) ⊗ I, for variables in the order (image, class)."""
    eye = torch.eye(n, dtype=K.dtype, device=K.device)
    return torch.kron(K + torch.eye(len(K), dtype=K.dtype, device=K.device), eye)


def _sums(s: int, n: int, like: Tensor) -> Tensor:
    """Return A [s, s·n]: row i adds up the classes of image i."""
    return torch.kron(torch.eye(s, dtype=like.dtype, device=like.device), like.new_ones(1, n))


def _system(Q: Tensor, A: Tensor, weight: Tensor) -> Tensor:
    above = torch.cat([Q + torch.diag(weight), A.T], dim=1)
    return torch.cat([above, torch.cat([A, A.new_zeros(len(A), len(A))], dim=1)])


def _reach(x: Tensor, dx: Tensor) -> float:
    """Return the largest step, ≤ 1, that leaves x + step·dx ≥ 0."""
    down = dx < 0
    return min(1.0, float((-x[down] / dx[down]).min())) if bool(down.any()) else 1.0


class _Dual(torch.autograd.Function):
    """α of K."""

    @staticmethod
    def forward(ctx: Any, K: Tensor, hot: Tensor, found: Solution) -> Tensor:
        ctx.save_for_backward(K.detach(), hot, *found[:3])
        return found.alpha.to(K)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        K, hot, alpha, slack, multipliers = ctx.saved_tensors
        s, n = hot.shape
        system = _system(_quadratic(K.double(), n), _sums(s, n, alpha), multipliers / slack)
        right = torch.cat([gradients[0].double().flatten(), alpha.new_zeros(s)])
        d = torch.linalg.solve(system, right)[: s * n].view(s, n)
        product = d @ alpha.T
        return (-(product + product.T) / 2).to(K), None, None


class MetaOptSvm(Episodic):
    """MetaOptNet with a support vector machine as its convex head, trained end to end."""

    def __init__(self, name: str, network: Network, options: Options) -> None:
        super().__init__(name, network, options)
        self.gap, self.told = 0.0, False

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return s K_qs α."""
        hot = F.one_hot(y, n_way).to(support)
        K = support @ support.T
        found = solve(K, hot)
        self.gap = found.gap
        if not found.gap < TOLERANCE and not self.told:  # that of features that are not finite is no number
            self.told = True
            log.warning(
                "the support vector machine of a task stopped at a gap of %.2g, above %.0g, after %d iterations: its "
                "scores are near, not exact; features as large as this run's call for --method.solver ridge",
                *(found.gap, TOLERANCE, MOST),
            )
        alpha = _Dual.apply(K, hot, found)
        return psi.phi["scale"] * (query @ support.T) @ alpha

    def notes(self) -> dict[str, float]:
        """Return the gap at which the last solve stopped."""
        return {"svm_gap": self.gap}
