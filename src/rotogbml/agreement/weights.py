"""The best that weights of sources could do for another one, in hindsight: an upper bound of what any ω can reach.

With μ_T what the target asks for, and ω ≥ 0 over training sources, the weights under whose step the target's loss falls
fastest for its length are those of the nearest point of a cone,

    max_ω cos(μ_T, Σ ω_s μ_s)   ⇔   min_ω ‖μ_T − Σ_s ω_s μ_s‖²   (up to a factor of ω),

a non-negative least-squares problem in the products alone: G_st = ⟨μ_s, μ_t⟩, c_s = ⟨μ_s, μ_T⟩. The target's gradient
is known to nobody in training. ω chosen on some tasks must be judged on others: it fits their noise too. So what is
measured lies below the bound, the more the fewer the tasks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rotogbml.agreement.products import Products


def nearest(G: Tensor, c: Tensor) -> Tensor:
    """Return ω ≥ 0 that minimises ωᵀGω − 2cᵀω, [S]: an active set, solved whole (Lawson and Hanson 1974, ch. 23).

    Args:
        G: symmetric, [S, S]; what noise made of it is put back to no negative eigenvalue.
        c: [S].
    """
    values, vectors = torch.linalg.eigh(G)
    G = (vectors * values.clamp(min=1e-6 * float(values.abs().max()))) @ vectors.T
    omega, free = torch.zeros_like(c), torch.zeros(len(c), dtype=torch.bool)
    tiny = 1e-12 * float(c.abs().max())
    for _ in range(3 * len(c)):  # a set never comes back; rounding alone could make it seem to
        downhill = torch.where(free, -torch.inf, c - G @ omega)
        if not float(downhill.max()) > tiny:
            break
        free[downhill.argmax()] = True
        while True:
            solved = torch.zeros_like(c)
            solved[free] = torch.linalg.solve(G[free][:, free], c[free])
            below = free & (solved <= 0)
            if not bool(below.any()):
                break
            # As far as the first one that would become negative; it leaves the set.
            reach = torch.where(below, omega / (omega - solved), torch.inf)
            omega = omega + reach.min() * (solved - omega)
            free &= reach > reach.min()
            omega[~free] = 0.0
        omega = solved
    return omega


def toward(products: Products, omega: Tensor) -> float:
    """Return cos(μ_T, Σ ω_s μ_s) of the last source, T, and the others; NaN where one of both is nothing."""
    means = products.means()
    G, c, own = means[:-1, :-1], means[:-1, -1], means[-1, -1]
    length = float(omega @ G @ omega) * float(own)
    return float(omega @ c) / length**0.5 if length > 0 else float("nan")


def even(products: Products) -> float:
    """Return the cosine under equal weights, plain training's."""
    return toward(products, torch.ones(len(products.energy) - 1, dtype=torch.float64))


def hindsight(products: Products) -> Tensor:
    """Return the best weights of the other sources for the last one, of mean 1, [S]; all 0 where none pulls its way."""
    means = products.means()
    omega = nearest(means[:-1, :-1], means[:-1, -1])
    total = float(omega.sum())
    return omega * (len(omega) / total) if total > 0 else omega


def best(products: Products) -> float:
    """Return the cosine under the best weights: chosen on every other block, judged on the rest, and the other way."""
    halves = [products.of(range(first, products.blocks, 2)) for first in (0, 1)]
    found = []
    for chooses, judges in (halves, halves[::-1]):
        omega = hindsight(chooses)
        found.append(toward(judges, omega) if float(omega.sum()) > 0 else 0.0)
    return sum(found) / 2
