"""Several test tasks adapted at once: their encoders stand side by side as the groups of one convolution.

    θ of E tasks   filters [E·w, c, 3, 3], scales [E·w]      one map [s, E·w, h, h], the channels of a task in a row
    φ of E tasks   [E, n_way, m]                             one batched product
    Σ_e L_e        its gradient at a task's own parameters is that of the task's own loss: the inner loop is the same

A small map leaves a convolution little to do; what a step then costs is its calls, and E tasks share them. Where one
task's maps are large, tasks one by one are quicker (docs/log.md). E is a function of shapes alone and a stack begins at
a multiple of it, so that the numbers of an episode do not depend on how episodes were dealt out. Queries go through
each task's own network: there are enough of them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders import Conv4, Drop, Norm, NormPass
from rotogbml.episodes import Episode, Examples
from rotogbml.learners import Learner, LinearHead, Network, Params, Problem, Psi
from rotogbml.learners.descent import Descent
from rotogbml.learners.meta_gradient import leaves
from rotogbml.learners.rates import PerParameter

SIZES = (1, 2, 4, 8)
"""What E may be: each divides the last, so that a run of the last holds whole stacks."""

_ROOM = 1 << 24
"""So many numbers the first maps of a stack may hold together (docs/log.md)."""


def stack_size(learner: Learner, images: int, size: int) -> int:
    """Return E, of ``SIZES``, for tasks of so many support images of ``size``; 1 where such tasks cannot be stacked.

    Stacked are conv4 with a linear score, adapted by descent at rates that are the same for all tasks.
    """
    encoder, head, inner = learner.network.encoder, learner.network.head, learner.inner
    fits = (
        type(encoder) is Conv4
        and type(head).scores is LinearHead.scores
        and isinstance(inner, Descent)
        and inner.group != "head"
        and not isinstance(inner.rates, PerParameter)
    )
    if not fits:
        return 1
    width = next(p for _, p in encoder.named_parameters() if p.ndim == 4).shape[0]
    return max(e for e in SIZES if e == 1 or e * images * width * size**2 <= _ROOM)


def predict(learner: Learner, psi: Psi, episodes: Sequence[Episode]) -> list[Tensor]:
    """Return what ``learner.predict`` returns of each episode, [q, n_way], to rounding; all have as many images."""
    problems = [replace(Problem.of(learner.network, episode), seen=None) for episode in episodes]
    # φ_i⁰ may be the support's own (prototypes), so each task has its start.
    starts = [leaves(problem.start(leaves(psi))) for problem in problems]
    together = _Abreast(learner.network, len(episodes))
    x = torch.cat([e.support.x for e in episodes], dim=1).contiguous(memory_format=torch.channels_last)
    support = Examples(x, torch.stack([e.support.y for e in episodes]))
    problem = replace(problems[0], network=together, support=support)
    start = leaves(together.stack(starts))
    *_, state = learner.inner.trajectory(problem, start, learner.test_steps, create_graph=False)
    with torch.no_grad():
        return [
            learner.network.logits(adapted.phi, own.query_features(adapted.theta, learner.test_steps))
            for own, adapted in zip(problems, together.apart(state), strict=True)
        ]


class _Abreast(Network):
    """E networks side by side.

    Args:
        network: one of them: a conv4 and a head with a linear score.
        tasks: E.
    """

    def __init__(self, network: Network, tasks: int) -> None:
        encoder = copy.deepcopy(network.encoder)
        for module in encoder.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.groups = tasks
            if isinstance(module, Norm):
                module.groups *= tasks
                if module.policy == "running":
                    module.running_mean = module.running_mean.repeat(tasks)
                    module.running_var = module.running_var.repeat(tasks)
        super().__init__(encoder, network.head)
        self.tasks = tasks

    def stack(self, each: Sequence[Psi]) -> Psi:
        """Return ψ of every task as one."""
        theta = {name: torch.cat([psi.theta[name] for psi in each], _channels(p)) for name, p in each[0].theta.items()}
        return Psi(theta, {name: torch.stack([psi.phi[name] for psi in each]) for name in each[0].phi})

    def apart(self, psi: Psi) -> list[Psi]:
        """Return the ψ of each task."""
        theta = {name: p.chunk(self.tasks, _channels(p)) for name, p in psi.theta.items()}
        return [
            Psi({name: parts[e] for name, parts in theta.items()}, {name: p[e] for name, p in psi.phi.items()})
            for e in range(self.tasks)
        ]

    def features(self, theta: Params, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
        """[s, E · 3, size, size] → [E, s, m]."""
        return super().features(theta, x, drop, at).view(len(x), self.tasks, -1).transpose(0, 1)

    def logits(self, phi: Params, z: Tensor) -> Tensor:
        """[E, s, m] → [E, s, n_way]."""
        return torch.baddbmm(phi["bias"].unsqueeze(1), z, phi["weight"].transpose(1, 2))

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the sum over tasks of each one's loss."""
        return self.tasks * F.cross_entropy(logits.flatten(0, 1), y.flatten())


def _channels(p: Tensor) -> int:
    """Return the axis of a parameter that counts the channels it makes: scales may have one row for each step."""
    return 0 if p.ndim == 4 else -1
