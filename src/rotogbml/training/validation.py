"""How well an initialisation adapts: accuracy over fixed episodes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from rotogbml.episodes import Episode, EpisodeSampler
from rotogbml.errors import RotogbmlError
from rotogbml.learners import Psi, Trainable, accuracy
from rotogbml.training.ranks import ALONE, Ranks


def mean_ci95(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the mean and the half width of its 95 % interval, 1.96 · σ / √n as the literature prints it (ddof 0)."""
    values = np.asarray(values, dtype=np.float64)
    return float(values.mean()), float(1.96 * values.std() / math.sqrt(len(values)))


def accuracies(learner: Trainable, psi: Psi, episodes: Iterable[Episode]) -> np.ndarray:
    """Return the query accuracy of each episode, float64 [episodes], 0 … 1; episodes move to where ψ is.

    Raises:
        RotogbmlError: a prediction is not finite.
    """
    device = next(iter(psi.theta.values())).device
    moved = (episode.to(device) for episode in episodes)
    return np.array([_accuracy(learner.predict(psi, episode), episode) for episode in moved])


def _accuracy(logits: Tensor, episode: Episode) -> float:
    if not bool(logits.isfinite().all()):
        raise RotogbmlError(
            f"training has diverged: predictions on source '{episode.source}' are not finite. Lower --outer.meta_lr or "
            "--learner.inner_lr and start again in another --out"
        )
    return accuracy(logits, episode.query.y)


class Judged(NamedTuple):
    """What a validation found, all 0 … 1."""

    mean: float
    """Accuracy over all episodes."""
    ci95: float
    """Half of its 95 % interval."""
    by_source: dict[str, float]
    """The mean of each source."""

    def line(self) -> dict[str, object]:
        """Return it as metrics say it."""
        return {"accuracy": self.mean, "ci95": self.ci95, "sources": self.by_source}


class Validation:
    """The same episodes at every call, shared out evenly over the training sources' validation classes.

    Args:
        samplers: one for each source with validation classes, by name; may be empty.
        episodes: how many in all, at least one of each source.
    """

    def __init__(self, samplers: dict[str, EpisodeSampler], episodes: int) -> None:
        self.samplers = samplers
        self.each = max(1, episodes // max(1, len(samplers)))
        """Episodes of one source."""

    @property
    def episodes(self) -> int:
        """Episodes in all: as asked for, as far as it divides among the sources."""
        return self.each * len(self.samplers)

    def __bool__(self) -> bool:
        """Whether there is anything to validate on."""
        return bool(self.samplers)

    def __call__(self, learner: Trainable, psi: Psi, ranks: Ranks = ALONE) -> Judged:
        """Return the accuracy of ψ; processes share the episodes."""
        scores = self.scores(learner, psi, ranks)
        mean, ci95 = mean_ci95(scores.reshape(-1))
        return Judged(mean, ci95, {name: float(row.mean()) for name, row in zip(self.samplers, scores, strict=True)})

    def scores(self, learner: Trainable, psi: Psi, ranks: Ranks = ALONE) -> np.ndarray:
        """Return the accuracy of each episode, 0 … 1, [sources, each]."""
        asked = [(sampler, i) for sampler in self.samplers.values() for i in range(self.each)]

        def work() -> list[float]:
            mine = (asked[k] for k in ranks.share(len(asked)))
            return accuracies(learner, psi, (sampler.batch(i)[0] for sampler, i in mine)).tolist()

        return np.array(ranks.gather(work, len(asked))).reshape(len(self.samplers), self.each)
