"""One iteration of Algorithm 1 of RotoGBML, in its letters.

    sample N tasks
    for each task i:   ISI on;  ψ_i^τ ← adapt(ψ, S_i)                     (eq. 4)
                       z_i ← f_{θ_i^τ}(x^q);  ẑ_i ← γ_i z_i
                       g_i ← ∇_ψ L_i(c_{φ_i^τ}(ẑ_i)),  u_i ← ∇_ẑ L_i      one backward
    ψ ← Adam(ψ, (1/N) Σ_i ω_i g_i)                                        (eq. 3)
    ω ← eq. 5 from G_i = ‖∇_θ L_i‖ and L_i
    γ ← eq. 7 from u_i

Nothing is computed twice: ω_i scales a finished gradient, γ_i is a constant of the forward pass, and what both
need to move falls out of the one backward. All parts off, what is left is the plain learner, to the bit.

The tasks may be spread over processes (``parts.ranks``): each adapts to its own, hears the small numbers of all, sums
its columns of Σ ω_i g_i over all tasks, and moves ψ, ω and γ exactly as the others do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rotogbml.encoders import update_running
from rotogbml.encoders.isi import Masks
from rotogbml.encoders.norm import Seen
from rotogbml.episodes import Elsewhere
from rotogbml.errors import RotogbmlError
from rotogbml.homogenizer import TaskStatistics, Turn, gramian, pull_back
from rotogbml.learners import Outcome, Prepared, Psi, Rotation
from rotogbml.seeds import derive
from rotogbml.training.assemble import Parts
from rotogbml.training.ranks import Ranks
from rotogbml.training.recorder import StepRecord
from rotogbml.training.sam import uphill
from rotogbml.training.told import Told, rows, tell

Mine = dict[int, Any]
"""The tasks of this process: episodes, or what else a compared method draws, by their place in the minibatch."""


def meta_step(
    parts: Parts,
    psi: Psi,
    optimizer: torch.optim.Optimizer,
    episodes: Sequence[Any],
    step: int,
) -> StepRecord:
    """Move ψ (and α, where the learner has any), ω and γ by one minibatch.

    Args:
        parts: sources, learner, homogenizer, ISI, processes.
        psi: moved in place.
        optimizer: holds ψ and α.
        episodes: the N tasks; those of other processes may stand elsewhere (``Elsewhere``).
        step: names the masks.

    Raises:
        RotogbmlError: a loss or gradient is not finite; ψ, ω and γ are as they were before.
    """
    homogenizer, learner, ranks = parts.homogenizer, parts.learner, parts.ranks
    sources, n = tuple(episode.source for episode in episodes), len(episodes)
    mine = {i: episode for i in ranks.share(n) if not isinstance(episode := episodes[i], Elsewhere)}
    moved = [(psi.theta, "theta_gradient"), (psi.phi, "phi_gradient"), (learner.alpha, "alpha_gradient")]
    moved = [(group, name) for group, name in moved if group]

    # for each task: adapt, rotate, one backward
    gammas, prepared = _rotations(parts, psi, mine, sources, step)
    told, columns, stats = _gradients(parts, psi, mine, sources, step, moved, gammas, prepared)

    # ψ ← Adam(ψ, (1/N) Σ ω_i g_i)
    omega = homogenizer.weights(stats)
    groups = [group for group, _ in moved]
    sizes = [sum(p.numel() for p in group.values()) for group in groups]
    means = ranks.join(homogenizer.combine(columns, omega, stats), sizes)
    if radius := parts.config.outer.sam:
        with uphill(groups, means, radius):  # the same tasks, masks, γ and ω, a little way up
            _, above, _ = _gradients(parts, psi, mine, sources, step, moved, gammas, [])
        means = ranks.join(homogenizer.combine(above, omega, stats), sizes)
    clamp = parts.config.outer.clamp
    for group, mean in zip(groups, means, strict=True):
        _assign(group, mean.clamp(-clamp, clamp) if clamp else mean)
    optimizer.step()
    if any(t.seen for t in told):
        update_running(learner.network, [_on(parts.device, t.seen) for t in told])

    # ω, then γ
    homogenizer.update(stats)
    before, after = _feature_gradients(parts, stats.feature_gradients, gammas)
    return StepRecord(
        sources=sources,
        losses=stats.losses.tolist(),
        accuracies=[t.accuracy for t in told],
        norms=stats.norms.tolist(),
        omega=omega.tolist(),
        encoder=columns[0],
        feature_before=before,
        feature_after=after,
        notes={key: sum(t.notes[key] for t in told) / n for key in told[0].notes},
        head=columns[1] if psi.phi else None,
        failures=[t.failure for t in told],
    )


def _gradients(
    parts: Parts,
    psi: Psi,
    mine: Mine,
    sources: Sequence[str],
    step: int,
    moved: list[tuple[dict[str, Tensor], str]],
    gammas: list[Tensor] | None,
    prepared: list[Prepared],
) -> tuple[list[Told], list[Tensor], TaskStatistics]:
    """Adapt to each task at ψ and differentiate; return what was told of all N, this process's columns, statistics."""
    ranks, n = parts.ranks, len(sources)
    gradients: list[Tensor] = []  # of this process's tasks: [n_r, |θ|], [n_r, |φ|], [n_r, |α|]

    def work() -> list[Told]:
        outcomes = _outcomes(parts, psi, mine, step, gammas, prepared)
        gradients.extend(rows([getattr(o, name) for o in outcomes], group) for group, name in moved)
        where = partial(_where, parts, psi, mine, step, gammas)
        failing = list(mine.values()) if parts.config.method.hard_tasks else ()
        return tell(outcomes, gradients[0], lambda j: where(ranks.share(n)[j]), failing)

    told = ranks.gather(work, n)
    _check_finite(parts, told, sources, step)
    columns = ranks.columns(gradients, n)  # of all N tasks: [N, |θ|/W], …
    stats = TaskStatistics(
        sources=tuple(sources),
        losses=torch.tensor([t.loss for t in told], dtype=torch.float64),
        norms=torch.tensor([t.norm for t in told], dtype=torch.float64),
        feature_gradients=torch.stack([t.feature_gradient for t in told]),
        gram=_gram(columns[0], ranks) if parts.homogenizer.needs_gram else None,
        step=step,
    )
    return told, columns, stats


