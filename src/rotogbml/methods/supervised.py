"""Supervised pre-training on the training classes, a new head at test (Chen et al. 2019, "A Closer Look").

    Baseline     a linear head over all training classes; at test a new linear head on features of the frozen encoder
    Baseline++   the same with cosine scores s·cos(w_k, z), in both stages

Their code has 200 outputs however many classes there are; here there are as many as classes. Its scale is 2 or 10 by
the number of classes; here it is learned from 10 on, and held at test.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders.norm import NormPass
from rotogbml.learners import Network, Psi
from rotogbml.methods import fit
from rotogbml.methods.compared import Compared, Options, Task, TaskLoss, masks


class Supervised(Compared):
    """Cross-entropy over all training classes; a subclass judges at test."""

    draws = "images"

    def task_loss(self, psi: Psi, task: Task) -> TaskLoss:
        """Return the mean cross-entropy over a minibatch of labelled images."""
        images = task.episode.images
        z = self.network.features(psi.theta, images.x, masks(task.drop), NormPass(seen=task.seen))
        logits = self.network.logits(psi.phi, z)
        return TaskLoss(self.network.loss(logits, images.y), logits, images.y, z)


class Baseline(Supervised):
    """A new linear head on frozen features."""

    def __init__(self, name: str, network: Network, options: Options) -> None:
        super().__init__(name, network, options)
        self.fit = fit.Fit.of(options)

    def steps(self, images: int) -> int:
        """Return the steps of the fit."""
        return self.fit.steps(images)

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return wz + b of a head fitted to the support."""
        weight, bias = fit.linear(support.detach(), y, n_way, self.fit, key)
        return F.linear(query, weight, bias)


class BaselinePP(Baseline):
    """A new cosine head on frozen features."""

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return s·cos(w, z) of a head fitted to the support."""
        scale = psi.phi["scale"].detach()
        weight = fit.cosine(support, y, n_way, self.fit, key, scale)
        return scale * F.linear(F.normalize(query, dim=1), F.normalize(weight, dim=1))
