"""RelationNet (Sung et al. 2018): a learned measure of how alike a query's map and a class's mean map are.

    c_k = mean of f(x), x in S_k,   r_k(x) = g([c_k, f(x)])
    mse      L = mean (σ(r) − 1[y])²     the paper's, and Table II's
    softmax  L = cross-entropy of r      for many ways

The paper sums the support's maps where later codes take the mean: this does, one scale for any k_shot.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders import NormPass
from rotogbml.encoders.norm import Seen
from rotogbml.learners import Network, Psi
from rotogbml.methods.compared import Compared, Options, Task, TaskLoss
from rotogbml.methods.prototypes import prototypes
from rotogbml.methods.relation import Relation, paired


class RelationNet(Compared):
    """A relation module beside an encoder of maps."""

    def __init__(self, name: str, network: Network, options: Options, module: Relation) -> None:
        super().__init__(name, network, options)
        self.module = module

    @property
    def norm(self) -> str:
        """Of the encoder, and of pairs."""
        return f"{super().norm}, of pairs {self.module.norm}"

    def task_loss(self, psi: Psi, task: Task) -> TaskLoss:
        """Return the loss of an episode."""
        episode = task.episode
        support, query = self.features(psi.theta, episode, task.drop, task.seen)
        pairs = self.pairs(support, episode.support.y, query, episode.n_way)
        raw = self.raw(psi, pairs, episode.n_way, task.seen)
        return TaskLoss(self.loss(raw, episode.query.y), raw, episode.query.y, query)

    def pairs(self, support: Tensor, y: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return all pairs of maps, [q · n_way, 2C, h, w], of features [s, m] and [q, m]."""
        shape = (self.module.channels, self.module.side, self.module.side)
        return paired(prototypes(support, y, n_way).view(n_way, *shape), query.view(len(query), *shape))

    def raw(self, psi: Psi, pairs: Tensor, n_way: int, seen: Seen | None = None) -> Tensor:
        """Return r [q, n_way]."""
        return self.module.called(psi.phi, pairs, NormPass(seen=seen)).view(-1, n_way)

    def loss(self, raw: Tensor, y: Tensor) -> Tensor:
        """Return the loss of raw scores [q, n_way] and labels [q]."""
        if self.options["loss"] == "softmax":
            return self.network.loss(raw, y)
        return F.mse_loss(raw.sigmoid(), F.one_hot(y, raw.shape[1]).to(raw))

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return r, or under ``mse`` log σ(r): what σ gives is shared out among the classes."""
        with torch.no_grad():
            raw = self.raw(psi, self.pairs(support, y, query, n_way), n_way)
        return raw if self.options["loss"] == "softmax" else F.logsigmoid(raw)