def _rotations(
    parts: Parts, psi: Psi, mine: Mine, sources: Sequence[str], step: int
) -> tuple[list[Tensor] | None, list[Prepared]]:
    """Return γ_i of all tasks (None: no rotation), and this process's tasks where γ needed their features first."""
    homogenizer, learner = parts.homogenizer, parts.learner
    if not homogenizer.needs_features_first:
        return homogenizer.rotations(sources), []
    # γ of this very minibatch needs the features of all its tasks: here all graphs of a process are alive at once.
    prepared: list[Prepared] = []

    def head_gradients() -> list[Tensor]:
        prepared.extend(learner.prepare(psi, episode, _masks(parts, step, i)) for i, episode in mine.items())
        return [learner.head_gradient(task).cpu() for task in prepared]

    told = parts.ranks.gather(head_gradients, len(sources))
    return homogenizer.fresh_rotations(torch.stack(told)), prepared


def _outcomes(
    parts: Parts, psi: Psi, mine: Mine, step: int, gammas: list[Tensor] | None, prepared: list[Prepared]
) -> list[Outcome]:
    """Return the outcome of each task of this process."""
    learner, support = parts.learner, parts.homogenizer.rotates_support
    outcomes = []
    for j, (i, episode) in enumerate(mine.items()):
        rotate = _rotation(gammas, i)
        if prepared:
            task = prepared[j]
        else:
            task = learner.prepare(psi, episode, _masks(parts, step, i), rotate if support else None)
        outcomes.append(learner.meta_gradient(psi, task, rotate))
        del task  # its graph goes before the next one is built
    return outcomes


def _masks(parts: Parts, step: int, task: int) -> Masks | None:
    """Give each task its own stream of ISI masks, a pure function of (seed, step, task)."""
    return None if parts.isi is None else parts.isi.draw(derive(parts.config.seed, "isi", step, task))


def _rotation(gammas: list[Tensor] | None, task: int) -> Rotation | None:
    return None if gammas is None else Turn(gammas[task])


def _feature_gradients(parts: Parts, u: Tensor, gammas: list[Tensor] | None) -> tuple[Tensor, Tensor]:
    """Return feature gradients without and with γ, in the space where γ is to align them; those of classes end to end.

    ``align="rotated"``: γᵀu → u = ∇_ẑ L.  ``align="shared"``: u → γᵀu, which is what reaches the encoder.
    """
    if gammas is None:
        return u.flatten(1), u.flatten(1)
    u = u.to(gammas[0].dtype)
    pulled = torch.stack([pull_back(u_i, γ) for u_i, γ in zip(u, gammas, strict=True)]).flatten(1)
    u = u.flatten(1)
    config = parts.config.homogenizer
    rotated = config is not None and config.rotate is not None and config.rotate.align == "rotated"
    return (pulled, u) if rotated else (u, pulled)


def _gram(columns: Tensor, ranks: Ranks) -> Tensor:
    """Return ⟨g_i, g_j⟩ of encoder gradients, float64 [N, N]: each process adds up the columns that it holds."""
    gram = gramian(columns)
    return gram if ranks.world == 1 else gram.new_tensor(ranks.sum(gram.flatten().tolist())).view_as(gram)


def _on(device: torch.device, seen: Seen) -> Seen:
    return {name: [(mean.to(device), variance.to(device)) for mean, variance in each] for name, each in seen.items()}


def _assign(group: dict[str, Tensor], flat: Tensor) -> None:
    """Hand a flat gradient to the parameters it belongs to."""
    parts = flat.split([p.numel() for p in group.values()])
    for p, part in zip(group.values(), parts, strict=True):
        p.grad = part.view(p.shape)


def _check_finite(parts: Parts, told: list[Told], sources: Sequence[str], step: int) -> None:
    lower = "--outer.meta_lr" if parts.config.method.name else "--learner.inner_lr or --outer.meta_lr"
    for each, source in zip(told, sources, strict=True):
        if each.trouble:
            raise parts.ranks.shared(
                RotogbmlError(
                    f"the loss of source '{source}' at step {step} is {each.trouble}: lower {lower}; the last "
                    "checkpoint is kept"
                )
            )


def _where(parts: Parts, psi: Psi, mine: Mine, step: int, gammas: list[Tensor] | None, task: int) -> str:
    """Return in words which inner step and tensor of a task explode, adapting to it once more, masks and γ alike."""
    rotate = _rotation(gammas, task) if parts.homogenizer.rotates_support else None
    return parts.learner.where_it_explodes(psi, mine[task], _masks(parts, step, task), rotate)
