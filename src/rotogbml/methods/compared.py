"""What the trainer and the evaluation ask of a compared method: the same as of a learner.

    prepare         take the task                                (nothing to adapt)
    meta_gradient   one loss, one backward                       (training)
    predict         scores of the queries, given the support     (test)

A method is one loss of a minibatch, ``task_loss``, and one rule at test, ``scores``. A minibatch is an episode or some
labelled images (``draws``); its parameters are ψ = (θ, φ): the encoder, and what the method has beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from rotogbml.encoders.isi import Masks
from rotogbml.encoders.norm import NormPass, Seen
from rotogbml.episodes import Episode, Labelled, Pair
from rotogbml.learners import Network, Outcome, Params, Psi, Rotation, accuracy
from rotogbml.learners.directions import directions

Options = dict[str, Any]
Draws = Literal["episodes", "images", "pairs", "nothing"]


class Task(NamedTuple):
    """A minibatch that waits for its loss."""

    episode: Any
    """``Episode``, ``Labelled`` or ``Pair``, as the method draws."""
    drop: Masks | None
    seen: Seen


@dataclass(frozen=True)
class TaskLoss:
    """The loss of one minibatch, its graph alive."""

    loss: Tensor
    """Scalar."""
    logits: Tensor
    """[b, n] scores, the largest being the prediction."""
    y: Tensor
    """[b] labels."""
    z: Tensor
    """[b, m] features of what ``logits`` judges."""
    notes: dict[str, float] = field(default_factory=dict)


class Compared:
    """A compared method; subclasses say how it trains and how it judges.

    Args:
        network: encoder and, as its head, what the method learns beside it.
        options: the fields of ``MethodConfig``, resolved.

    Attributes:
        name: as in ``method_presets.METHODS``.
        draws: what its minibatches are.
        any_way: whether one checkpoint serves tasks of any n_way.
        moves_encoder: whether a test changes θ.
        alpha: what is learned beside ψ, by name.
    """

    draws: ClassVar[Draws] = "episodes"
    any_way: ClassVar[bool] = True
    moves_encoder: ClassVar[bool] = False
    outer_scale: ClassVar[float] = 1.0
    group_moves_encoder: ClassVar[bool] = False
    judges_alone: ClassVar[bool] = False

    def __init__(self, name: str, network: Network, options: Options) -> None:
        self.name, self.network, self.options = name, network, options
        self.alpha: Params = {}

    # What a method is:

    def task_loss(self, psi: Psi, task: Task) -> TaskLoss:
        """Return the loss of a minibatch.

        Raises:
            TypeError: the method trains nothing.
        """
        raise TypeError(f"{self.name} trains nothing")

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return query scores [q, n_way] whose softmax are the method's probabilities.

        Args:
            psi: as trained.
            support: [s, m] features.
            y: [s] labels, 0 … n_way − 1.
            query: [q, m] features.
            n_way: classes.
            key: names the task's own random streams.

        Raises:
            TypeError: the method judges images, not features: it has a ``predict`` of its own.
        """
        raise TypeError(f"{self.name} judges images, not features")

    def predict(self, psi: Psi, episode: Episode) -> Tensor:
        """Return query scores [q, n_way] of a test episode."""
        with torch.no_grad():
            support, query = self.features(psi.theta, episode)
        return self.scores(psi, support, episode.support.y, query, episode.n_way, episode.key).detach()

    def ready(self, psi: Psi, episode: Episode) -> Callable[[Tensor], Tensor]:
        """Return what scores images of a task, [q, 3, size, size] → [q, n_way].

        What can be done before any comes is done before; here, nothing.
        """
        return lambda x: self.predict(psi, episode.asking(x))

    def steps(self, images: int) -> int:
        """Return how many gradient steps a test takes on a support of so many images."""
        return 0

    # What all share:

    def features(
        self, theta: Params, episode: Episode, drop: Masks | None = None, seen: Seen | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return features of support [s, m] and queries [q, m] from one pass.

        Under norms that take the support's statistics, they are those of the support; under ``batch``, of both.
        """
        s = len(episode.support.x)
        both = torch.cat([episode.support.x, episode.query.x])
        z = self.network.features(theta, both, masks(drop), NormPass(given=s, seen=seen))
        return z[:s], z[s:]

    @property
    def norm(self) -> str:
        """Whose statistics normalise, as a row says it."""
        return self.network.encoder.norm

    def at(self, progress: float) -> Compared:
        """Return the method as it is when that share of training, 0 … 1, is done."""
        return self

    def learned(self) -> dict[str, Params]:
        """Return all that training changes, by group: what a checkpoint holds and a test takes up."""
        psi = self.network.psi()
        return {"theta": psi.theta, "phi": psi.phi, "alpha": self.alpha, "statistics": self.network.statistics()}

    def to(self, device: torch.device) -> None:
        """Move everything that is learned."""
        self.network.to(device)
        for p in self.alpha.values():
            p.data = p.data.to(device)

    def prepare(
        self,
        psi: Psi,
        episode: Episode | Labelled | Pair,
        drop: Masks | None = None,
        rotate_support: Rotation | None = None,
    ) -> Task:
        """Take a minibatch; nothing adapts."""
        return Task(episode, drop, {})

    def meta_gradient(self, psi: Psi, task: Task, rotate: Rotation | None = None) -> Outcome:
        """Return a minibatch's loss and, from one backward, its gradients at ψ, at α and at the features."""
        found = self.task_loss(psi, task)
        at = [*psi.tensors(), *self.alpha.values()]
        *gradients, at_z = torch.autograd.grad(found.loss, [*at, found.z], materialize_grads=True)
        return self.outcome(psi, task, found, gradients, at_z)

    def outcome(self, psi: Psi, task: Task, found: TaskLoss, gradients: Sequence[Tensor], at_z: Tensor) -> Outcome:
        """Return what a minibatch has to tell.

        Args:
            psi: at which the gradients were taken.
            task: the minibatch.
            found: its loss.
            gradients: at ψ's tensors, then at α's.
            at_z: at ``found.z``.
        """
        a, b = len(psi.theta), len(psi.theta) + len(psi.phi)
        return Outcome(
            loss=found.loss.detach(),
            accuracy=accuracy(found.logits, found.y),
            theta_gradient=list(gradients[:a]),
            phi_gradient=list(gradients[a:b]),
            alpha_gradient=list(gradients[b:]),
            feature_gradient=directions("mean", [at_z], [found.z], found.y, found.logits.shape[1]),
            seen=task.seen,
            notes=found.notes,
        )

    def head_gradient(self, task: Task) -> Tensor:
        """γ does not go with compared methods, which is said before training."""
        raise TypeError(f"{self.name} has no head that a rotation could act on")

    def where_it_explodes(
        self, psi: Psi, episode: Episode, drop: Masks | None = None, rotate: Rotation | None = None
    ) -> str:
        """Return nothing: there are no inner steps."""
        return ""


def masks(drop: Masks | None) -> Masks | None:
    """Return ISI's masks of the one pass of a minibatch."""
    return None if drop is None else drop.of("both", 0)
