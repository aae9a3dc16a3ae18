"""The gradients of many tasks of each source, at one checkpoint of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rotogbml.agreement.products import Products
from rotogbml.config import RunConfig
from rotogbml.encoders.isi import Isi
from rotogbml.episodes import EpisodeSampler
from rotogbml.episodes.apart import filling
from rotogbml.errors import UsageError
from rotogbml.homogenizer import gramian
from rotogbml.learners import Learner, Outcome, Psi
from rotogbml.seeds import derive
from rotogbml.sources.packed import PackedSource

ROOMS: dict[str, Callable[[Outcome], list[Tensor]]] = {
    "encoder": lambda outcome: outcome.theta_gradient,
    "features": lambda outcome: [outcome.feature_gradient],
}
"""Whose gradients: ω scales the encoder's, γ turns those of the features."""


@dataclass(frozen=True)
class Asked:
    """Which tasks of a source."""

    source: PackedSource
    split: str

    def sampler(self, config: RunConfig, seed: int) -> EpisodeSampler:
        """Return what draws them as the run's training does, apart from the tasks that it was trained on.

        Each source has draws of its own: shots, places and augmentation that two sources' tasks shared would stand in
        the product of their gradients. Of a range of shots it takes what the source can fill, as in training.
        """
        e = config.episodes
        assert e.augment is not None
        wrong = {name: share for name, share in (e.label_noise or {}).items() if name == self.source.name}
        return EpisodeSampler(
            [self.source],
            e.n_way,
            e.k_shot if isinstance(e.k_shot, int) else (e.k_shot[0], self._most(config, *e.k_shot)),
            e.n_query,
            1,
            "single-source",
            derive(seed, "agreement", self.source.name),
            self.split,
            e.augment,
            e.respect_groups,
            wrong,
        )

    def _most(self, config: RunConfig, low: int, high: int) -> int:
        """Return the most shots, low … high, of which the source has a task; low where it has none."""
        e = config.episodes

        def serves(k: int) -> bool:
            return len(filling(self.source, self.split, k, e.n_query, apart=e.respect_groups)) >= e.n_way

        return next((k for k in range(high, low, -1) if serves(k)), low)


def measure(
    learner: Learner,
    psi: Psi,
    config: RunConfig,
    asked: Sequence[Asked],
    tasks: int,
    blocks: int,
    seed: int,
    advance: Callable[[int], None],
) -> dict[str, Products]:
    """Return the products of each room: plain gradients with the run's ISI and augmentation, without ω and γ.

    Args:
        learner: as the run's, at that point of its training.
        psi: where the gradients are taken.
        config: the run's.
        asked: the sources, in the order of the products.
        tasks: of each source.
        blocks: in which they are kept; divides ``tasks``.
        seed: names tasks and masks.
        advance: is told of each task.

    Raises:
        UsageError: a gradient is not finite.
    """
    isi = None if config.isi is None else Isi(config.isi)
    each = tasks // blocks
    sums: dict[str, list[Tensor]] = {room: [] for room in ROOMS}
    energy = {room: torch.zeros(len(asked), blocks, dtype=torch.float64) for room in ROOMS}
    for s, one in enumerate(asked):
        sampler = one.sampler(config, seed)
        for b in range(blocks):
            total: dict[str, Tensor] = {}
            for i in range(b * each, (b + 1) * each):
                (episode,) = sampler.batch(i)
                drop = None if isi is None else isi.draw(derive(seed, "agreement isi", one.source.name, one.split, i))
                outcome = learner.meta_gradient(psi, learner.prepare(psi, episode, drop))
                for room, gradient in ROOMS.items():
                    g = torch.cat([part.detach().flatten() for part in gradient(outcome)]).double()
                    energy[room][s, b] += float(g @ g) / each
                    total[room] = g if room not in total else total[room].add_(g)
                advance(1)
            for room, of_block in total.items():
                if not bool(torch.isfinite(of_block).all()):
                    raise UsageError(
                        f"gradients of '{one.source.name}' are not finite at this checkpoint: take another"
                    )
                sums[room].append((of_block / each).float())
    shape = (len(asked), blocks, len(asked), blocks)
    return {room: Products(gramian(torch.stack(sums[room])).view(shape), energy[room], each) for room in ROOMS}
