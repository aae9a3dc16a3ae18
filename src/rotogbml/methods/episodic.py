"""Methods that train on episodes by the very rule by which they judge: scores of the queries, then cross-entropy."""

from __future__ import annotations

from torch import Tensor

from rotogbml.learners import Psi
from rotogbml.methods.compared import Compared, Task, TaskLoss


class Episodic(Compared):
    """L = cross-entropy of ``scores``; a subclass gives the scores."""

    def task_loss(self, psi: Psi, task: Task) -> TaskLoss:
        """Return the mean cross-entropy over the queries of an episode."""
        episode = task.episode
        support, query = self.features(psi.theta, episode, task.drop, task.seen)
        scores = self.scores(psi, support, episode.support.y, query, episode.n_way, episode.key)
        return TaskLoss(self.loss(scores, episode.query.y), scores, episode.query.y, query, self.notes())

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return the loss of scores [q, n_way] and labels [q]."""
        return self.network.loss(scores, y)

    def notes(self) -> dict[str, float]:
        """Return what the last ``scores`` has to say, such as the gap of a solver."""
        return {}
