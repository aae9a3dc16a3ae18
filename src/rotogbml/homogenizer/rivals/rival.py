"""A rival in ω's place: weights for the step, a memory moved after it, and what a checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rotogbml.config import HomogenizerConfig
from rotogbml.errors import UsageError, did_you_mean
from rotogbml.homogenizer.resolved import resolved
from rotogbml.homogenizer.rivals import gramian, losses
from rotogbml.homogenizer.rivals.graddrop import GradDrop
from rotogbml.homogenizer.rivals.method import Method, Minibatch
from rotogbml.homogenizer.rivals.norms import Clip, Sum, Unit
from rotogbml.homogenizer.slots import Slots
from rotogbml.homogenizer.statistics import TaskStatistics
from rotogbml.seeds import derive

SPELT = {
    "mean": "mean",
    "sum": "sum",
    "unit": "unit gradients",
    "clip": "clipped gradients",
    "pcgrad": "PCGrad",
    "mgda": "MGDA",
    "cagrad": "CAGrad",
    "upgrad": "UPGrad",
    "dualproj": "DualProj",
    "aligned-mtl": "AlignedMTL",
    "imtl-g": "IMTL-G",
    "gradvac": "GradVac",
    "graddrop": "GradDrop",
    "config": "ConFIG",
    "nash-mtl": "Nash-MTL",
    "famo": "FAMO",
    "dwa": "DWA",
    "uncertainty": "uncertainty weighting",
}
"""Rivals as a result row calls them."""
NAMES = tuple(SPELT)


def spelt(combine: str | None) -> str | None:
    """Return what tables call the rule in ω's place; None where there is none, or but the mean."""
    return None if combine in (None, "mean") else SPELT.get(combine, combine)


class Rival:
    """A method among the tasks of each minibatch, whatever order they come in.

    Args:
        name: one of ``NAMES``.
        method: its rule.
        slots: what its memory belongs to.
        seed: the run's.
    """

    def __init__(self, name: str, method: Method, slots: Slots, seed: int) -> None:
        self.name, self.method, self.slots, self.seed = name, method, slots, seed

    @property
    def needs_gram(self) -> bool:
        """Whether it looks at ⟨g_i, g_j⟩."""
        return self.method.needs_gram

    def weights(self, stats: TaskStatistics) -> Tensor:
        """Return w_i, float64 [N]: the step goes along (1/N) Σ w_i g_i. Some rivals give a weight below 0."""
        order = self._order(stats)
        w = torch.empty(len(stats), dtype=torch.float64)
        w[order] = self.method.weights(self._sorted(stats, order)).double()
        return w

    def update(self, stats: TaskStatistics) -> None:
        """Remember this step, after ψ has moved."""
        self.method.learn(self._sorted(stats, self._order(stats)))

    def combine(self, gradients: Sequence[Tensor], w: Tensor, stats: TaskStatistics) -> list[Tensor]:
        """Return the gradient of each group, [N, P] → [P]: (1/N) Σ w_i g_i, but GradDrop's own at θ, the first."""
        means = [w.to(part) @ part / len(part) for part in gradients]
        if isinstance(self.method, GradDrop):
            order = self._order(stats).to(gradients[0].device)
            means[0] = self.method.combine(gradients[0][order], self._seed(stats))
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"name": self.name, "slots": list(self.slots.names), "memory": self.method.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a saved state.

        Raises:
            UsageError: it is another rival's, or belongs to other slots.
        """
        if state["name"] != self.name:
            raise UsageError(
                f"the saved state is of combine={state['name']}, this run has combine={self.name}: resume with that"
            )
        self.slots.check_names(state["slots"], "memory of the rival")
        self.method.load_state_dict(state["memory"])

    def _seed(self, stats: TaskStatistics) -> int:
        return derive(self.seed, "rival", stats.step)

    def _order(self, stats: TaskStatistics) -> Tensor:
        """Return the tasks in the order of their sources' names, tasks of one source as they stand."""
        return torch.tensor(sorted(range(len(stats)), key=stats.sources.__getitem__), dtype=torch.int64)

    def _sorted(self, stats: TaskStatistics, order: Tensor) -> Minibatch:
        gram = None if stats.gram is None else stats.gram[order][:, order]
        index = self.slots.index(stats.sources)[order]
        return Minibatch(stats.losses[order], stats.norms[order], gram, index, self._seed(stats))


def create_rival(
    config: HomogenizerConfig, sources: Sequence[str], tasks_per_batch: int, n_way: int, seed: int
) -> Rival:
    """Return the rival that ``config.combine`` names (not ``mean``, which is no rule at all).

    Raises:
        UsageError: an unknown name, a value that cannot be used, or a package that is not installed.
    """
    name = str(config.combine)
    if name not in NAMES:
        raise UsageError(
            f"homogenizer.combine={name!r} is unknown{did_you_mean(name, NAMES)}: there are {', '.join(NAMES)}"
        )
    c = config.clip
    if c is not None and not 0 < c < math.inf:
        raise UsageError(f"homogenizer.clip={c}: give a length above 0, or leave it out for the minibatch's median")
    slots = Slots(resolved(config, "slots"), sources, tasks_per_batch)
    if slots.kind == "minibatch":
        raise UsageError("homogenizer.slots=minibatch keeps nothing: take source or position")
    simple: dict[str, Callable[[], Method]] = {
        "sum": Sum,
        "unit": Unit,
        "clip": lambda: Clip(c),
        "graddrop": GradDrop,
        "gradvac": lambda: gramian.GradVac(len(slots)),
    }
    if name in simple:
        method = simple[name]()
    elif name in losses.SPECS:
        method = losses.SPECS[name](len(slots), n_way)
    else:
        method = gramian.Gramian(name)
    return Rival(name, method, slots, seed)
