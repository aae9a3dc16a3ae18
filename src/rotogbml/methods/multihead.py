"""One encoder for all sources, a classifier for each: pre-training as SUR and URL begin (Dvornik 2020, Li 2021).

    training   a minibatch is of one source, cross-entropy over that source's own classes
    test       nearest prototype by cosine, s·cos(z, c_k)

SUR trains an encoder a source and selects among them at test; URL distils those into one and fits a linear map at test.
This is what both are compared with: one encoder trained on all, without distillation and without a fit at test.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders.norm import NormPass
from rotogbml.episodes.labelled import labels
from rotogbml.learners import Network, Psi
from rotogbml.methods.compared import Compared, Options, Task, TaskLoss, masks
from rotogbml.methods.prototypes import prototypes

SCALE = 10.0
"""s at test: it moves probabilities, not predictions."""


class MultiHead(Compared):
    """A head a source: rows of one matrix, of which a minibatch sees its source's.

    Args:
        name: as ever.
        network: its head has a row for each training class.
        options: as ever.
        classes: how many training classes each source has.
    """

    draws = "images"

    def __init__(self, name: str, network: Network, options: Options, classes: dict[str, int]) -> None:
        super().__init__(name, network, options)
        self.own = labels(classes)

    def task_loss(self, psi: Psi, task: Task) -> TaskLoss:
        """Return the mean cross-entropy over a minibatch among its source's classes."""
        images, own = task.episode.images, self.own[task.episode.source]
        z = self.network.features(psi.theta, images.x, masks(task.drop), NormPass(seen=task.seen))
        logits = self.network.logits(psi.phi, z)[:, own.start : own.stop]
        y = images.y - own.start
        return TaskLoss(self.network.loss(logits, y), logits, y, z)

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return s·cos(z, c_k)."""
        c = prototypes(F.normalize(support, dim=1), y, n_way)
        return SCALE * F.normalize(query, dim=1) @ F.normalize(c, dim=1).T
