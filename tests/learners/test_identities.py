"""Learners that must be one and the same when a part of one is switched off or held still."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from benchmarks.independent import Way, conv4, course, loss, relative, scores
from benchmarks.oracles import HEADS, at, make_network, make_task
from torch import Tensor

from rotogbml.episodes import Examples
from rotogbml.learners import Learner, Outcome, create_learner
from rotogbml.learners.descent import Descent, moving
from rotogbml.learners.network import Psi
from rotogbml.learners.rates import PerParameter
from rotogbml.learners.unrolled import Unrolled

STEPS, LR = 3, 0.05
OFF: dict[str, Any] = {"learn_rates": False, "multi_step_loss": 0.0, "first_order_share": 0.0}


def learner_of(name: str, head: str = "linear", **options: Any) -> Learner:
    return create_learner(name, make_network(head), inner_lr=LR, inner_steps=STEPS, **options)


def outcome(learner: Learner, progress: float = 1.0) -> Outcome:
    psi = learner.network.psi()
    now = learner.at(progress)
    return now.meta_gradient(psi, now.prepare(psi, make_task()))


def gradients(o: Outcome) -> list[Tensor]:
    return [*o.theta_gradient, *o.phi_gradient]


def assert_equal(a: Outcome, b: Outcome) -> None:
    assert torch.equal(a.loss, b.loss)
    for one, other in zip(gradients(a), gradients(b), strict=True):
        assert torch.equal(one, other)


def assert_close(a: Outcome, b: Outcome, error: float = 1e-10) -> None:
    assert abs(a.loss - b.loss) <= error
    for one, other in zip(gradients(a), gradients(b), strict=True):
        assert (one - other).norm() <= error * max(1e-3, float(other.norm()))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("first_order", [False, True])
def test_mamlpp_with_all_parts_off_is_maml_to_the_bit(head: str, progress: float, first_order: bool) -> None:
    off = learner_of("maml++", head, first_order=first_order, **OFF)
    assert_equal(outcome(off, progress), outcome(learner_of("maml", head, first_order=first_order)))


@pytest.mark.parametrize("part", [{"learn_rates": True}, {"multi_step_loss": 0.6}, {"first_order_share": 0.6}], ids=str)
def test_each_part_of_mamlpp_does_something_at_the_start(part: dict[str, Any]) -> None:
    """Else the test above would hold for parts that do nothing."""
    on, off = (outcome(learner_of("maml++", **given), 0.0) for given in (OFF | part, OFF))
    differs = not all(torch.equal(a, b) for a, b in zip(gradients(on), gradients(off), strict=True))
    assert differs or on.alpha_gradient


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("first_order", [False, True])
def test_mamlpp_at_its_initial_rates_is_maml(head: str, first_order: bool) -> None:
    rates = learner_of("maml++", head, first_order=first_order, **(OFF | {"learn_rates": True}))
    assert_close(outcome(rates), outcome(learner_of("maml", head, first_order=first_order)))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("first_order", [False, True])
def test_meta_sgd_at_its_initial_rates_is_maml(head: str, first_order: bool) -> None:
    sgd = outcome(learner_of("meta-sgd", head, first_order=first_order))
    assert_close(sgd, outcome(learner_of("maml", head, first_order=first_order)))


def with_a_room_at_rest(head: str, rest: str, first_order: bool) -> Learner:
    """Return MAML whose rate is 0 for every tensor of a room, ``f`` or ``c``."""
    network = make_network(head)
    like = moving("all", Psi(network.psi().theta, network.head.template()))
    rates = PerParameter(like, LR)
    with torch.no_grad():
        for key, rate in rates.alpha.items():
            if key.startswith(f"{rest}."):
                rate.zero_()
    descent = Descent("all", rates)
    return Learner("maml", network, descent, Unrolled(descent, first_order), STEPS, STEPS, {})


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("first_order", [False, True])
def test_anil_is_maml_whose_encoder_has_rate_zero(head: str, first_order: bool) -> None:
    still = outcome(with_a_room_at_rest(head, "f", first_order))
    assert_close(outcome(learner_of("anil", head, first_order=first_order)), still)


@pytest.mark.parametrize("head", ["linear", "prototype", "cosine"])
@pytest.mark.parametrize("first_order", [False, True])
def test_boil_is_maml_whose_head_has_rate_zero(head: str, first_order: bool) -> None:
    still = outcome(with_a_room_at_rest(head, "c", first_order))
    assert_close(outcome(learner_of("boil", head, first_order=first_order)), still)


@pytest.mark.parametrize("first_order", [False, True])
def test_protomaml_is_maml_with_that_head_to_the_bit(first_order: bool) -> None:
    proto = outcome(learner_of("protomaml", "prototype", first_order=first_order))
    assert_equal(proto, outcome(learner_of("maml", "prototype", first_order=first_order)))


@pytest.mark.parametrize("name", ["maml", "anil", "maml++", "meta-sgd", "imaml", "reptile"])
def test_a_tied_head_is_a_head_of_zeros_but_for_rounding(name: str) -> None:
    """What all rows share adds the same to every score, and softmax does not see it: not in training, not at test."""
    options = {"inner_optimizer": "sgd"} if name == "reptile" else {}
    tied, zero = outcome(learner_of(name, "linear-tied", **options)), outcome(learner_of(name, "zero", **options))
    for a, b in zip(tied.theta_gradient, zero.theta_gradient, strict=True):
        assert relative(a, b) <= 1e-10
    assert all(g.norm() <= 1e-12 for g in tied.phi_gradient)


@pytest.mark.parametrize("head", ["linear", "cosine"])
@pytest.mark.parametrize("name", ["anil", "boil", "maml", "maml++", "meta-sgd"])
def test_first_order_is_the_gradient_at_the_adapted_point(name: str, head: str) -> None:
    """Where φ starts from what is learned itself; where its start is computed, see the oracles."""
    way = Way(head, STEPS, LR, {"anil": "head", "boil": "encoder"}.get(name, "all"))
    learner, task = learner_of(name, head, first_order=True), make_task()
    psi = {f"f.{name}": p.detach() for name, p in learner.network.psi().theta.items()}
    psi |= {f"c.{name}": p.detach() for name, p in learner.network.psi().phi.items()}
    end = {key: p.detach().requires_grad_() for key, p in course(way, psi, {}, task)[0][-1].items()}
    expected = torch.autograd.grad(loss(way, end, task.query.x, task.query.y, STEPS), list(end.values()))
    for a, b in zip(gradients(outcome(learner)), expected, strict=True):
        assert (a - b).norm() <= 1e-10 * b.norm() + 1e-14


def test_reptile_of_one_step_on_all_images_is_plain_training_on_them() -> None:
    way, task = Way(), make_task()
    learner = create_learner(
        "reptile", make_network("linear"), inner_lr=LR, inner_steps=1, inner_batch=99, inner_optimizer="sgd"
    )
    state = {key: p.requires_grad_() for key, p in at(learner)[0].items()}
    x, y = torch.cat([task.support.x, task.query.x]), torch.cat([task.support.y, task.query.y])
    expected = torch.autograd.grad(loss(way, state, x, y, 0), list(state.values()))
    for a, b in zip(gradients(outcome(learner)), expected, strict=True):
        assert (a - b).norm() <= 1e-10 * b.norm() + 1e-14


@pytest.mark.parametrize("name", ["anil", "boil", "imaml", "maml", "maml++", "meta-sgd", "protomaml", "reptile"])
def test_the_feature_gradient_is_the_heads_alone(name: str) -> None:
    """What γ is made of, before the backward and from it: of the last minibatch, and of several steps' losses."""
    options: dict[str, Any] = {"multi_step_loss": 0.6, "first_order_share": 0.0} if name == "maml++" else {}
    learner = learner_of(name, "prototype" if name == "protomaml" else "linear", **options).at(0.4)
    psi = learner.network.psi()
    task = learner.prepare(psi, make_task())
    alone = learner.head_gradient(task)
    weights = [point.weight for point in task.points]
    assert sum(weights) == pytest.approx(1)
    expected = torch.zeros_like(alone)
    for point in task.points:  # Wᵀ (softmax − onehot), the mean over queries
        p = (point.z @ point.phi["weight"].T + point.phi["bias"]).softmax(1)
        p = p - torch.nn.functional.one_hot(task.y, 3)
        expected += point.weight * (p @ point.phi["weight"]).mean(0).detach()
    assert relative(alone, expected) <= 1e-10
    assert relative(learner.meta_gradient(psi, task).feature_gradient, expected) <= 1e-10


