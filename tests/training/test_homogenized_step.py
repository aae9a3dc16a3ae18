"""ω, γ and ISI in one iteration of Algorithm 1: what each does, and what must not matter."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from rotogbml.config import HomogenizerConfig, LearnerConfig, ReweightConfig, RotateConfig
from rotogbml.errors import UsageError
from rotogbml.homogenizer import Plain, RotoGBML
from rotogbml.training.assemble import Parts
from rotogbml.training.outer import create_optimizer
from rotogbml.training.step import meta_step

Build = Callable[..., Parts]


def test_each_part_switched_on_changes_what_is_learned(build: Build) -> None:
    """Otherwise the test above would hold for parts that do nothing."""
    off = HomogenizerConfig(reweight=None, rotate=None)
    variants: dict[str, dict[str, Any]] = {
        "plain": {"homogenizer": None, "isi": None},
        "ω": {"homogenizer": replace(off, reweight=ReweightConfig(lr=0.1)), "isi": None},
        "γ": {"homogenizer": replace(off, rotate=RotateConfig(lr=0.1)), "isi": None},
        "ISI": {"homogenizer": None},
    }
    ends = {}
    for name, changes in variants.items():
        parts = build(**changes)
        psi = parts.learner.network.psi()
        optimizer = torch.optim.Adam(psi.tensors(), lr=1e-3)
        for step in range(3):
            meta_step(parts, psi, optimizer, parts.sampler.batch(step), step)
        ends[name] = torch.cat([p.detach().flatten() for p in psi.tensors()])
    for a, b in itertools.combinations(ends, 2):
        assert not torch.equal(ends[a], ends[b]), (a, b)


@pytest.mark.parametrize("slots", ["source", "position", "minibatch"])
@pytest.mark.parametrize("update", ["gradient", "closed-form"])
def test_equal_tasks_keep_omega_at_one_and_gamma_at_the_identity(build: Build, slots: Any, update: Any) -> None:
    homogenizer = HomogenizerConfig(
        ReweightConfig(slots=slots, update=update, lr=0.1),
        RotateConfig(slots=slots, rotate_support=slots != "minibatch", lr=0.1),
    )
    parts = build(homogenizer=homogenizer, isi=None)
    psi = parts.learner.network.psi()
    optimizer = torch.optim.Adam(psi.tensors(), lr=1e-3)
    for step in range(3):
        one = parts.sampler.batch(step)[0]
        episodes = tuple(replace(one, source=source) for source in ("alpha", "beta", "gamma"))
        record = meta_step(parts, psi, optimizer, episodes, step)
        assert record.omega == [1.0, 1.0, 1.0]
        assert torch.equal(record.feature_before, record.feature_after)
    assert isinstance(parts.homogenizer, RotoGBML)
    assert parts.homogenizer.rotate is not None
    assert set(parts.homogenizer.omega().values()) <= {1.0}
    for γ in parts.homogenizer.rotate.γ:
        assert torch.equal(γ, torch.eye(len(γ)))


@pytest.mark.parametrize("align", ["rotated", "shared"])
def test_the_order_of_the_tasks_does_not_matter_with_a_slot_for_each_source(build: Build, align: Any) -> None:
    ends = []
    for order in ((0, 1, 2), (2, 0, 1)):
        parts = build(
            homogenizer=HomogenizerConfig(ReweightConfig(lr=0.1), RotateConfig(lr=0.2, align=align)), isi=None
        )
        parts.learner.network.encoder.double()
        parts.learner.network.head.double()
        psi = parts.learner.network.psi()
        # Not Adam: it turns the rounding of a gradient that is zero into a step of full size.
        optimizer = torch.optim.SGD(psi.tensors(), lr=0.1)
        for step in range(4):
            batch = [e.to(torch.device("cpu"), torch.float64) for e in parts.sampler.batch(step)]
            record = meta_step(parts, psi, optimizer, tuple(batch[i] for i in order), step)
        ends.append(
            (psi.tensors(), parts.homogenizer.state_dict(), dict(zip(record.sources, record.omega, strict=True)))
        )
    (a, state_a, omega_a), (b, state_b, omega_b) = ends
    for p, q in zip(a, b, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-8)  # γ itself is float32
    assert omega_a == pytest.approx(omega_b, rel=1e-9)
    assert max(abs(w - 1) for w in omega_a.values()) > 1e-3  # something moved
    for γ, δ in zip(state_a["rotate"]["rotations"], state_b["rotate"]["rotations"], strict=True):
        torch.testing.assert_close(γ, δ, rtol=0, atol=1e-6)
        assert not torch.equal(γ, torch.eye(len(γ)))


UPDATES, SLOTS = ("gradient", "closed-form", "fixed"), ("source", "position", "minibatch")


@pytest.mark.parametrize("learner", ["maml", "anil"])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("update", UPDATES)
def test_every_combination_takes_two_steps(
    build: Build, learner: str, first_order: bool, slots: Any, update: Any
) -> None:
    for align, rotate_support, rotation_dim in itertools.product(("rotated", "shared"), (False, True), (None, 3)):
        homogenizer = HomogenizerConfig(
            ReweightConfig(update=update, slots=slots, fixed=[1.0, 2.0, 3.0] if update == "fixed" else None),
            RotateConfig(align, slots=slots, rotate_support=rotate_support, rotation_dim=rotation_dim),
        )
        changes = {
            "homogenizer": homogenizer,
            "learner": LearnerConfig(learner, inner_lr=0.05, inner_steps=1, first_order=first_order),
        }
        if slots == "minibatch" and (rotate_support or update == "fixed"):
            with pytest.raises(UsageError, match=r"minibatch|last"):
                build(**changes)
            continue
        parts = build(**changes)
        psi = parts.learner.network.psi()
        optimizer = torch.optim.Adam(psi.tensors(), lr=1e-3)
        before = [p.detach().clone() for p in psi.tensors()]
        for step in range(2):
            record = meta_step(parts, psi, optimizer, parts.sampler.batch(step), step)
            assert sum(record.omega) == pytest.approx(3)
            assert min(record.omega) > 0
            if update == "fixed":
                assert sorted(record.omega) == pytest.approx([0.5, 1.0, 1.5])
        assert all(p.isfinite().all() for p in psi.tensors())
        assert any(not torch.equal(p, q) for p, q in zip(psi.tensors(), before, strict=True))


def test_minibatch_slots_act_at_once_and_keep_nothing(build: Build) -> None:
    homogenizer = HomogenizerConfig(
        ReweightConfig(slots="minibatch", update="closed-form"),
        RotateConfig(slots="minibatch", rotate_support=False, lr=0.5, align="rotated"),
    )
    parts = build(homogenizer=homogenizer, isi=None)
    psi = parts.learner.network.psi()
    record = meta_step(parts, psi, torch.optim.Adam(psi.tensors()), parts.sampler.batch(0), 0)
    losses, norms = torch.tensor(record.losses), torch.tensor(record.norms)
    expected = (losses / losses.mean()) ** 1.5 / norms
    assert record.omega == pytest.approx((expected / expected.mean()).tolist(), rel=1e-5)
    assert not torch.allclose(record.feature_before, record.feature_after)
    assert parts.homogenizer.omega() == {}
    assert parts.homogenizer.rotations(record.sources) is None


def test_omega_weighs_the_tasks_in_the_step_of_psi(build: Build) -> None:
    """ψ moves by the mean of ω_i g_i (eq. 3), g_i being the gradient that the record holds."""
    fixed = HomogenizerConfig(ReweightConfig(update="fixed", fixed=[1.0, 2.0, 6.0]), None)
    parts = build(homogenizer=fixed)
    psi = parts.learner.network.psi()
    before = torch.cat([p.detach().flatten() for p in psi.theta.values()])
    record = meta_step(parts, psi, torch.optim.SGD(psi.tensors(), lr=1.0), parts.sampler.batch(0), 0)
    moved = before - torch.cat([p.detach().flatten() for p in psi.theta.values()])
    weights = {"alpha": 1 / 3, "beta": 2 / 3, "gamma": 2.0}
    expected = sum(weights[s] * g for s, g in zip(record.sources, record.encoder, strict=True)) / 3
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-6)


def test_outside_of_its_phase_the_homogenizer_rests(build: Callable[..., Parts]) -> None:
    parts = build(homogenizer=HomogenizerConfig(phase=(0.25, 0.75)))
    for progress, acts in ((0.0, False), (0.25, True), (0.5, True), (0.75, False), (1.0, False)):
        assert isinstance(parts.at(progress).homogenizer, Plain) is not acts
    plain = build(homogenizer=None)
    with pytest.raises(UsageError, match=r"homogenizer.phase is \[0.5, 0.5\]: give two shares"):
        build(homogenizer=HomogenizerConfig(phase=(0.5, 0.5)))
    psi, other = parts.learner.network.psi(), plain.learner.network.psi()
    for each, of in ((parts.at(0.1), psi), (plain, other)):
        optimizer = create_optimizer(each.config.outer, each.learner, of)
        meta_step(each, of, optimizer, each.sampler.batch(0), 0)
    for name, p in psi.theta.items():
        assert torch.equal(p, other.theta[name])
