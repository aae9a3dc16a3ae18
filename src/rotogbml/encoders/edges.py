"""A second control for ISI: the very same drop probabilities, handed out by edge magnitude.

ISI claims to keep shape because self-information is high where patches do not recur. An edge detector keeps shape
too, and knows nothing of recurrence: isolated texture keeps its place under ISI and under this mask, a regular grating
only under this one. So that *where* is all that differs, the probabilities of an image are those that ISI gives it,
largest first, put at its positions from the flattest to the steepest. The expected number of dropped neurons is equal.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def edge_magnitude(x: Tensor) -> Tensor:
    """Return √Σ_c (∂x/∂row² + ∂x/∂column²) by central differences, borders repeated: [b, c, h, w] → [b, h, w]."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    along = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return (down.square() + along.square()).sum(1).sqrt() / 2


def by_edges(probability: Tensor, edges: Tensor) -> Tensor:
    """Return an image's probabilities, the largest where its edges are weakest: [b, h, w] × [b, h, w] → [b, h, w].

    Positions of equal magnitude, such as a flat background, share the mean of what falls to them.
    """
    largest_first = probability.flatten(1).sort(dim=1, descending=True).values
    weakest_first, order = edges.flatten(1).sort(dim=1, stable=True)
    b, n = order.shape
    opens = torch.ones(b, n, dtype=torch.int64, device=edges.device)
    opens[:, 1:] = (weakest_first[:, 1:] != weakest_first[:, :-1]).long()
    group = opens.flatten().cumsum(0) - 1
    total = largest_first.new_zeros(int(group[-1]) + 1 if b * n else 0).index_add_(0, group, largest_first.flatten())
    share = total / torch.bincount(group).clamp_min(1).to(total)
    return torch.empty_like(largest_first).scatter_(1, order, share[group].reshape(b, n)).reshape(probability.shape)
