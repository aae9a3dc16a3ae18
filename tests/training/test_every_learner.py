"""One iteration of Algorithm 1 with each learner and head: what off means, what N tasks are, what each part changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rotogbml.config import EpisodeConfig, HomogenizerConfig, IsiConfig, LearnerConfig, ReweightConfig, RotateConfig
from rotogbml.episodes import Episode
from rotogbml.learners import list_heads, list_learners
from rotogbml.training.assemble import Parts
from rotogbml.training.step import meta_step

Build = Callable[..., Parts]

PAIRS = [
    (learner, head)
    for learner in list_learners()
    for head in list_heads()
    if (learner != "protomaml" or head == "prototype") and (learner != "boil" or head not in ("linear-tied", "zero"))
]
OFF = HomogenizerConfig(None, None)
PARTS: dict[str, dict[str, Any]] = {
    "ω": {"homogenizer": replace(OFF, reweight=ReweightConfig(lr=0.1))},
    "γ, support too": {"homogenizer": replace(OFF, rotate=RotateConfig(lr=0.5, rotate_support=True))},
    "γ, queries alone": {"homogenizer": replace(OFF, rotate=RotateConfig(lr=0.5, rotate_support=False))},
    "γ of the minibatch": {"homogenizer": replace(OFF, rotate=RotateConfig(lr=0.5, slots="minibatch"))},
    "ISI": {"isi": IsiConfig(rate=0.5)},
}


ALIKE = ("linear-tied", "zero", "prototype")
"""Heads that turn with the features: φ_i⁰ is nothing, or made of them."""
PLAIN_RATES = ("anil", "boil", "imaml", "maml", "maml++", "protomaml")
"""Learners whose inner step is the gradient times one number for a whole tensor."""
THREE_WAY = EpisodeConfig(n_way=3, n_query=3, tasks_per_batch=3, mix="one-source-per-task", augment="none")
"""Of two classes BOIL's feature gradients all lie along the one difference of its head's rows: nothing to turn."""


def learner_config(name: str, **more: Any) -> LearnerConfig:
    lr = 0.01 if name == "reptile" else 0.1
    return LearnerConfig(name, inner_lr=lr, inner_steps=2, **more)


def settings(name: str, head: str | None = None, **changes: Any) -> dict[str, Any]:
    plain = {"learner": learner_config(name), "head": head, "homogenizer": None, "isi": None, "episodes": THREE_WAY}
    return plain | changes


def tensors(parts: Parts) -> list[Tensor]:
    return [*parts.learner.network.psi().tensors(), *parts.learner.alpha.values()]


def run(parts: Parts, steps: int = 2, progress: float = 0.4) -> Tensor:
    """Return ψ and α after some steps, flat; kept ω and γ act from the second on."""
    parts = parts.at(progress)
    psi = parts.learner.network.psi()
    optimizer = torch.optim.SGD(tensors(parts), lr=0.1)
    for step in range(steps):
        meta_step(parts, psi, optimizer, parts.sampler.batch(step), step)
    return torch.cat([p.detach().flatten() for p in tensors(parts)])


def in_double(parts: Parts) -> tuple[Episode, ...]:
    """Make everything float64; return the first minibatch."""
    parts.learner.network.encoder.to(torch.float64)
    parts.learner.network.head.double()
    for p in parts.learner.alpha.values():
        p.data = p.data.double()
    return tuple(e.to(torch.device("cpu"), torch.float64) for e in parts.sampler.batch(0))


def gradients_of_step(parts: Parts, episodes: tuple[Episode, ...]) -> list[Tensor]:
    """Return the gradient that the optimizer is handed, at everything that is learned."""
    meta_step(parts, parts.learner.network.psi(), torch.optim.SGD(tensors(parts), lr=0.0), episodes, 0)
    return [p.grad.clone() for p in tensors(parts) if p.grad is not None]


@pytest.mark.parametrize(("learner", "head"), PAIRS)
def test_with_all_parts_off_it_is_the_plain_learner_to_the_bit(build: Build, learner: str, head: str) -> None:
    plain, off = build(**settings(learner, head)), build(**settings(learner, head, homogenizer=OFF))
    assert torch.equal(run(plain), run(off))


@pytest.mark.parametrize("learner", list_learners())
def test_the_plain_step_is_the_mean_of_each_tasks_own_meta_gradient_to_the_bit(build: Build, learner: str) -> None:
    stepped, asked = (build(**settings(learner)).at(0.4) for _ in range(2))
    found = gradients_of_step(stepped, stepped.sampler.batch(0))
    psi = asked.learner.network.psi()
    tasks = []
    for episode in asked.sampler.batch(0):
        o = asked.learner.meta_gradient(psi, asked.learner.prepare(psi, episode))
        tasks.append([*o.theta_gradient, *o.phi_gradient, *o.alpha_gradient])
    clamp = 10.0 if learner == "maml++" else float("inf")
    for a, *each in zip(found, *tasks, strict=True):
        assert torch.equal(a, torch.stack(each).mean(0).clamp(-clamp, clamp))


@pytest.mark.parametrize("learner", list_learners())
def test_n_tasks_at_once_are_the_mean_of_one_at_a_time(build: Build, learner: str) -> None:
    def make() -> Parts:
        return build(**settings(learner)).at(0.4)

    together = make()
    found = gradients_of_step(together, in_double(together))
    alone = []
    for i in range(3):
        parts = make()  # anew: a step moves running statistics
        alone.append(gradients_of_step(parts, (in_double(parts)[i],)))
    for a, *each in zip(found, *alone, strict=True):
        torch.testing.assert_close(a, torch.stack(each).mean(0), rtol=1e-10, atol=1e-13)


def turns_along(learner: str, head: str, part: str) -> bool:
    return part == "γ, support too" and learner in PLAIN_RATES and head in ALIKE


KNOWN: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}
"""Where the plain learner starts and where it goes, worked out once."""


def change(build: Build, learner: str, head: str, part: str) -> float:
    """Return by how much a part changes where the steps lead, as a share of the way that they go."""
    if (learner, head) not in KNOWN:
        plain = build(**settings(learner, head))
        start = torch.cat([p.detach().clone().flatten() for p in tensors(plain)])
        KNOWN[learner, head] = start, run(plain)
    start, before = KNOWN[learner, head]
    after = run(build(**settings(learner, head, **PARTS[part])))
    assert after.isfinite().all()
    return float((before - after).norm() / (before - start).norm())


@pytest.mark.parametrize(
    ("learner", "head", "part"), [(*pair, part) for pair in PAIRS for part in PARTS if not turns_along(*pair, part)]
)
def test_each_part_works_with_each_learner_and_head(build: Build, learner: str, head: str, part: str) -> None:
    """What is learned stays finite, and is something else."""
    assert change(build, learner, head, part) > 1e-4


@pytest.mark.parametrize(("learner", "head"), [pair for pair in PAIRS if turns_along(*pair, "γ, support too")])
def test_a_rotation_of_both_sides_is_nothing_to_a_head_that_turns_with_it(
    build: Build, learner: str, head: str
) -> None:
    """With γ on support and queries such a head starts at W γᵀ and every step keeps it there: (Wγᵀ)(γz) = Wz.

    γ then leaves every loss and every gradient of ψ as it was. It acts on the queries alone, or by rates of each
    number's own (Meta-SGD, Adam), which do not turn along.
    """
    assert change(build, learner, head, "γ, support too") < 1e-3  # γ is float32, and so is all here


@pytest.mark.parametrize("learner", list_learners())
@pytest.mark.parametrize("progress", [0.0, 0.1, 0.5, 1.0])
def test_all_parts_at_once_work_with_each_learner_at_every_point_of_training(
    build: Build, learner: str, progress: float
) -> None:
    parts = build(**settings(learner, homogenizer=HomogenizerConfig(), isi=IsiConfig()))
    assert run(parts, progress=progress).isfinite().all()


@pytest.mark.parametrize("learner", list_learners())
def test_one_task_in_a_step_is_enough(build: Build, learner: str) -> None:
    """N = 1: serial Reptile, and ω has nothing to weigh."""
    one = replace(THREE_WAY, tasks_per_batch=1)
    off = run(build(**settings(learner, episodes=one)))
    weighed = HomogenizerConfig(ReweightConfig(lr=0.1), None)
    on = run(build(**settings(learner, episodes=one, homogenizer=weighed)))
    torch.testing.assert_close(off, on, rtol=1e-6, atol=1e-8)


def test_reptile_with_sgd_and_its_own_rate_goes_the_share_of_the_mean_way(build: Build) -> None:
    """ψ + ε mean (ψ_i^τ − ψ), with ε = meta_lr."""
    from rotogbml.config import OuterConfig
    from rotogbml.training.outer import create_optimizer

    ε = 0.3
    outer = OuterConfig(meta_lr=ε, log_every=2, validate_every=4, validation_episodes=6)
    parts = build(**settings("reptile", outer=outer))
    episodes = in_double(parts)
    psi = parts.learner.network.psi()
    before = [p.detach().clone() for p in psi.tensors()]
    ends = []
    for episode in episodes:
        problem = parts.learner.method.adapts_on(_problem(parts, episode))
        *_, end = parts.learner.inner.trajectory(problem, psi, 2, create_graph=False)
        ends.append([p.detach() for p in end.tensors()])
    meta_step(parts, psi, create_optimizer(parts.config.outer, parts.learner, psi), episodes, 0)
    for p, start, *each in zip(psi.tensors(), before, *ends, strict=True):
        expected = start + ε * torch.stack([end - start for end in each]).mean(0)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-9, atol=1e-12)


def _problem(parts: Parts, episode: Episode) -> Any:
    from rotogbml.learners import Problem

    return Problem.of(parts.learner.network, episode)
