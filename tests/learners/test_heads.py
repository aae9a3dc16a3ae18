"""Where a head starts, and that one head serves any number of classes where it says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from benchmarks.independent import Tensors, Way, begin, conv4, course, relative, scores
from benchmarks.oracles import HEADS, at, make_network, make_task
from torch import Tensor

from rotogbml.encoders import create_encoder
from rotogbml.episodes import Episode, Examples
from rotogbml.learners import Learner, Network, create_head, create_learner, list_heads

FREE = ("linear-tied", "zero", "prototype")


def trained_five_way(name: str, head: str, **options: Any) -> tuple[Learner, Tensors, Tensors]:
    """Return a learner whose head was made for 5 classes, with numbers as if trained; its ψ and its α."""
    encoder = create_encoder("conv4", size=16, width=4)
    network = Network(encoder, create_head(head, encoder.feature_dim, 5))
    network.initialise(3)
    encoder.to(torch.float64)
    network.head.double()
    with torch.no_grad():
        for p in network.head.parameters():
            p.add_(0.2)
    learner = create_learner(name, network, inner_lr=0.1, inner_steps=2, **options)
    psi, alpha = at(learner)
    return learner, psi, alpha


def of_ways(n_way: int) -> Episode:
    g = torch.Generator().manual_seed(n_way)

    def examples(n: int) -> Examples:
        order = torch.randperm(n, generator=g)
        return Examples(torch.randn(n, 3, 16, 16, generator=g, dtype=torch.float64), (torch.arange(n) % n_way)[order])

    names = tuple(f"class{k}" for k in range(n_way))
    return Episode(examples(2 * n_way), examples(3 * n_way), "made", names, (np.arange(2), np.arange(2, 5)))


def scores_by_hand(way: Way, psi: Tensors, alpha: Tensors, task: Episode) -> Tensor:
    end = course(way, psi, alpha, task)[0][-1]
    with torch.no_grad():
        z = conv4(way, {key[2:]: p for key, p in end.items() if key[0] == "f"}, task.query.x, way.steps)
        return scores(way.head, {key[2:]: p for key, p in end.items() if key[0] == "c"}, z)


@pytest.mark.parametrize("n_way", [2, 5, 10, 20])
@pytest.mark.parametrize("head", FREE)
@pytest.mark.parametrize(
    ("name", "rates", "lam"),
    [("maml", "constant", 0.0), ("meta-sgd", "parameter", 0.0), ("maml++", "step", 0.0), ("imaml", "constant", 2.0)],
)
def test_a_head_made_for_five_classes_serves_any_number(
    name: str, rates: str, lam: float, head: str, n_way: int
) -> None:
    learner, psi, alpha = trained_five_way(name, head)
    task, way = of_ways(n_way), Way(head, 2, 0.1, rates=rates, lam=lam)
    ours = learner.predict(learner.network.psi(), task)
    assert ours.shape == (3 * n_way, n_way)
    assert relative(ours, scores_by_hand(way, psi, alpha, task)) < 1e-9


@pytest.mark.parametrize("n_way", [2, 10])
@pytest.mark.parametrize("head", FREE)
@pytest.mark.parametrize("name", ["anil", "maml", "imaml", "reptile"])
def test_a_head_made_for_five_classes_is_trained_by_tasks_of_any_number(name: str, head: str, n_way: int) -> None:
    learner, _, _ = trained_five_way(name, head)
    psi = learner.network.psi()
    outcome = learner.meta_gradient(psi, learner.prepare(psi, of_ways(n_way)))
    for p, g in zip(psi.tensors(), [*outcome.theta_gradient, *outcome.phi_gradient], strict=True):
        assert g.shape == p.shape
        assert g.isfinite().all()


@pytest.mark.parametrize("head", HEADS)
def test_it_says_which_heads_serve_any_number(head: str) -> None:
    assert create_head(head, 4, 3).any_way == (head in FREE)


def test_every_head_is_known_here() -> None:
    assert set(list_heads()) == set(HEADS)


def test_a_tied_head_is_one_row_repeated() -> None:
    network, task = make_network("linear-tied"), make_task()
    psi = network.psi()
    assert [tuple(p.shape) for p in psi.phi.values()] == [(1, network.feature_dim), (1,)]
    adapted = create_learner("maml", network, inner_lr=0.1, inner_steps=0).adapt(psi, task.support, 0)
    for row in range(3):
        assert torch.equal(adapted.phi["weight"][row], psi.phi["weight"][0])
        assert torch.equal(adapted.phi["bias"][row], psi.phi["bias"][0])


@pytest.mark.parametrize("name", ["maml", "protomaml", "imaml"])
def test_from_prototypes_the_first_step_moves_theta_with_phi_held_still(name: str) -> None:
    """Were φ taken as a function of θ, the step would follow the total derivative instead."""
    network, task = make_network("prototype"), make_task()
    learner = create_learner(name, network, inner_lr=0.1, inner_steps=1)
    psi = network.psi()
    adapted = learner.adapt(psi, task.support, 1)
    # ProtoMAML by hand: φ⁰ = (2c, −‖c‖²) from the support's mean features, then one step of both
    theta = {name: p.detach().requires_grad_() for name, p in psi.theta.items()}
    z = conv4(Way(), theta, task.support.x, 0)
    c = torch.stack([z.detach()[task.support.y == k].mean(0) for k in range(3)])
    weight, bias = (2 * c).requires_grad_(), (-(c**2).sum(1)).requires_grad_()
    loss = F.cross_entropy(z @ weight.T + bias, task.support.y)
    steps = torch.autograd.grad(loss, [*theta.values(), weight, bias], retain_graph=True)
    for p, before, g in zip(adapted.tensors(), [*theta.values(), weight, bias], steps, strict=True):
        assert relative((p - before).detach(), -0.1 * g) < 1e-9
    c = torch.stack([z[task.support.y == k].mean(0) for k in range(3)])  # no longer held still
    whole = F.cross_entropy(z @ (2 * c).T - (c**2).sum(1), task.support.y)
    other = torch.autograd.grad(whole, list(theta.values()))
    assert max(relative(a, b) for a, b in zip(steps, other, strict=False)) > 1e-2


def test_scores_from_prototypes_are_distances_to_them_up_to_what_classes_share() -> None:
    network, task = make_network("prototype"), make_task()
    scored = create_learner("maml", network, inner_lr=0.1, inner_steps=0).predict(network.psi(), task)
    state = begin(Way("prototype"), at(create_learner("maml", network, inner_lr=0.1))[0], task)
    theta = {key[2:]: p for key, p in state.items() if key[0] == "f"}
    z, z_support = (conv4(Way(), theta, side.x, 0) for side in (task.query, task.support))
    c = torch.stack([z_support[task.support.y == k].mean(0) for k in range(3)])
    expected = (-torch.cdist(z, c).square()).log_softmax(1)
    torch.testing.assert_close(scored.log_softmax(1), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_cosine_scores_do_not_see_how_long_a_feature_or_a_row_is(factor: float) -> None:
    head = make_network("cosine").head
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    phi = {name: p.detach() for name, p in head.named_parameters()}
    longer = phi | {"weight": factor * phi["weight"]}
    torch.testing.assert_close(head.scores(longer, z / factor), head.scores(phi, z), rtol=1e-12, atol=1e-12)
    assert head.scores(phi, z).abs().max() <= phi["scale"].abs()
