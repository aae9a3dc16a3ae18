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
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rotogbml.encoders import update_running
from rotogbml.encoders.isi import Masks
from rotogbml.episodes import Episode
from rotogbml.errors import RotogbmlError
from rotogbml.homogenizer import Plain, TaskStatistics, Turn, pull_back
from rotogbml.learners import Outcome, Psi, Rotation
from rotogbml.seeds import derive
from rotogbml.training.assemble import Parts
from rotogbml.training.recorder import StepRecord

EXPLODED = 1e6
"""A query loss beyond this is none that training comes back from, although it may be a number: chance is log n."""


def meta_step(
    parts: Parts,
    psi: Psi,
    optimizer: torch.optim.Optimizer,
    episodes: tuple[Episode, ...],
    step: int,
) -> StepRecord:
    """Move ψ (and α, where the learner has any), ω and γ by one minibatch.

    Args:
        parts: sources, learner, homogenizer, ISI.
        psi: moved in place.
        optimizer: holds ψ and α.
        episodes: the N tasks.
        step: names the masks.

    Raises:
        RotogbmlError: a loss or gradient is not finite; ψ, ω and γ are as they were before.
    """
    homogenizer, learner = parts.homogenizer, parts.learner
    sources = tuple(episode.source for episode in episodes)

    # for each task: adapt, rotate, one backward
    gammas, outcomes = _outcomes(parts, psi, episodes, step)
    _check_finite(parts, outcomes, psi, episodes, step)
    theta_gradients = torch.stack([_flat(o.theta_gradient) for o in outcomes])  # [N, |θ|]
    stats = TaskStatistics(
        sources=sources,
        losses=torch.stack([o.loss for o in outcomes]),
        norms=theta_gradients.norm(dim=1, dtype=torch.float64),  # squares of large ones leave float32
        feature_gradients=torch.stack([o.feature_gradient for o in outcomes]),
    )

    # ψ ← Adam(ψ, (1/N) Σ ω_i g_i)
    omega = homogenizer.weights(stats)
    weigh = None if isinstance(homogenizer, Plain) else omega.to(theta_gradients)
    groups = [(psi.theta, theta_gradients)]
    if psi.phi:
        groups.append((psi.phi, torch.stack([_flat(o.phi_gradient) for o in outcomes])))  # [N, |φ|]
    if learner.alpha:
        groups.append((learner.alpha, torch.stack([_flat(o.alpha_gradient) for o in outcomes])))
    clamp = parts.config.outer.clamp
    for group, gradients in groups:
        mean = gradients.mean(0) if weigh is None else weigh @ gradients / len(episodes)
        _assign(group, mean.clamp(-clamp, clamp) if clamp else mean)
    optimizer.step()
    if any(o.seen for o in outcomes):
        update_running(learner.network.encoder, [o.seen for o in outcomes])

    # ω, then γ
    homogenizer.update(stats)
    before, after = _feature_gradients(parts, stats.feature_gradients, gammas)
    return StepRecord(
        sources=sources,
        losses=stats.losses.tolist(),
        accuracies=[o.accuracy for o in outcomes],
        norms=stats.norms.tolist(),
        omega=omega.tolist(),
        encoder=theta_gradients,
        feature_before=before,
        feature_after=after,
        notes={key: sum(o.notes[key] for o in outcomes) / len(outcomes) for key in outcomes[0].notes},
        head=groups[1][1] if psi.phi else None,
    )


