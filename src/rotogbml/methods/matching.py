"""MatchingNet (Vinyals et al. 2016): attention over the support.

    a(z, z_i) = softmax_i(s · cos(z, z_i)),   P(y = k | z) = Σ_{i: y_i = k} a(z, z_i)

The basic kind, without full context embeddings. The paper's s is 1, with which five classes of one image cannot be told
apart with more than 0.4 to 0.6 of certainty; codes differ. Here it is learned from 10 on, as in our cosine head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rotogbml.learners import Psi
from rotogbml.methods.episodic import Episodic

SCALE = 10.0


class Scale(nn.Module):
    """One learned number s > 0, by its logarithm."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(start).log())


class MatchingNet(Episodic):
    """Attention over the support, trained end to end."""

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return log P(y = k | z): its softmax is P itself."""
        attention = psi.phi["log"].exp() * F.normalize(query, dim=1) @ F.normalize(support, dim=1).T
        whose = F.one_hot(y, n_way).T.to(torch.bool)  # [n_way, s]
        logs = attention.log_softmax(1)[:, None].masked_fill(~whose, -torch.inf)
        return logs.logsumexp(2)
