"""Every learner's meta-gradient against what it should be; ``python -m benchmarks.oracles`` prints the table."""

from __future__ import annotations

import pytest
import torch
from benchmarks.independent import Way, begin, outer_loss, relative, worst_error
from benchmarks.oracles import BOUND, CHECKS, Check, at, by_differences, make_network, make_task

from rotogbml.learners import RECIPES, create_learner
from rotogbml.learners.unrolled import Unrolled


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.learner}: {check.what}")
def test_a_meta_gradient_is_what_it_should_be(check: Check) -> None:
    assert check.error() <= BOUND


def test_no_learner_is_without_an_oracle() -> None:
    assert {check.learner for check in CHECKS} == set(RECIPES)


@pytest.mark.parametrize("learner", sorted(RECIPES))
def test_every_learner_has_a_closed_form(learner: str) -> None:
    assert any(check.what.startswith("closed form") for check in CHECKS if check.learner == learner)


@pytest.mark.parametrize("learner", sorted(RECIPES))
def test_every_learner_is_checked_under_a_rotation_of_one_side_and_of_both(learner: str) -> None:
    assert sum("γ" in check.what for check in CHECKS if check.learner == learner) == 2


def test_differences_tell_second_order_from_first() -> None:
    """A check that cannot fail is none: the derivative of the whole is not the one with the inner gradients still."""
    way, network, task = Way(), make_network("linear"), make_task()
    learner = create_learner("maml", network, inner_lr=way.lr, inner_steps=way.steps, first_order=True)
    psi, _ = at(learner)
    ours = learner.meta_gradient(network.psi(), learner.prepare(network.psi(), task))
    gradient = dict(zip(psi, [*ours.theta_gradient, *ours.phi_gradient], strict=True))
    assert worst_error(gradient, psi, lambda given: outer_loss(way, given, {}, task)) > 1e-2


def test_differences_see_a_rate_that_is_one_step_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    from rotogbml.learners.rates import PerLayerPerStep

    honest = PerLayerPerStep.__call__
    monkeypatch.setattr(PerLayerPerStep, "__call__", lambda self, key, t: honest(self, key, max(0, t - 1)))
    way = Way(steps=3, rates="step")
    assert by_differences("maml++", way, norm="per-step", first_order_share=0.0, multi_step_loss=0.0) > 1e-2


def test_differences_see_shares_of_the_steps_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Unrolled, "_shares", lambda self, steps: [(1, 0.3), (2, 0.3), (3, 0.4)])
    way = Way(steps=3, rates="step", shares={1: 1 / 3, 2: 1 / 3, 3: 1 / 3})
    assert by_differences("maml++", way, 0.0, norm="per-step", first_order_share=0.0, multi_step_loss=0.6) > 1e-3


@pytest.mark.parametrize("head", ["linear", "linear-tied", "zero", "prototype", "cosine"])
def test_the_network_written_out_by_hand_gives_the_same_scores(head: str) -> None:
    """Else the differences would speak of another network."""
    from benchmarks.independent import conv4, scores

    network, task, way = make_network(head), make_task(), Way(head)
    learner = create_learner("maml", network, inner_lr=0.1, inner_steps=0)
    psi, _ = at(learner)
    state = begin(way, psi, task)
    with torch.no_grad():
        z = conv4(way, {key[2:]: p for key, p in state.items() if key[0] == "f"}, task.query.x, 0)
        expected = scores(head, {key[2:]: p for key, p in state.items() if key[0] == "c"}, z)
    assert relative(learner.predict(network.psi(), task), expected) < 1e-12
