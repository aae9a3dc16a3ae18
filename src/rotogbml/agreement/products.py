"""Inner products of what sources' gradients are on average, from few noisy tasks of each.

A task's gradient is g = μ_s + ε: what its source asks for on average, and the noise of which classes and images were
drawn. Of μ_s nothing else is known than n tasks' gradients, and the squared length of their mean is too long by the
noise: E‖ḡ_s‖² = ‖μ_s‖² + E‖ε‖²/n. Products of *different* tasks have no such error,

    ⟨μ_s, μ_t⟩ = E⟨g_i, g_j⟩   for tasks i of s and j of t, i ≠ j,

so that with ḡ_s the mean of n tasks of a source, and e_s = (1/n) Σ_i ‖g_i‖²,

    ⟨μ_s, μ_t⟩ ≈ ⟨ḡ_s, ḡ_t⟩,  s ≠ t,      ‖μ_s‖² ≈ (n ‖ḡ_s‖² − e_s) / (n − 1),

both without bias (a U-statistic). Sums over blocks of tasks are kept, not each task's gradient; leaving out one block
after another gives the error of whatever is worked out from these products (the jackknife).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t at 97.5 % for 1 … 15 degrees of freedom."""


@dataclass(frozen=True)
class Products:
    """What is kept of the gradients of S sources, n tasks each in B blocks of n / B.

    Attributes:
        gram: ⟨mean of block b of source s, mean of block c of source t⟩, float64 [S, B, S, B].
        energy: mean of ‖g‖² over each block, float64 [S, B].
        tasks: n / B, tasks in a block.
    """

    gram: Tensor
    energy: Tensor
    tasks: int

    @property
    def blocks(self) -> int:
        """B."""
        return self.energy.shape[1]

    def of(self, blocks: Sequence[int]) -> Products:
        """Return the products of some blocks alone."""
        at = list(blocks)
        return replace(self, gram=self.gram[:, at][..., at], energy=self.energy[:, at])

    def among(self, sources: Sequence[int]) -> Products:
        """Return the products of some sources alone."""
        at = list(sources)
        return replace(self, gram=self.gram[at][:, :, at], energy=self.energy[at])

    def lengths(self) -> Tensor:
        """Return E‖g‖² of a single task of each source, [S]."""
        return self.energy.mean(1)

    def means(self) -> Tensor:
        """Return ⟨μ_s, μ_t⟩ without bias, [S, S]; on the diagonal ‖μ_s‖², which noise may make negative."""
        n = self.tasks * self.blocks
        gram = self.gram.mean((1, 3))
        own = (n * gram.diagonal() - self.lengths()) / (n - 1)
        return gram - torch.diag(gram.diagonal()) + torch.diag(own)

    def signal(self) -> Tensor:
        """Return ‖μ_s‖² / E‖g‖², [S]: the share of a single task's gradient that is its source's own, 0 … 1."""
        return self.means().diagonal() / self.lengths()

    def cosines(self) -> Tensor:
        """Return cos(μ_s, μ_t), [S, S]; NaN where noise leaves nothing of a mean."""
        means = self.means()
        length = means.diagonal().clamp(min=0).sqrt()
        found = means / (length[:, None] * length)
        return torch.where(torch.isfinite(found), found, torch.nan)

    def agreement(self) -> float:
        """Return Σ_{s≠t} ⟨μ_s, μ_t⟩ / ((S − 1) Σ_s ‖μ_s‖²): 1 where all are the same, 0 where they are orthogonal.

        A mean of cosines in which long means count for more: a short one's angle is mostly noise. Least is −1/(S − 1),
        where the means add up to nothing.
        """
        means = self.means()
        own = float(means.diagonal().sum())
        apart = float(means.sum()) - own
        return apart / ((len(means) - 1) * own) if own > 0 and len(means) > 1 else math.nan

    def single(self) -> Tensor:
        """Return what a minibatch sees, E⟨g_i, g_j⟩ / √(E‖g_i‖² E‖g_j‖²), of two tasks of sources s and t, [S, S]."""
        length = self.lengths().sqrt()
        return self.means() / (length[:, None] * length)


def jackknife(
    asked: Callable[[Products], Tensor | Sequence[float] | float], products: Products
) -> tuple[Tensor, Tensor]:
    """Return numbers worked out from products, and half widths of their 95 % intervals: t · √((B−1)/B Σ (x_b − x̄)²).

    x_b is a number without block b. NaN where it cannot be worked out without some block.
    """

    def numbers(of: Products) -> Tensor:
        return torch.as_tensor(asked(of), dtype=torch.float64)

    blocks = range(products.blocks)
    without = torch.stack([numbers(products.of([c for c in blocks if c != b])) for b in blocks])
    degrees = len(blocks) - 1
    variance = ((without - without.mean(0)) ** 2).sum(0) * degrees / len(blocks)
    return numbers(products), (_T[degrees - 1] if degrees <= len(_T) else 1.96) * variance.sqrt()
