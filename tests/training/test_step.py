"""One iteration of Algorithm 1: what it equals with everything off, and what must not matter."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.config import HomogenizerConfig, LearnerConfig, ReweightConfig, RotateConfig
from rotogbml.encoders import fused
from rotogbml.episodes import Episode
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.homogenizer import Plain, RotoGBML
from rotogbml.training.assemble import Parts
from rotogbml.training.outer import create_optimizer
from rotogbml.training.step import meta_step

Build = Callable[..., Parts]


def by_hand(theta: list[Tensor], x: Tensor) -> Tensor:
    """conv4 written out; the parameters come as scale, shift, filters of each block."""
    x = x.contiguous(memory_format=torch.channels_last)
    for scale, shift, filters in zip(*[iter(theta)] * 3, strict=True):
        x = F.batch_norm(F.conv2d(x, filters, padding=1), None, None, scale, shift, training=True)
        x = F.relu(F.max_pool2d(x, 2))
    return x.flatten(1)


def task_gradient(psi: list[Tensor], episode: Episode, lr: float, steps: int, first_order: bool) -> list[Tensor]:
    fast = psi
    for _ in range(steps):
        loss = F.cross_entropy(F.linear(by_hand(fast[:-2], episode.support.x), *fast[-2:]), episode.support.y)
        fast = [p - lr * g for p, g in zip(fast, torch.autograd.grad(loss, fast, create_graph=not first_order))]  # noqa: B905
    loss = F.cross_entropy(F.linear(by_hand(fast[:-2], episode.query.x), *fast[-2:]), episode.query.y)
    return list(torch.autograd.grad(loss, psi))


@pytest.mark.parametrize("block", ["stock", "small", "large", "compiled"])
@pytest.mark.parametrize("first_order", [False, True])
def test_with_all_parts_off_it_is_plain_maml_to_the_bit(
    build: Build, monkeypatch: pytest.MonkeyPatch, first_order: bool, block: str
) -> None:
    """To the bit with stock's operators, and with the fused block on small maps in first order, which calls the same
    where nothing is compiled.

    Elsewhere the fused block sums in another order. Adam's first step is the sign of a gradient, however small, so
    that there the gradients of one step are compared, not what four steps lead to; float64 is compared elsewhere.
    """
    monkeypatch.setenv("ROTOGBML_FUSED", "0" if block == "stock" else "1")
    monkeypatch.setattr(fused, "_TINY", 0)
    monkeypatch.setattr(fused, "_COMPILED", 0)
    if block == "large":
        monkeypatch.setattr(fused, "_LARGE", 0)
    if block != "compiled":
        monkeypatch.setattr("rotogbml.native.passes.library", lambda: None)
    learner = LearnerConfig(inner_lr=0.05, inner_steps=2, first_order=first_order)
    parts = build(homogenizer=None, isi=None, learner=learner)
    psi = parts.learner.network.psi()
    plain = [p.detach().clone(memory_format=torch.preserve_format).requires_grad_() for p in psi.tensors()]
    optimizer = torch.optim.Adam(psi.tensors(), lr=1e-3)
    ours = torch.optim.Adam(plain, lr=1e-3)
    for step in range(4):
        episodes = parts.sampler.batch(step)
        meta_step(parts, psi, optimizer, episodes, step)
        tasks = [task_gradient(plain, episode, 0.05, 2, first_order) for episode in episodes]
        for p, *gradients in zip(plain, *tasks, strict=True):
            p.grad = torch.stack(gradients).mean(0)
        if block in ("large", "compiled") or (block == "small" and not first_order):
            for p, q in zip(psi.tensors(), plain, strict=True):
                assert p.grad is not None
                assert q.grad is not None
                torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4 * q.grad.abs().max().item())
            return
        ours.step()
        for (name, p), q in zip([*psi.theta.items(), *psi.phi.items()], plain, strict=True):
            assert torch.equal(p, q), (step, name)


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


def test_masks_are_a_function_of_seed_step_and_task(build: Build) -> None:
    def once(step: int, seed: int = 0) -> Tensor:
        parts = build(homogenizer=None, seed=0)
        parts = replace(parts, config=replace(parts.config, seed=seed))
        psi = parts.learner.network.psi()
        optimizer = torch.optim.SGD(psi.tensors(), lr=0.0)
        one = parts.sampler.batch(0)[0]
        return meta_step(parts, psi, optimizer, (one, one), step).encoder

    first = once(0)
    assert torch.equal(first, once(0))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, once(1))
    assert not torch.equal(first, once(0, seed=1))


def most_tasks_alive(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many earlier tasks' query features were alive, at most, when the next task began."""
    network, alive, most = parts.learner.network, [], 0
    prepare, features = parts.learner.prepare, network.features

    def watched_features(*given: Any) -> Tensor:
        z = features(*given)
        alive.append(weakref.ref(z))
        return z

    def watched_prepare(*given: Any) -> Any:
        nonlocal most
        most = max(most, sum(ref() is not None for ref in alive))
        return prepare(*given)

    monkeypatch.setattr(network, "features", watched_features)
    object.__setattr__(parts.learner, "prepare", watched_prepare)  # the class is frozen
    psi = network.psi()
    meta_step(parts, psi, torch.optim.Adam(psi.tensors()), parts.sampler.batch(0), 0)
    assert alive
    return most


