"""One iteration of Algorithm 1: what it equals with everything off, what it holds at once, what stops it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.config import HomogenizerConfig, LearnerConfig, RotateConfig
from rotogbml.encoders import fused
from rotogbml.episodes import Episode
from rotogbml.errors import RotogbmlError
from rotogbml.training.assemble import Parts
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
