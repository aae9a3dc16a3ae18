"""RelationNet's variants for unlike sources, MTL and SKD: what each adds, and that a test is plain without it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.config import EncoderConfig
from rotogbml.encoders import Norm, NormPass
from rotogbml.episodes import Episode, Examples, Labelled, Pair
from rotogbml.methods import skd, transform
from rotogbml.methods.adversarial import random_convolution
from rotogbml.methods.compared import Task

Create = Callable[..., Any]
Make = Callable[..., Episode]


def batch(seed: int = 0, source: str = "pooled", low: int = 0, high: int = 7) -> Labelled:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6, 3, 20, 20, generator=generator, dtype=torch.float64)
    return Labelled(Examples(x, torch.arange(6) % (high - low) + low), source, seed)


@pytest.mark.parametrize("name", ["relationnet-ft", "relationnet-ata", "relationnet-lrp", "relationnet-lft"])
def test_at_test_it_is_plain_relationnet(create: Create, episode: Make, name: str) -> None:
    method, plain, task = create(name), create("relationnet"), episode()
    assert torch.equal(method.predict(method.network.psi(), task), plain.predict(plain.network.psi(), task))


def test_noise_follows_a_norm_as_gamma_times_it_plus_beta() -> None:
    norm = Norm(4, "support").double()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    strength = {name: t.double() for name, t in transform.fixed({"n": 4}).items()}
    noisy = transform.transformed({"n.weight": norm.weight, "n.bias": norm.bias}, strength, 7)
    at = {"weight": noisy["n.weight"], "bias": noisy["n.bias"]}
    found = torch.func.functional_call(norm, at, (x, NormPass()))
    gamma = noisy["n.weight"] / norm.weight
    beta = noisy["n.bias"] - gamma * norm.bias
    torch.testing.assert_close(found, gamma[:, None, None] * norm(x, NormPass()) + beta[:, None, None])


def test_the_noise_has_the_published_spread() -> None:
    strength = transform.fixed({"n": 20000})
    noisy = transform.transformed({"n.weight": torch.ones(20000), "n.bias": torch.zeros(20000)}, strength, 3)
    assert float(noisy["n.weight"].mean()) == pytest.approx(1.0, abs=0.01)
    assert float(noisy["n.weight"].std()) == pytest.approx(0.3, abs=0.01)
    assert float(noisy["n.bias"].std()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("encoder", "names"),
    [
        ("conv4-np", ["blocks.0", "blocks.1", "blocks.2.norm", "blocks.3.norm"]),
        (
            "resnet10-small",
            ["blocks.0.norm2", *(f"blocks.{i}.{n}" for i in (1, 2, 3) for n in ("norm2", "shortcut_norm"))],
        ),
    ],
)
def test_which_norms_are_noisy(create: Create, encoder: str, names: list[str]) -> None:
    method = create("relationnet-ft", encoder=EncoderConfig(encoder, width=4))
    assert sorted(transform.noisy_norms(method.network.encoder)) == sorted(names)


def test_ft_changes_the_training_loss_and_draws_by_the_task(create: Create, episode: Make) -> None:
    method, plain = create("relationnet-ft"), create("relationnet")
    psi = method.network.psi()
    losses = [float(method.task_loss(psi, Task(episode(), None, {})).loss.detach()) for _ in range(2)]
    assert losses[0] == losses[1]
    assert losses[0] != float(plain.task_loss(plain.network.psi(), Task(episode(), None, {})).loss.detach())


def test_lfts_gradient_is_that_of_the_other_source_after_the_step(create: Create, episode: Make) -> None:
    method = create("relationnet-lft")
    psi, pair = method.network.psi(), Pair(episode(seed=1), episode(seed=2, source="b"))
    outcome = method.meta_gradient(psi, method.prepare(psi, pair))

    def unseen(alpha: dict[str, Tensor]) -> float:
        noisy = psi._replace(theta=transform.transformed(psi.theta, alpha, pair.key))
        loss = method.task_loss(noisy, Task(pair.seen, None, {})).loss
        moved = iter(
            [p - 1e-3 * g for p, g in zip(psi.tensors(), torch.autograd.grad(loss, psi.tensors()), strict=True)]
        )
        after = type(psi)(*({name: next(moved) for name in group} for group in psi))
        support, query = method.features(after.theta, pair.unseen)
        raw = method.raw(after, method.pairs(support, pair.unseen.support.y, query, 3), 3)
        return float(method.loss(raw, pair.unseen.query.y).detach())

    for name, g in list(zip(method.alpha, outcome.alpha_gradient, strict=True))[:3]:
        ends = []
        for sign in (1, -1):
            alpha = {key: t.detach().clone() for key, t in method.alpha.items()}
            alpha[name][0] += sign * 1e-4
            ends.append(unseen(alpha))
        assert float(g[0]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-4, abs=1e-12)
    noisy = psi._replace(theta=transform.transformed(psi.theta, method.alpha, pair.key))
    plain = torch.autograd.grad(method.task_loss(noisy, Task(pair.seen, None, {})).loss, list(psi.theta.values()))
    for a, b in zip(outcome.theta_gradient, plain, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("lr", [1.0, 10.0])
def test_atas_inner_maximisation_raises_the_loss_each_step(create: Create, episode: Make, lr: float) -> None:
    method = create("relationnet-ata")
    psi, task = method.network.psi(), episode()
    x = torch.cat([task.support.x, task.query.x])
    losses = [float(method.test_loss(psi, task, state).detach()) for state in method.ascent(psi, task, x, lr)]
    assert len(losses) == 6
    assert all(a < b for a, b in itertools.pairwise(losses))
    published = method.ascent(psi, task, x)[-1]  # 80: a step of it may overshoot, all five together climb higher
    assert float(method.test_loss(psi, task, published).detach()) > losses[-1]


def test_ata_trains_on_the_harder_episode_and_leaves_weights_out_of_the_ascent(create: Create, episode: Make) -> None:
    method = create("relationnet-ata")
    psi, task = method.network.psi(), episode()
    harder = method.harder(psi, task)
    assert not torch.equal(harder.query.x, task.query.x)
    assert not harder.query.x.requires_grad
    plain = create("relationnet")
    expected = plain.task_loss(psi, Task(harder, None, {})).loss
    torch.testing.assert_close(method.task_loss(psi, Task(task, None, {})).loss, expected)


def test_the_random_convolution_keeps_size_and_is_the_tasks_own() -> None:
    x = torch.randn(2, 3, 20, 20)
    found = {key: random_convolution(x, key) for key in range(12)}
    assert all(t.shape == x.shape for t in found.values())
    assert torch.equal(random_convolution(x, 3), found[3])
    assert len({float(t.sum()) for t in found.values()}) == 12


def test_skds_losses_by_hand() -> None:
    teacher, student = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    p, q = math.e / (1 + math.e), 1 / (1 + math.e)  # softmax of (1, 0) at T = 2
    kl = p * math.log(p / q) + q * math.log(q / p)
    assert float(skd.distillation_loss(student, teacher)) == pytest.approx(4 * kl, rel=1e-6)
    assert float(skd.distillation_loss(teacher, teacher)) == pytest.approx(0.0, abs=1e-7)
    turned, upright = torch.tensor([[3.0, 4.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert float(skd.consistency_loss(turned, upright)) == pytest.approx((5 + 1) / 2 / 3)
    logits = torch.tensor([[0.0, 0.0, math.log(3), 0.0]])
    # −log σ(log 3) = log(4/3) at the right one, log 2 at each of three others: a mean over four
    assert float(skd.rotation_loss(logits, torch.tensor([2]))) == pytest.approx((math.log(4 / 3) + 3 * math.log(2)) / 4)


def test_gen0_sees_four_rotations(create: Create) -> None:
    method, labelled = create("skd-gen0"), batch()
    psi = method.network.psi()
    found = method.task_loss(psi, Task(labelled, None, {}))
    assert found.logits.shape == (24, 7)
    x = torch.cat([torch.rot90(labelled.images.x, k, (2, 3)) for k in range(4)])
    logits = F.linear(method.network.features(psi.theta, x), psi.phi["weight"], psi.phi["bias"])
    hot = F.one_hot(torch.arange(4).repeat_interleave(6), 4).double()
    turns = F.linear(logits, psi.phi["turns"], psi.phi["turns_bias"])
    bce = F.binary_cross_entropy_with_logits(turns, hot)
    torch.testing.assert_close(found.loss, F.cross_entropy(logits, labelled.images.y.repeat(4)) + 2 * bce)


def test_gen1_learns_from_a_teacher_that_stands_still(create: Create) -> None:
    method, images = create("skd-gen1", method={"start": "gen0"}), batch().images
    network = method.network
    network.teacher.encoder.to(torch.float64)
    network.teacher.head.double()
    network.begin()
    with torch.no_grad():
        network.head.weight.mul_(1.5)
    psi, teacher = network.psi(), network.teacher.psi()
    found = method.task_loss(psi, Task(batch(), None, {}))
    turned = torch.rot90(images.x, 1, (2, 3))
    logits = network.logits(psi.phi, network.features(psi.theta, torch.cat([images.x, turned])))
    upright, turned = logits[: len(images.y)], logits[len(images.y) :]
    theirs = network.teacher.logits(teacher.phi, network.teacher.features(teacher.theta, images.x))
    p, q = (theirs / 2).softmax(1), (upright / 2).softmax(1)
    expected = 4 * (p * (p / q).log()).sum(1).mean() + 0.1 * (turned - upright).norm(dim=1).mean() / 3
    torch.testing.assert_close(found.loss, expected)
    assert torch.autograd.grad(found.loss, list(teacher.tensors()), allow_unused=True) == (None,) * len(
        teacher.tensors()
    )


def test_each_source_has_a_head_of_its_own(create: Create) -> None:
    method = create("multi-head")  # a has labels 0 … 2, b 3 … 6
    psi = method.network.psi()
    for source, low, high in (("a", 0, 3), ("b", 3, 7)):
        found = method.task_loss(psi, Task(batch(0, source, low, high), None, {}))
        assert found.logits.shape == (6, high - low)
        rows = torch.autograd.grad(found.loss, psi.phi["weight"])[0].abs().sum(1)
        assert [bool(row > 0) for row in rows] == [low <= k < high for k in range(7)]


def test_a_scaled_encoder_begins_as_the_plain_one_and_its_filters_stand_still(create: Create, tmp_path: Any) -> None:
    start = tmp_path / "weights.pt"
    plain = create("protonet").network.encoder
    torch.save({name: p.float() for name, p in plain.named_parameters()}, start)
    method = create("mtl", method={"start": str(start)})
    network = method.network
    for p in network.scales.values():
        p.data = p.data.double()
    with torch.no_grad():
        for name, p in plain.named_parameters():
            dict(network.encoder.named_parameters())[name].copy_(p)
    x = torch.randn(2, 3, 20, 20, dtype=torch.float64)
    torch.testing.assert_close(network.features(network.psi().theta, x), plain(x))
    names = list(network.psi().theta)
    assert [name for name in names if name.endswith("conv.weight")] == []
    assert sum(name.endswith(" scale") for name in names) == 4
    doubled = {name: 2 * p if name == "blocks.3.conv.weight scale" else p for name, p in network.psi().theta.items()}
    with torch.no_grad():
        dict(plain.named_parameters())["blocks.3.conv.weight"].mul_(2)
    torch.testing.assert_close(network.features(doubled, x), plain(x))
