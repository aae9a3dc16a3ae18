"""Norm policies: whose statistics a feature map is normalised by. The most common silent fault of this field.

    batch      mean and variance of the very batch: a query's features depend on its fellow queries (transductive)
    support    those of the support rows of the pass, applied to every row
    running    buffers, frozen within an outer step and moved once after it (``update_running``)
    per-step   ``support``, with scale and shift of its own for each inner step (MAML++)
    group      each image by itself, channels in up to eight groups; ``layer``: in one
    none       scale and shift only
    moving     of compared methods: the batch's in training, moving averages at test, as torch's own batch norm does

MAML++'s paper keeps running statistics for each step; its code normalises by the batch at hand throughout. Statistics
kept over unlike sources fit none of them (docs/log.md), so here a step's statistics are the task's own support's.

Under every policy but ``batch`` a query's features are the same whatever other queries stand beside it.
Reductions go over rows, [b·h·w, c]: over (0, 2, 3) of a map they are many times slower on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rotogbml.errors import UsageError, did_you_mean

NORMS = ("batch", "support", "running", "per-step", "group", "layer", "none")
MOVING = "moving"
"""Of compared methods alone: whether a pass is training or test is told by ``NormPass.seen``, in inner steps too."""

EPS = 1e-5
"""Added to every variance; the value of torch's own norms."""

Seen = dict[str, list[tuple[Tensor, Tensor]]]
"""What the passes of one task saw: name of the norm inside its encoder → (mean [c], biased variance [c]), one pair for
each pass, detached. A list, since the variance of the pass means belongs to the variance of the whole."""


@dataclass
class NormPass:
    """What one forward pass is told."""

    step: int = 0
    """Which scale and shift ``per-step`` takes, ≥ 0; beyond the last set, the last."""
    given: int | None = None
    """``support``, ``per-step``: so many first rows, ≥ 1, give the statistics of all rows; None: all rows do."""
    seen: Seen | None = None
    """Where ``running`` and ``moving`` append this pass's statistics; None: they are not worked out."""


