"""Keeping one inner step's graph at a time must not change the meta-gradient: to 1e-12 of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from benchmarks.independent import relative
from benchmarks.oracles import at, make_network, make_task

from rotogbml.config import IsiConfig
from rotogbml.encoders.isi import Isi
from rotogbml.homogenizer import Turn
from rotogbml.learners import Outcome, Rotation, create_learner
from rotogbml.presets import fill

ALL_ON = {"first_order_share": 0.3, "multi_step_loss": 0.6}
CASES: list[tuple[str, str, str, float, dict[str, Any]]] = [
    ("maml", "linear", "batch", 1.0, {}),
    ("maml", "linear-tied", "batch", 1.0, {}),
    ("maml", "zero", "batch", 1.0, {}),
    ("maml", "cosine", "support", 1.0, {}),
    ("boil", "linear", "batch", 1.0, {}),
    ("boil", "prototype", "batch", 1.0, {}),
    ("meta-sgd", "linear", "batch", 1.0, {}),
    ("meta-sgd", "prototype", "group", 1.0, {}),
    ("protomaml", "prototype", "batch", 1.0, {}),
    ("maml++", "linear", "per-step", 1.0, ALL_ON),
    ("maml++", "linear", "per-step", 0.4, ALL_ON),  # several steps' losses
    ("maml++", "prototype", "per-step", 0.4, ALL_ON),
    ("maml++", "linear-tied", "running", 0.4, {**ALL_ON, "learn_rates": False}),
    ("maml++", "linear", "per-step", 0.0, ALL_ON),  # first order: nothing to save, and nothing may change
]


def isi() -> Isi:
    return Isi(fill(IsiConfig(layers="all", rate=0.5), "isi", "default", "strong"))


def rotation(m: int) -> Rotation:
    q, _ = torch.linalg.qr(torch.randn(m, m, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    return Turn(q)


def outcome(case: tuple[str, str, str, float, dict[str, Any]], steps: int = 4, **options: Any) -> Outcome:
    name, head, norm, progress, own = case
    masks, rotated = options.pop("masks", False), options.pop("rotated", False)
    network = make_network(head, norm, steps + 1)
    learner = create_learner(name, network, inner_lr=0.05, inner_steps=steps, **own, **options).at(progress)
    at(learner)  # spreads the rates
    psi = network.psi()
    γ = rotation(network.feature_dim) if rotated else None
    task = learner.prepare(psi, make_task(), isi().draw(5) if masks else None, γ)
    return learner.meta_gradient(psi, task, γ)


def assert_same(a: Outcome, b: Outcome) -> None:
    assert abs(a.loss - b.loss) <= 1e-12
    assert relative(a.feature_gradient, b.feature_gradient) <= 1e-12
    for one, other in ((a.theta_gradient, b.theta_gradient), (a.phi_gradient, b.phi_gradient)):
        for p, q in zip(one, other, strict=True):
            assert (p - q).norm() <= 1e-12 * max(1.0, float(q.norm()))
    for p, q in zip(a.alpha_gradient, b.alpha_gradient, strict=True):
        assert (p - q).norm() <= 1e-12 * max(1.0, float(q.norm()))


def named(case: tuple[str, str, str, float, dict[str, Any]]) -> str:
    return f"{case[0]}, {case[1]}, {case[2]}, progress {case[3]}"


@pytest.mark.parametrize("case", CASES, ids=named)
@pytest.mark.parametrize(("masks", "rotated"), [(False, False), (True, False), (True, True)])
def test_checkpointing_leaves_the_meta_gradient(case: Any, masks: bool, rotated: bool) -> None:
    given = {"masks": masks, "rotated": rotated}
    assert_same(outcome(case, checkpoint=True, **given), outcome(case, checkpoint=False, **given))


@pytest.mark.parametrize("case", CASES, ids=named)
@pytest.mark.parametrize("steps", [0, 1])
def test_checkpointing_leaves_the_meta_gradient_of_no_step_and_of_one(case: Any, steps: int) -> None:
    assert_same(outcome(case, steps, checkpoint=True), outcome(case, steps, checkpoint=False))


@pytest.mark.parametrize("case", [case for case in CASES if case[2] == "running"], ids=named)
def test_checkpointing_gathers_the_same_statistics(case: Any) -> None:
    """Passes that are repeated in the backward leave none."""
    a, b = (outcome(case, checkpoint=checkpoint).seen for checkpoint in (True, False))
    assert a.keys() == b.keys()
    assert a
    for key in a:
        # Passes come in another order: queries after all steps, or after each.
        ours, theirs = (sorted((m.tolist(), v.tolist()) for m, v in seen[key]) for seen in (a, b))
        assert ours == theirs


def test_masks_and_rotation_change_the_meta_gradient() -> None:
    """Else the tests above would hold for masks and rotations that do nothing."""
    plain = outcome(CASES[0]).theta_gradient[0]
    assert relative(outcome(CASES[0], masks=True).theta_gradient[0], plain) > 1e-3
    assert relative(outcome(CASES[0], rotated=True).theta_gradient[0], plain) > 1e-3
