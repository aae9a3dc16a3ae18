"""ω: balance the magnitudes of the tasks' gradients (RotoGBML eq. 5–6, after GradNorm).

    G_i = ‖∇_θ L_i‖₂      ḡ = mean_i ω_i G_i      L̂_i = L_i / log n      I_i = L̂_i / Σ_j L̂_j
    minimise over ω   Σ_i |ω_i G_i − ḡ I_i^β|     with ḡ, I and G held constant

The target of task i is ḡ I_i^β: with β = 0 all weighted norms are equal, a larger β lets hard tasks pull more,
a negative one less. Three things are ours and always hold: ω_i > 0, Σω = N over every minibatch, and a
sub-gradient step stops at its target (``descent.py`` has two more readings of that step).

Mean or sum in I_i is more than a matter of scale. With the mean the targets add up to N ḡ · mean(I^β), which
unless losses are very unequal is near N ḡ, and ω comes to rest near the closed form. With the paper's sum they add
up to about N^{1−β} ḡ: every task is told to shrink. Taken literally all ω fall to zero; with Σω = N they cannot,
and instead the tasks with large gradients reach their targets one after the other while the one with the smallest
gradient keeps what is left (at N = 4 and β = 1.5 over nine tenths of the whole weight). The closed form knows only
ratios and is the same for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from rotogbml.config import ReweightConfig
from rotogbml.errors import UsageError
from rotogbml.homogenizer.descent import FLOOR, AdamDescent, Descent, create_descent
from rotogbml.homogenizer.resolved import resolved
from rotogbml.homogenizer.slots import Slots, average_by_slot
from rotogbml.homogenizer.smoothing import Smoothing
from rotogbml.homogenizer.statistics import TaskStatistics

_LEAST_LOSS = 1e-3
"""Least relative loss, as a share of the mean one: keeps I^β finite where β < 0 and a task is solved."""


def relative_loss(L: Tensor, n_way: int, how: Literal["mean", "sum"]) -> Tensor:
    """Return I_i = L̂_i over the mean or the sum of L̂ = L / log n, [N] → [N] (eq. 6).

    A loss that is not finite or is negative counts as 0; where all are 0 the tasks are equally hard.
    """
    L̂ = torch.where(torch.isfinite(L) & (L > 0), L, 0.0) / math.log(n_way)
    largest = L̂.max()
    # First over the largest: of equal losses each I_i is then exactly 1 (or 1/N).
    share = L̂ / largest if largest > 0 else torch.ones_like(L̂)
    share = share / share.mean()
    share = share.clamp_min(_LEAST_LOSS)
    return share if how == "mean" else share / len(L)


def closed_form(G: Tensor, I: Tensor, β: float) -> Tensor:  # noqa: E741
    """Return the minimiser itself, ω_i ∝ I_i^β / G_i with Σω = N, floored; [N] → [N]."""
    return normalise(I**β / G)


def normalise(ω: Tensor) -> Tensor:
    """Return ω raised to ``FLOOR`` of its mean and scaled to Σω = N."""
    # First over the largest: equal weights then come out as exactly 1.
    ω = ω / ω.max()
    ω = ω.clamp_min(FLOOR * float(ω.mean()))
    return ω * (len(ω) / ω.sum())


class Reweight:
    """ω with its slots.

    Args:
        config: every field set (``fixed`` only with ``update="fixed"``).
        slots: what a weight belongs to.
        n_way: classes in a task, ≥ 2.

    Raises:
        UsageError: a field is missing or cannot be used.
    """

    def __init__(self, config: ReweightConfig, slots: Slots, n_way: int) -> None:
        self.β = float(resolved(config, "beta"))
        self.relative = resolved(config, "relative_loss")
        self.how = resolved(config, "update")
        self.lr = float(resolved(config, "lr"))
        optimizer = "proximal" if config.optimizer is None else config.optimizer
        smoothing = 0.0 if config.smoothing is None else float(config.smoothing)
        self.slots, self.n_way = slots, n_way
        if n_way < 2:
            raise UsageError(f"n_way={n_way}: a loss relative to log n needs at least 2 classes")
        if self.relative not in ("mean", "sum"):
            raise UsageError(f"reweight.relative_loss={self.relative!r} is unknown; choose mean or sum")
        if self.how not in ("gradient", "closed-form", "fixed"):
            raise UsageError(f"reweight.update={self.how!r} is unknown; choose gradient, closed-form or fixed")
        if not (math.isfinite(self.β) and math.isfinite(self.lr) and self.lr >= 0):
            raise UsageError(f"reweight.beta={self.β}, lr={self.lr}: beta must be finite, lr finite and ≥ 0")
        if optimizer not in ("proximal", "sgd", "adam"):
            raise UsageError(f"reweight.optimizer={optimizer!r} is unknown; choose proximal, sgd or adam")
        if not 0 <= smoothing < 1:
            raise UsageError(f"reweight.smoothing={smoothing}: give a share of the past from 0 to below 1")
        if smoothing and slots.kind == "minibatch":
            raise UsageError(
                f"reweight.smoothing={smoothing} needs slots that last: set reweight.slots to source or position, or "
                "smoothing to 0"
            )
        self.descent = create_descent(optimizer, self.β, self.lr, len(slots))
        self.smoothing = Smoothing(slots, smoothing) if smoothing else None
        self.ω = torch.ones(len(slots), dtype=torch.float64)
        if self.how == "fixed":
            self.ω = _fixed(config.fixed, slots)
        elif config.fixed is not None:
            raise UsageError(f"reweight.fixed={config.fixed} is used only with update=fixed; update is {self.how}")

    def weights(self, stats: TaskStatistics) -> Tensor:
        """Return ω_i of this step's tasks, float64 [N], all > 0, Σω = N.

        With kept slots, the state before this step. With ``minibatch`` slots, from these very statistics: the
        closed form, or one sub-gradient step from 1, which for any usual lr does almost nothing.
        """
        if self.slots.kind == "minibatch":
            return self._moved(
                torch.ones(len(stats), dtype=torch.float64), stats.losses, stats.norms, torch.arange(len(stats))
            )
        return self._drawn(self.slots.index(stats.sources))

    def update(self, stats: TaskStatistics) -> None:
        """Move ω after ψ has moved (Algorithm 1). The drawn slots keep their total, so the mean slot stays 1.

        Tasks that share a slot move it by the average of what each asks for.
        """
        if self.slots.kind == "minibatch" or self.how == "fixed" or not len(stats):
            return
        index = self.slots.index(stats.sources)
        L, G = stats.losses, stats.norms
        if self.smoothing is not None:
            L, G = self.smoothing(L, G, index)
        moved = self._moved(self._drawn(index), L, G, index)
        slots, ω, _ = average_by_slot(moved, index)
        state = self.ω.clone()
        state[slots] = ω * (state[slots].sum() / ω.sum())
        self.ω = state

    def values(self) -> dict[str, float]:
        """Return ω of every kept slot by its label (none with ``minibatch`` slots)."""
        return dict(zip(self.slots.names, self.ω.tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        state: dict[str, Any] = {"slots": list(self.slots.names), "weights": self.ω.clone()}
        return state | {name: part.state_dict() for name, part in self._memories().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a saved state.

        Raises:
            UsageError: it belongs to other slots, or to another way to move ω.
        """
        self.slots.check_names(state["slots"], "ω")
        memories = self._memories()
        if set(state) - {"slots", "weights"} != set(memories):
            raise UsageError(
                "the saved ω was moved in another way: resume with reweight.optimizer and smoothing of that run"
            )
        for name, part in memories.items():
            part.load_state_dict(state[name])
        self.ω = state["weights"].to("cpu", torch.float64).clone()

    def _drawn(self, index: Tensor) -> Tensor:
        ω = self.ω[index]
        return ω * (len(ω) / ω.sum())

    def _memories(self) -> dict[str, Descent | Smoothing]:
        """Return the parts that remember something beside ω."""
        parts: dict[str, Descent | Smoothing] = {}
        if isinstance(self.descent, AdamDescent):
            parts["adam"] = self.descent
        if self.smoothing is not None:
            parts["smoothing"] = self.smoothing
        return parts

    def _moved(self, ω: Tensor, L: Tensor, G: Tensor, index: Tensor) -> Tensor:
        """Return ω after one update, Σω = N. Tasks without a usable gradient norm or loss keep theirs."""
        usable = torch.isfinite(G) & (G > 0) & torch.isfinite(L)
        if not usable.any():
            return ω
        I = relative_loss(L[usable], self.n_way, self.relative)  # noqa: E741
        if self.how == "gradient":
            new = self.descent(ω[usable], G[usable], I, index[usable])
        else:
            new = closed_form(G[usable], I, self.β) * ω[usable].mean()
        moved = ω.clone()
        moved[usable] = new
        return normalise(moved)


def _fixed(values: Sequence[float] | None, slots: Slots) -> Tensor:
    """Return a given vector scaled to mean 1."""
    if slots.kind == "minibatch":
        raise UsageError("reweight.update=fixed needs slots that last: set reweight.slots to source or position")
    if values is None:
        raise UsageError(
            f"reweight.update=fixed needs reweight.fixed: {len(slots)} weights for {', '.join(slots.names)}"
        )
    if len(values) != len(slots):
        raise UsageError(
            f"reweight.fixed={list(values)} has {len(values)} weights; give {len(slots)}, for {', '.join(slots.names)}"
        )
    if not all(math.isfinite(v) and v > 0 for v in values):
        raise UsageError(f"reweight.fixed={list(values)}: every weight must be finite and > 0")
    ω = torch.tensor(values, dtype=torch.float64)
    return ω / ω.mean()
