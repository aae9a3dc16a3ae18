"""SKD (Rajasegaran et al. 2021): a classifier that also tells rotations apart, then its own student.

    GEN0   images in four rotations, labels repeated; class logits l = Wz + b, rotation logits Rl + r of them
           L = CE(l, y) + 2 · mean binary cross-entropy(Rl + r, one-hot rotation)
    GEN1   a copy of GEN0 learns from it, upright images and one turned by 90°
           L = T² KL(softmax(l_teacher/T) ‖ softmax(l/T)) + γ · mean ‖l(turned) − l(upright)‖₂ / 3,   T = 2, γ = 0.1

The last term's third is the public script's, which has one of three rotations. At test: logistic regression on features
of length 1 (theirs are also fitted to five augmented copies of each support image; here to the image itself).
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rotogbml.encoders import Encoder
from rotogbml.encoders.norm import NormPass
from rotogbml.learners import LinearHead, Network, Psi
from rotogbml.methods.beside import Beside
from rotogbml.methods.compared import Compared, Task, TaskLoss, masks
from rotogbml.methods.logistic import logistic

ROTATION_WEIGHT = 2.0
TEMPERATURE = 2.0
GAMMA = 0.1
"""The README's."""


class Rotations(LinearHead):
    """Class logits, and rotation logits of them."""

    def __init__(self, feature_dim: int, classes: int) -> None:
        super().__init__(feature_dim, classes)
        self.turns = nn.Parameter(torch.zeros(4, classes))
        self.turns_bias = nn.Parameter(torch.zeros(4))


def rotation_loss(logits: Tensor, turns: Tensor) -> Tensor:
    """Return mean binary cross-entropy of rotation logits [b, 4] and rotations [b]."""
    return F.binary_cross_entropy_with_logits(logits, F.one_hot(turns, 4).to(logits))


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return T² KL(teacher ‖ student) at T, a sum over classes and a mean over images, of logits [b, n]."""
    log_p, log_q = (t / TEMPERATURE for t in (teacher, student))
    kl = F.kl_div(log_q.log_softmax(1), log_p.log_softmax(1), reduction="batchmean", log_target=True)
    return TEMPERATURE**2 * kl


def consistency_loss(turned: Tensor, upright: Tensor) -> Tensor:
    """Return the mean length of the difference of logits [b, n], by three."""
    # At no difference a length has no derivative; a student begins as a copy, but images turned are other images.
    return (turned - upright).square().sum(1).clamp_min(1e-24).sqrt().mean() / 3


class Judged(Compared):
    """Logistic regression on features of length 1."""

    draws = "images"

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return Wz + b."""
        weight, bias = logistic(F.normalize(support.detach(), dim=1), y, n_way)
        return F.linear(F.normalize(query, dim=1), weight, bias)

    def class_logits(self, psi: Psi, x: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """Return class logits [b, n] and features [b, m] of training images."""
        z = self.network.features(psi.theta, x, masks(task.drop), NormPass(seen=task.seen))
        return F.linear(z, psi.phi["weight"], psi.phi["bias"]), z


class Gen0(Judged):
    """SKD's first generation."""

    def task_loss(self, psi: Psi, task: Task) -> TaskLoss:
        """Return the loss of a minibatch in four rotations."""
        images = task.episode.images
        x = torch.cat([torch.rot90(images.x, k, (2, 3)) for k in range(4)])
        y, turns = images.y.repeat(4), torch.arange(4, device=x.device).repeat_interleave(len(images.y))
        logits, z = self.class_logits(psi, x, task)
        rotation = rotation_loss(F.linear(logits, psi.phi["turns"], psi.phi["turns_bias"]), turns)
        return TaskLoss(self.network.loss(logits, y) + ROTATION_WEIGHT * rotation, logits, y, z)


class Taught(Beside):
    """A student's network, with its teacher, which stands still."""

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__(encoder, head)
        self.teacher = Beside(copy.deepcopy(encoder), copy.deepcopy(head))

    def begin(self) -> None:
        """Make the teacher a copy of the student as it is."""
        with torch.no_grad():
            mine = [*self.psi().tensors(), *super().statistics().values()]
            for one, its in zip(
                mine, [*self.teacher.psi().tensors(), *self.teacher.statistics().values()], strict=True
            ):
                its.copy_(one)

    def to(self, device: torch.device) -> None:
        """Move both."""
        super().to(device)
        self.teacher.to(device)

    def statistics(self) -> dict[str, Tensor]:
        """Return the student's, and the whole teacher: a run that goes on needs no other run."""
        psi = self.teacher.psi()
        whole = {**psi.theta, **psi.phi, **self.teacher.statistics()}
        return {**super().statistics(), **{f"teacher.{name}": t.detach() for name, t in whole.items()}}


class Gen1(Judged):
    """SKD's second generation."""

    def task_loss(self, psi: Psi, task: Task) -> TaskLoss:
        """Return the loss of a minibatch, upright and turned."""
        images = task.episode.images
        teacher = cast(Taught, self.network).teacher
        with torch.no_grad():
            theirs = called_logits(teacher, images.x)
        both = torch.cat([images.x, torch.rot90(images.x, 1, (2, 3))])
        logits, z = self.class_logits(psi, both, task)
        b = len(images.y)
        upright, turned = logits[:b], logits[b:]
        loss = distillation_loss(upright, theirs) + GAMMA * consistency_loss(turned, upright)
        return TaskLoss(loss, upright, images.y, z)


def called_logits(network: Network, x: Tensor) -> Tensor:
    """Return class logits [b, n] of images by a network's own parameters, norms as in a test."""
    theta, phi = network.psi()
    return F.linear(network.features(theta, x), phi["weight"], phi["bias"])