class Norm(nn.Module):
    """Normalise a map [b, c, h, w] by a policy, then scale and shift each channel.

    Args:
        channels: c.
        policy: one of ``NORMS``, or ``MOVING``.
        sets: sets of scale and shift under ``per-step``, ≥ 1; the other policies have one.

    Attributes:
        weight, bias: scale and shift, [c], or [sets, c] under ``per-step``; they start at 1 and 0.
        running_mean, running_var: under ``running`` and ``moving``, [c]; they start at 0 and 1.
        name: the key of ``NormPass.seen``: the full name inside the encoder, given by ``name_norms``.

    Raises:
        UsageError: an unknown policy, or less than one set.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, policy: str = "batch", sets: int = 1) -> None:
        super().__init__()
        if policy not in (*NORMS, MOVING):
            raise UsageError(f"no norm '{policy}'{did_you_mean(policy, NORMS)}: there are {', '.join(NORMS)}")
        if sets < 1:
            raise UsageError(f"norm '{policy}' with {sets} sets cannot be used: give one set for each step, 1 or more")
        self.policy, self.name = policy, ""
        self.sets = sets if policy == "per-step" else 1
        shape = (sets, channels) if policy == "per-step" else (channels,)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))
        if policy in ("running", MOVING):
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))
        self.groups = 1 if policy == "layer" else max(g for g in range(1, 9) if channels % g == 0)

    def forward(self, x: Tensor, at: NormPass | None = None) -> Tensor:
        """[b, c, h, w] → the same shape; without ``at``, the first pass of a task, all rows giving statistics.

        Raises:
            ValueError: ``at.given`` is not between 1 and b, or ``at.step`` is negative.
        """
        if self.policy == "batch":
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True)
        if self.of_groups:
            return F.group_norm(x, self.groups, self.weight, self.bias, EPS)
        if self.policy == MOVING:
            return self._moving(x, at)
        b, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(-1, c)
        scale, shift = self._affine(rows, b, h * w, NormPass() if at is None else at)
        return torch.addcmul(shift, rows, scale).reshape(b, h, w, c).permute(0, 3, 1, 2)

    def _affine(self, rows: Tensor, b: int, positions: int, at: NormPass) -> tuple[Tensor, Tensor]:
        """Return the scale [c] and shift [c] that take ``rows`` [b · positions, c] to what is put out."""
        if self.policy == "none":
            return self.weight, self.bias
        if self.policy == "running":
            if at.seen is not None:
                with torch.no_grad():
                    at.seen.setdefault(self.name, []).append(_moments(rows))
            # A copy: the buffers move after the step, when no graph of it should be alive, but none shall be spoilt.
            return _whiten(self.running_mean.clone(), self.running_var.clone(), self.weight, self.bias)
        given = self.given(b, at)
        return _whiten(*_moments(rows[: given * positions]), *self.scale_and_shift(at))

    def _moving(self, x: Tensor, at: NormPass | None) -> Tensor:
        if at is None or at.seen is None:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=EPS)
        normed, mean, r = torch.native_batch_norm(x, self.weight, self.bias, None, None, True, 0.0, EPS)
        at.seen.setdefault(self.name, []).append((mean.detach(), r.detach().square().reciprocal() - EPS))
        return normed

    @property
    def of_images(self) -> bool:
        """Whether mean and variance are those of images of the very pass, of the first ``given`` of them."""
        return self.policy in ("batch", "support", "per-step")

    @property
    def of_groups(self) -> bool:
        """Whether each image is normalised by itself, channels in groups."""
        return self.policy in ("group", "layer")

    def given(self, b: int, at: NormPass | None) -> int:
        """Return how many first images of b give mean and variance.

        Raises:
            ValueError: ``at.given`` is not between 1 and b.
        """
        if self.policy == "batch" or at is None or at.given is None:
            return b
        if not 1 <= at.given <= b:
            raise ValueError(f"NormPass.given={at.given} for {b} images: give 1 … {b}, the number of support images")
        return at.given

    def scale_and_shift(self, at: NormPass | None) -> tuple[Tensor, Tensor]:
        """Return the scale and shift of this pass's step, [c] each.

        Raises:
            ValueError: ``at.step`` is negative.
        """
        if self.policy == "batch":
            return self.weight, self.bias
        step = 0 if at is None else at.step
        if step < 0:
            raise ValueError(f"NormPass.step={step}: inner steps count from 0")
        k = min(step, self.sets - 1)
        return (self.weight[k], self.bias[k]) if self.policy == "per-step" else (self.weight, self.bias)


def _whiten(mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scale and shift, [c] each, that normalise by these moments, then scale and shift."""
    scale = weight * (variance + EPS).rsqrt()
    return scale, bias - mean * scale


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of rows [n, c]: [c] each."""
    mean = rows.mean(0)
    return mean, (rows - mean).square().mean(0)


def name_norms(encoder: nn.Module) -> None:
    """Tell each norm its full name inside ``encoder``; an encoder's constructor ends with this."""
    for name, module in encoder.named_modules():
        if isinstance(module, Norm):
            module.name = name


class HoldsNorms(Protocol):
    """Anything that lists the modules inside it."""

    def modules(self) -> Iterator[nn.Module]:
        """Every module inside."""
        ...


@torch.no_grad()
def update_running(encoder: HoldsNorms, seen_of_tasks: Sequence[Seen], momentum: float = 0.1) -> None:
    """Move the buffers of ``running`` and ``moving``, once after an outer step.

    Every task counts alike, and within a task every pass. The mean is that of the pass means; the variance is that
    of everything seen: the mean of the variances within a pass plus the variance of the pass means. Where all
    passes have as many rows this is the statistic of all rows together. No buffer moves within a step, so that
    nothing of one task reaches the next one of the same step.

    Args:
        encoder: holds the norms; those of other policies are left alone.
        seen_of_tasks: what ``NormPass.seen`` gathered, one for each task.
        momentum: share of what was seen in the new value, 0 … 1.

    Raises:
        ValueError: ``momentum`` is out of its range.
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum={momentum}: give a share, 0 … 1")
    for norm in encoder.modules():
        if not isinstance(norm, Norm) or norm.policy not in ("running", MOVING):
            continue
        tasks = [seen[norm.name] for seen in seen_of_tasks if seen.get(norm.name)]
        if not tasks:
            continue
        mean = torch.stack([torch.stack([m for m, _ in passes]).mean(0) for passes in tasks]).mean(0)
        within_and_between = [torch.stack([v + (m - mean).square() for m, v in passes]).mean(0) for passes in tasks]
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(torch.stack(within_and_between).mean(0), momentum)