def test_mamlpp_takes_its_last_rates_in_steps_beyond_those_of_training() -> None:
    task, network = make_task(), make_network("linear")
    learner = create_learner("maml++", network, inner_lr=LR, inner_steps=2, test_steps=4)
    psi, alpha = at(learner)
    longer = {key: torch.cat([a, a[-1:], a[-1:]]) for key, a in alpha.items()}
    end = course(Way(steps=4, rates="step"), psi, longer, task)[0][-1]
    theta, phi = ({key[2:]: p for key, p in end.items() if key[0] == room} for room in "fc")
    expected = scores("linear", phi, conv4(Way(), theta, task.query.x, 4))
    assert relative(learner.predict(network.psi(), task), expected) <= 1e-10


def test_reptile_that_is_not_transductive_judges_each_query_beside_the_support_alone() -> None:
    """As in its paper: a query's statistics are those of the support and itself."""
    learner, task = learner_of("reptile", test_steps=2, transductive=False), make_task()
    psi = learner.network.psi()
    together = learner.predict(psi, task)
    for q in range(9):
        alone = replace(task, query=Examples(task.query.x[q : q + 1], task.query.y[q : q + 1]))
        assert torch.equal(learner.predict(psi, alone)[0].argmax(), together[q].argmax())
    state, _ = at(learner)
    still = create_learner("reptile", learner.network, test_steps=0, transductive=False).predict(psi, task)
    theta, phi = ({key[2:]: p for key, p in state.items() if key[0] == room} for room in "fc")
    for q in range(9):
        beside = torch.cat([task.support.x, task.query.x[q : q + 1]])
        expected = scores("linear", phi, conv4(Way(), theta, beside, 0)[6:])
        assert relative(still[q : q + 1], expected) <= 1e-10
