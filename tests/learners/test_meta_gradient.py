"""The meta-gradient against finite differences and against two independent packages, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.episodes import Episode
from rotogbml.learners import Learner, Network, Psi, create_learner

STEPS, LR = 3, 0.05


def outer_loss(
    learner: Learner, psi: Psi, episode: Episode, rotate: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """The query loss as a function of ψ, adaptation included, by the learner's own forward pass."""
    task = learner.prepare(psi, episode)
    z = task.z if rotate is None else rotate(task.z)
    return F.cross_entropy(learner.network.logits(task.phi, z), task.y)


def rotation(m: int) -> Callable[[Tensor], Tensor]:
    q, _ = torch.linalg.qr(torch.randn(m, m, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    return lambda z: z @ q.T


@pytest.mark.parametrize("name", ["anil", "boil", "maml", "maml++", "meta-sgd"])
@pytest.mark.parametrize("rotated", [False, True])
def test_second_order_meta_gradient_equals_central_differences(
    name: str, rotated: bool, network: Network, episode: Episode
) -> None:
    learner = create_learner(name, network, inner_lr=LR, inner_steps=STEPS, first_order=False).at(1.0)
    psi = network.psi()
    rotate = rotation(network.feature_dim) if rotated else None
    outcome = learner.meta_gradient(psi, learner.prepare(psi, episode), rotate)
    gradients = [*outcome.theta_gradient, *outcome.phi_gradient]
    ε = 1e-6
    g = torch.Generator().manual_seed(4)
    for p, gradient in zip(psi.tensors(), gradients, strict=True):
        direction = torch.randn(p.shape, generator=g, dtype=torch.float64)
        with torch.no_grad():
            p.add_(ε * direction)
        up = outer_loss(learner, psi, episode, rotate).item()
        with torch.no_grad():
            p.sub_(2 * ε * direction)
        down = outer_loss(learner, psi, episode, rotate).item()
        with torch.no_grad():
            p.add_(ε * direction)
        expected = (up - down) / (2 * ε)
        assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_maml_equals_higher(network: Network, episode: Episode) -> None:
    higher = pytest.importorskip("higher")
    learner = create_learner("maml", network, inner_lr=LR, inner_steps=STEPS, first_order=False)
    psi = network.psi()
    ours = learner.meta_gradient(psi, learner.prepare(psi, episode))
    model = torch.nn.Sequential(network.encoder, network.head)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    with higher.innerloop_ctx(model, optimizer, copy_initial_weights=False) as (fast, inner):
        for _ in range(STEPS):
            inner.step(F.cross_entropy(fast(episode.support.x), episode.support.y))
        loss = F.cross_entropy(fast(episode.query.x), episode.query.y)
        theirs = torch.autograd.grad(loss, list(model.parameters()))
    assert ours.loss.item() == pytest.approx(loss.item(), rel=1e-12)
    for a, b in zip([*ours.theta_gradient, *ours.phi_gradient], theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_maml_equals_torchopt(network: Network, episode: Episode) -> None:
    torchopt = pytest.importorskip("torchopt")
    learner = create_learner("maml", network, inner_lr=LR, inner_steps=STEPS, first_order=False)
    psi = network.psi()
    ours = learner.meta_gradient(psi, learner.prepare(psi, episode))
    model = torch.nn.Sequential(network.encoder, network.head)
    initial = list(model.parameters())
    optimizer = torchopt.MetaSGD(model, lr=LR)
    for _ in range(STEPS):
        optimizer.step(F.cross_entropy(model(episode.support.x), episode.support.y))
    theirs = torch.autograd.grad(F.cross_entropy(model(episode.query.x), episode.query.y), initial)
    for a, b in zip([*ours.theta_gradient, *ours.phi_gradient], theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_first_order_maml_is_the_gradient_at_the_adapted_point(network: Network, episode: Episode) -> None:
    learner = create_learner("maml", network, inner_lr=LR, inner_steps=STEPS, first_order=True)
    psi = network.psi()
    ours = learner.meta_gradient(psi, learner.prepare(psi, episode))
    adapted = learner.adapt(psi, episode.support, STEPS, create_graph=False)
    leaves = Psi(*({name: p.detach().requires_grad_() for name, p in group.items()} for group in adapted))
    z = network.features(leaves.theta, episode.query.x)
    loss = F.cross_entropy(network.logits(leaves.phi, z), episode.query.y)
    theirs = torch.autograd.grad(loss, leaves.tensors())
    for a, b in zip([*ours.theta_gradient, *ours.phi_gradient], theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_first_and_second_order_differ(network: Network, episode: Episode) -> None:
    gradients = []
    for first_order in (True, False):
        learner = create_learner("maml", network, inner_lr=LR, inner_steps=STEPS, first_order=first_order)
        psi = network.psi()
        outcome = learner.meta_gradient(psi, learner.prepare(psi, episode))
        gradients.append(torch.cat([g.flatten() for g in outcome.theta_gradient]))
    assert (gradients[0] - gradients[1]).norm() > 1e-3 * gradients[1].norm()


def test_first_order_anil_trains_the_encoder_through_the_query_alone(network: Network, episode: Episode) -> None:
    learner = create_learner("anil", network, inner_lr=LR, inner_steps=STEPS, first_order=True)
    psi = network.psi()
    ours = learner.meta_gradient(psi, learner.prepare(psi, episode))
    with torch.no_grad():
        z_support = network.features(psi.theta, episode.support.x)
    phi = {name: p.detach().requires_grad_() for name, p in psi.phi.items()}
    for _ in range(STEPS):
        loss = F.cross_entropy(network.logits(phi, z_support), episode.support.y)
        steps = torch.autograd.grad(loss, list(phi.values()))
        phi = {n: (p - LR * g).detach().requires_grad_() for (n, p), g in zip(phi.items(), steps, strict=True)}
    loss = F.cross_entropy(network.logits(phi, network.features(psi.theta, episode.query.x)), episode.query.y)
    theirs = torch.autograd.grad(loss, [*psi.theta.values(), *phi.values()])
    for a, b in zip([*ours.theta_gradient, *ours.phi_gradient], theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)


def test_anil_leaves_the_encoder_as_it_is(network: Network, episode: Episode) -> None:
    learner = create_learner("anil", network, inner_lr=LR, inner_steps=STEPS, first_order=False)
    psi = network.psi()
    assert learner.adapt(psi, episode.support, STEPS, create_graph=False).theta is psi.theta


def test_the_feature_gradient_is_the_mean_over_queries(network: Network, episode: Episode) -> None:
    learner = create_learner("maml", network, inner_lr=LR, inner_steps=STEPS, first_order=True)
    psi = network.psi()
    task = learner.prepare(psi, episode)
    head_alone = learner.head_gradient(task)
    outcome = learner.meta_gradient(psi, task)
    torch.testing.assert_close(outcome.feature_gradient, head_alone, rtol=1e-12, atol=1e-15)
    task = learner.prepare(psi, episode)
    each = [
        torch.autograd.grad(
            F.cross_entropy(network.logits(task.phi, task.z)[q : q + 1], task.y[q : q + 1]), task.z, retain_graph=True
        )[0]
        for q in range(len(task.y))
    ]
    expected = torch.stack([grad[q] for q, grad in enumerate(each)]).mean(0)
    torch.testing.assert_close(outcome.feature_gradient, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["anil", "boil", "maml", "maml++", "meta-sgd"])
def test_permuting_support_and_query_leaves_the_meta_gradient(name: str, network: Network, episode: Episode) -> None:
    from dataclasses import replace

    from rotogbml.episodes import Examples

    learner = create_learner(name, network, inner_lr=LR, inner_steps=STEPS, first_order=False).at(1.0)
    psi = network.psi()
    before = learner.meta_gradient(psi, learner.prepare(psi, episode))
    g = torch.Generator().manual_seed(5)
    s, q = torch.randperm(6, generator=g), torch.randperm(9, generator=g)
    mixed = replace(
        episode,
        support=Examples(episode.support.x[s], episode.support.y[s]),
        query=Examples(episode.query.x[q], episode.query.y[q]),
    )
    after = learner.meta_gradient(psi, learner.prepare(psi, mixed))
    for a, b in zip(before.theta_gradient, after.theta_gradient, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


def test_zero_inner_steps_is_plain_training(network: Network, episode: Episode) -> None:
    learner = create_learner("maml", network, inner_lr=LR, inner_steps=0, first_order=False)
    psi = network.psi()
    outcome = learner.meta_gradient(psi, learner.prepare(psi, episode))
    loss = F.cross_entropy(network.logits(psi.phi, network.features(psi.theta, episode.query.x)), episode.query.y)
    theirs = torch.autograd.grad(loss, psi.tensors())
    for a, b in zip([*outcome.theta_gradient, *outcome.phi_gradient], theirs, strict=True):
        assert torch.equal(a, b)


def test_prediction_keeps_no_graph_and_needs_none(network: Network, episode: Episode) -> None:
    learner = create_learner("maml", network, inner_lr=LR, inner_steps=STEPS, first_order=False)
    logits = learner.predict(network.psi(), episode)
    assert not logits.requires_grad
    assert logits.shape == (9, 3)