@pytest.mark.parametrize("first_order", [False, True])
def test_a_tasks_graph_is_gone_before_the_next_is_built(
    build: Build, monkeypatch: pytest.MonkeyPatch, first_order: bool
) -> None:
    learner = LearnerConfig(inner_lr=0.05, inner_steps=2, first_order=first_order)
    assert most_tasks_alive(build(learner=learner), monkeypatch) == 0
    # and the count can tell: a γ of this very minibatch needs the features of all its tasks
    at_once = HomogenizerConfig(None, RotateConfig(slots="minibatch", rotate_support=False))
    assert most_tasks_alive(build(learner=learner, homogenizer=at_once), monkeypatch) > 0


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


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_names_source_and_step_and_changes_nothing(
    build: Build, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    parts = build()
    psi = parts.learner.network.psi()
    optimizer = torch.optim.Adam(psi.tensors())
    meta_step(parts, psi, optimizer, parts.sampler.batch(0), 0)
    before = [p.detach().clone() for p in psi.tensors()]
    omega = parts.homogenizer.omega()
    episodes = parts.sampler.batch(1)
    honest, calls = type(parts.learner).meta_gradient, []

    def spoiled(self: Any, *given: Any) -> Any:
        calls.append(None)
        outcome = honest(self, *given)
        if len(calls) < 2:
            return outcome
        if what == "loss":
            return replace(outcome, loss=outcome.loss * float("nan"))
        return replace(outcome, phi_gradient=[g * float("inf") for g in outcome.phi_gradient])

    monkeypatch.setattr(type(parts.learner), "meta_gradient", spoiled)
    with pytest.raises(RotogbmlError, match=f"source '{episodes[1].source}' at step 1 .* lower --learner.inner_lr"):
        meta_step(parts, psi, optimizer, episodes, 1)
    assert all(torch.equal(p, q) for p, q in zip(psi.tensors(), before, strict=True))
    assert parts.homogenizer.omega() == omega


def test_the_norm_of_a_huge_gradient_is_a_number(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its square leaves float32 long before it does itself."""
    parts = build(homogenizer=None, isi=None)
    psi = parts.learner.network.psi()
    honest = type(parts.learner).meta_gradient

    def huge(self: Any, *given: Any) -> Any:
        outcome = honest(self, *given)
        return replace(outcome, theta_gradient=[g * 1e25 for g in outcome.theta_gradient])

    monkeypatch.setattr(type(parts.learner), "meta_gradient", huge)
    record = meta_step(parts, psi, torch.optim.Adam(psi.tensors()), parts.sampler.batch(0), 0)
    assert all(1e22 < norm < 1e28 for norm in record.norms)


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


@pytest.mark.parametrize("homogenizer", [None, HomogenizerConfig()])
def test_sharpness_aware_gradients_are_those_uphill(
    build: Callable[..., Parts], configure: Callable[..., Any], homogenizer: HomogenizerConfig | None
) -> None:
    """With a learning rate of 0: g(ψ + ρ g/‖g‖) by hand, and ψ is back to the bit."""
    outer = replace(configure().outer, sam=0.5)
    sharp, parts = build(homogenizer=homogenizer, outer=outer), build(homogenizer=homogenizer)
    psi = parts.learner.network.psi()
    tensors = psi.tensors()
    episodes = parts.sampler.batch(0)

    def gradient(of: Parts, at: list[Tensor]) -> list[Tensor]:
        psi = of.learner.network.psi()
        for p, value in zip(psi.tensors(), at, strict=True):
            p.data.copy_(value)
        meta_step(of, psi, torch.optim.SGD(psi.tensors(), lr=0.0), episodes, 0)
        return [p.grad.clone() for p in psi.tensors() if p.grad is not None]

    start = [p.detach().clone() for p in tensors]
    g = gradient(build(homogenizer=homogenizer), start)
    norm = torch.cat([part.flatten() for part in g]).norm()
    expected = gradient(parts, [p + 0.5 * part / norm for p, part in zip(start, g, strict=True)])
    found = gradient(sharp, start)
    for a, b, plain in zip(found, expected, g, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(a, plain, rtol=1e-3)
    for p, value in zip(sharp.learner.network.psi().tensors(), start, strict=True):
        assert torch.equal(p, value)