def _outcomes(
    parts: Parts, psi: Psi, episodes: tuple[Episode, ...], step: int
) -> tuple[list[Tensor] | None, list[Outcome]]:
    """Return γ_i (None: no rotation) and the outcome of each task."""
    learner, homogenizer = parts.learner, parts.homogenizer
    drops = _masks(parts, len(episodes), step)
    if homogenizer.needs_features_first:
        # γ of this very minibatch needs the features of all its tasks: here N graphs are alive at once.
        tasks = [learner.prepare(psi, episode, drop) for episode, drop in zip(episodes, drops, strict=True)]
        gammas = homogenizer.fresh_rotations(torch.stack([learner.head_gradient(task) for task in tasks]))
        rotations = _rotations(gammas, len(tasks))
        return gammas, [learner.meta_gradient(psi, task, γ) for task, γ in zip(tasks, rotations, strict=True)]
    gammas = homogenizer.rotations([episode.source for episode in episodes])
    outcomes = []
    for episode, drop, rotate in zip(episodes, drops, _rotations(gammas, len(episodes)), strict=True):
        task = learner.prepare(psi, episode, drop, rotate if homogenizer.rotates_support else None)
        outcomes.append(learner.meta_gradient(psi, task, rotate))
        del task  # its graph goes before the next one is built
    return gammas, outcomes


def _masks(parts: Parts, n: int, step: int) -> Iterator[Masks | None]:
    """Give each task its own stream of ISI masks, a pure function of (seed, step, task)."""
    for task in range(n):
        yield None if parts.isi is None else parts.isi.draw(derive(parts.config.seed, "isi", step, task))


def _rotations(gammas: list[Tensor] | None, n: int) -> list[Rotation | None]:
    return [None] * n if gammas is None else [Turn(γ) for γ in gammas]


def _feature_gradients(parts: Parts, u: Tensor, gammas: list[Tensor] | None) -> tuple[Tensor, Tensor]:
    """Return feature gradients without and with γ, in the space where γ is to align them.

    ``align="rotated"``: γᵀu → u = ∇_ẑ L.  ``align="shared"``: u → γᵀu, which is what reaches the encoder.
    """
    if gammas is None:
        return u, u
    u = u.to(gammas[0].dtype)
    pulled = torch.stack([pull_back(u_i, γ) for u_i, γ in zip(u, gammas, strict=True)])
    config = parts.config.homogenizer
    rotated = config is not None and config.rotate is not None and config.rotate.align == "rotated"
    return (pulled, u) if rotated else (u, pulled)


def _flat(gradients: list[Tensor]) -> Tensor:
    return torch.cat([g.reshape(-1) for g in gradients])


def _assign(group: dict[str, Tensor], flat: Tensor) -> None:
    """Hand a flat gradient to the parameters it belongs to."""
    parts = flat.split([p.numel() for p in group.values()])
    for p, part in zip(group.values(), parts, strict=True):
        p.grad = part.view(p.shape)


def _check_finite(parts: Parts, outcomes: list[Outcome], psi: Psi, episodes: tuple[Episode, ...], step: int) -> None:
    for task, outcome in enumerate(outcomes):
        gradients = [*outcome.theta_gradient, *outcome.phi_gradient, *outcome.alpha_gradient]
        finite = all(bool(g.isfinite().all()) for g in [outcome.loss, *gradients])
        if not finite or float(outcome.loss) > EXPLODED:
            where = _where(parts, psi, episodes, task, step)
            raise RotogbmlError(
                f"the loss of source '{episodes[task].source}' at step {step} is {outcome.loss.item():.3g} and its "
                f"gradient is {'huge' if finite else 'not finite'}{f' ({where})' if where else ''}: lower "
                "--learner.inner_lr or --outer.meta_lr; the last checkpoint is kept"
            )


def _where(parts: Parts, psi: Psi, episodes: tuple[Episode, ...], task: int, step: int) -> str:
    """Return in words which inner step and tensor of a task explode, adapting to it once more, masks and γ alike."""
    homogenizer, n = parts.homogenizer, len(episodes)
    gammas = homogenizer.rotations([e.source for e in episodes]) if homogenizer.rotates_support else None
    drop, rotate = list(_masks(parts, n, step))[task], _rotations(gammas, n)[task]
    return parts.learner.where_it_explodes(psi, episodes[task], drop, rotate)
