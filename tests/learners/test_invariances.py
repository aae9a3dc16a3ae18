"""What must not matter to a meta-gradient: the order of images, which class is called what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from benchmarks.oracles import HEADS, make_network, make_task
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rotogbml.episodes import Episode, Examples
from rotogbml.homogenizer import Turn
from rotogbml.learners import RECIPES, Learner, Outcome, Psi, create_learner

OPTIONS: dict[str, dict[str, Any]] = {
    # All images in each minibatch: which of them stand in a smaller one does depend on their order.
    "reptile": {"inner_batch": 15, "inner_optimizer": "sgd"},
    "imaml": {"inner_lr": 0.02, "lam": 30.0, "cg_steps": 30},
}
ALL = [
    (name, head)
    for name in sorted(RECIPES)
    for head in HEADS
    if (name != "protomaml" or head == "prototype") and (name != "boil" or head not in ("linear-tied", "zero"))
]
PERMUTATIONS = settings(max_examples=6, deadline=None)


def learner_of(name: str, head: str, progress: float = 0.4) -> Learner:
    more = {"first_order_share": 0.0, "multi_step_loss": 0.6} if name == "maml++" else {}
    given = {"inner_lr": 0.02 if head == "cosine" else 0.05, "inner_steps": 2} | OPTIONS.get(name, {}) | more
    return create_learner(name, make_network(head), **given).at(progress)


def outcome(learner: Learner, psi: Psi, task: Episode) -> Outcome:
    return learner.meta_gradient(psi, learner.prepare(psi, task))


def assert_close(a: list[Tensor], b: list[Tensor]) -> None:
    largest = max((float(q.norm()) for q in b), default=0.0)
    for p, q in zip(a, b, strict=True):
        assert (p - q).norm() <= 1e-9 * max(float(q.norm()), 1e-3 * largest) + 1e-13


def shuffled(side: Examples, order: list[int]) -> Examples:
    return Examples(side.x[order], side.y[order])


@pytest.mark.parametrize(("name", "head"), ALL)
@PERMUTATIONS
@given(st.permutations(range(6)), st.permutations(range(9)))
def test_the_order_of_images_does_not_matter(name: str, head: str, support: list[int], query: list[int]) -> None:
    learner, task = learner_of(name, head), make_task()
    mixed = replace(task, support=shuffled(task.support, support), query=shuffled(task.query, query))
    psi = learner.network.psi()
    before, after = outcome(learner, psi, task), outcome(learner, psi, mixed)
    assert abs(before.loss - after.loss) <= 1e-9
    assert before.accuracy == after.accuracy
    assert_close(after.theta_gradient, before.theta_gradient)
    assert_close(after.phi_gradient, before.phi_gradient)
    assert_close(after.alpha_gradient, before.alpha_gradient)
    assert_close([after.feature_gradient], [before.feature_gradient])


@pytest.mark.parametrize(("name", "head"), ALL)
@PERMUTATIONS
@given(st.permutations(range(3)))
def test_what_a_class_is_called_does_not_matter(name: str, head: str, new: list[int]) -> None:
    """Class k is called new[k]; a head with a row for each class has row k moved to new[k], the others nothing."""
    learner, task = learner_of(name, head), make_task()
    names = torch.tensor(new)
    renamed = replace(
        task,
        support=Examples(task.support.x, names[task.support.y]),
        query=Examples(task.query.x, names[task.query.y]),
    )
    psi = learner.network.psi()
    old = torch.argsort(names)  # which class is now called k

    def move(rows: Tensor) -> Tensor:
        return rows[old] if rows.ndim and len(rows) == 3 and head in ("linear", "cosine") else rows

    moved = Psi(psi.theta, {key: move(p.detach()).clone().requires_grad_() for key, p in psi.phi.items()})
    before, after = outcome(learner, psi, task), outcome(learner, moved, renamed)
    assert abs(before.loss - after.loss) <= 1e-9
    assert_close(after.theta_gradient, before.theta_gradient)
    assert_close(after.phi_gradient, [move(g) for g in before.phi_gradient])
    by_rows = name == "meta-sgd"
    expected = [
        move(g) if by_rows and key.startswith("c.") else g
        for key, g in zip(learner.alpha, before.alpha_gradient, strict=True)
    ]
    assert_close(after.alpha_gradient, expected)


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_moving_the_labels_alone_does_matter_to_a_head_with_rows(head: str) -> None:
    """Else the test above would hold for a meta-gradient that sees no labels."""
    learner, task = learner_of("maml", head), make_task()
    renamed = replace(
        task,
        support=Examples(task.support.x, (task.support.y + 1) % 3),
        query=Examples(task.query.x, (task.query.y + 1) % 3),
    )
    psi = learner.network.psi()
    before, after = outcome(learner, psi, task), outcome(learner, psi, renamed)
    assert (before.theta_gradient[0] - after.theta_gradient[0]).norm() > 1e-2 * before.theta_gradient[0].norm()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_same_task_twice_gives_the_same_bits(name: str) -> None:
    learner = learner_of(name, "prototype" if name == "protomaml" else "linear")
    psi, task = learner.network.psi(), make_task()
    first, second = outcome(learner, psi, task), outcome(learner, psi, task)
    for a, b in zip(first.theta_gradient, second.theta_gradient, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("d", [None, 3], ids=["all features", "three"])
@pytest.mark.parametrize(("name", "head"), ALL)
def test_a_rotation_of_the_features_is_one_of_the_head(name: str, head: str, d: int | None) -> None:
    """Where all numbers of a tensor adapt at one rate; and where not, the head must not be turned instead."""
    learner, task = learner_of(name, head), make_task()
    psi, m = learner.network.psi(), learner.network.feature_dim
    γ = Turn(torch.linalg.qr(torch.randn(d or m, d or m, generator=torch.Generator().manual_seed(3)).double())[0])

    def rotated(isotropic: bool) -> Outcome:
        one = replace(learner, isotropic=isotropic)
        return one.meta_gradient(psi, one.prepare(psi, task, rotate_support=γ), γ)

    ours, plainly = rotated(learner.isotropic), rotated(False)
    assert abs(ours.loss - plainly.loss) <= 1e-9
    for kind in ("theta_gradient", "phi_gradient", "alpha_gradient"):
        assert_close(getattr(ours, kind), getattr(plainly, kind))
    assert_close([ours.feature_gradient], [plainly.feature_gradient])


def test_rates_of_single_numbers_tell_a_rotated_head_from_rotated_features() -> None:
    task, given = make_task(), {"inner_lr": 0.05, "inner_steps": 2}
    for name, more in (("meta-sgd", {}), ("reptile", {"inner_batch": 15, "inner_optimizer": "adam"})):
        learner = create_learner(name, make_network("linear"), **given, **more)
        assert not learner.isotropic
        for rate in learner.alpha.values():  # no two alike, as after some training
            rate.data += torch.linspace(0, 0.05, rate.numel()).view(rate.shape).to(rate)
        psi, m = learner.network.psi(), learner.network.feature_dim
        γ = Turn(torch.linalg.qr(torch.randn(m, m, generator=torch.Generator().manual_seed(3)).double())[0])
        a, b = (
            one.meta_gradient(psi, one.prepare(psi, task, rotate_support=γ), γ).loss
            for one in (learner, replace(learner, isotropic=True))
        )
        assert abs(a - b) > 1e-6
