"""Relevance adds up: what goes in at the scores comes out at the pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rotogbml.episodes import Episode
from rotogbml.methods import relevance as lrp
from rotogbml.methods.compared import Task

Create = Callable[..., Any]
Make = Callable[..., Episode]


def test_two_linear_layers_by_hand() -> None:
    """x = (1, 2) → z = (1·1 + 2·1, 1·2 − 2·1) = (3, 0⁻) … all numbers worked out on paper."""
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    first = torch.tensor([[1.0, 1.0], [3.0, -1.0]], dtype=torch.float64)  # z = (3, 1)
    second = torch.tensor([[2.0, 4.0]], dtype=torch.float64)  # out = 6 + 4 = 10
    R = torch.tensor([[5.0]], dtype=torch.float64)
    hidden = lrp.through_linear(torch.tensor([[3.0, 1.0]], dtype=torch.float64), second, R, 0.0)
    torch.testing.assert_close(hidden, torch.tensor([[3.0, 2.0]], dtype=torch.float64))  # 5·6/10, 5·4/10
    out = lrp.through_linear(x, first, hidden, 0.0)
    # of 3: 1/3 and 2/3 of z₁; of 2: 3/1 and −2/1 of z₂
    torch.testing.assert_close(out, torch.tensor([[1.0 + 6.0, 2.0 - 4.0]], dtype=torch.float64))
    assert float(out.sum()) == pytest.approx(5.0)
    with_epsilon = lrp.through_linear(torch.tensor([[3.0, 1.0]], dtype=torch.float64), second, R)
    torch.testing.assert_close(with_epsilon, hidden * 10 / 10.01)


def test_a_convolution_and_a_pool_by_hand() -> None:
    x = torch.tensor([[[[1.0, -2.0], [3.0, 0.0]]]], dtype=torch.float64)
    w = torch.tensor([[[[2.0, -1.0], [-1.0, 5.0]]]], dtype=torch.float64)
    # products 2, 2, −3, 0: the positive ones are 2 and 2
    R = lrp.through_convolution(x, w, 0, torch.full((1, 1, 1, 1), 6.0, dtype=torch.float64))
    torch.testing.assert_close(R, torch.tensor([[[[3.0, 3.0], [0.0, 0.0]]]], dtype=torch.float64))
    pooled = lrp.through_pool(x, torch.full((1, 1, 1, 1), 4.0, dtype=torch.float64))
    torch.testing.assert_close(pooled, torch.tensor([[[[0.0, 0.0], [4.0, 0.0]]]], dtype=torch.float64))


@pytest.mark.parametrize("padding", [0, 1])
def test_a_convolution_hands_down_all_it_got(padding: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, 4, 6, 6), (5, 4, 3, 3)))
    side = 6 + 2 * padding - 2
    R = torch.randn(2, 5, side, side, generator=generator, dtype=torch.float64)
    out = lrp.through_convolution(x, w, padding, R)
    torch.testing.assert_close(out.flatten(1).sum(1), R.flatten(1).sum(1))


@pytest.mark.parametrize("size", [20, 32, 84])
def test_g_hands_all_of_a_scores_relevance_down_to_its_pair(create: Create, episode: Make, size: int) -> None:
    method, task = create("relationnet-lrp", size), episode(1, 1, size=size)
    psi = method.network.psi()
    support, query = method.features(psi.theta, task)
    pairs = method.pairs(support, task.support.y, query, 3).detach()
    start = torch.linspace(-2, 3, len(pairs), dtype=torch.float64)
    # All eight hidden units speak: the last layer can hand nothing to a unit that ReLU stopped.
    phi = {**psi.phi, "fc1.bias": psi.phi["fc1.bias"] + 20}
    R = lrp.relevance(method.module, phi, pairs, start, epsilon=0.0)
    assert R.shape == pairs.shape
    # an input of 0 counts as −1e-6, and what falls on units that ReLU stopped is as small as that
    torch.testing.assert_close(R.flatten(1).sum(1), start, rtol=1e-2, atol=1e-2)


def test_weights_stay_between_0_and_2(create: Create, episode: Make) -> None:
    method, task = create("relationnet-lrp"), episode()
    psi = method.network.psi()
    support, query = method.features(psi.theta, task)
    pairs = method.pairs(support, task.support.y, query, 3).detach()
    raw = method.raw(psi, pairs, 3).detach()
    w = lrp.weights(lrp.relevance(method.module, psi.phi, pairs, lrp.anchor(raw).flatten()))
    assert float(w.min()) >= 0
    assert float(w.max()) <= 2
    largest = (w - 1).abs().amax(1)  # at each position one channel has all, or none has any
    assert bool((((largest - 1).abs() < 1e-12) | (largest == 0)).all())
    assert float(largest.max()) == pytest.approx(1.0)


def test_the_anchor_is_positive_for_the_class_that_is_said() -> None:
    raw = torch.tensor([[3.0, 0.0, -1.0]], dtype=torch.float64)
    p = raw.softmax(1)
    by_hand = torch.log(2 * (p + 0.01) / (1.01 - p))
    torch.testing.assert_close(lrp.anchor(raw), by_hand)
    assert (lrp.anchor(raw) > 0).tolist() == [[True, False, False]]


@pytest.mark.parametrize(("k_shot", "lam"), [(1, 0.5), (5, 1.0)])
def test_the_loss_is_the_plain_one_and_that_of_weighted_pairs(
    create: Create, episode: Make, k_shot: int, lam: float
) -> None:
    method, plain, task = create("relationnet-lrp"), create("relationnet"), episode(k_shot)
    psi = method.network.psi()
    found = method.task_loss(psi, Task(task, None, {}))
    alone = plain.task_loss(plain.network.psi(), Task(task, None, {})).loss
    support, query = method.features(psi.theta, task)
    pairs = method.pairs(support, task.support.y, query, 3)
    w = lrp.weights(lrp.relevance(method.module, psi.phi, pairs.detach(), lrp.anchor(found.logits.detach()).flatten()))
    again = method.loss(method.raw(psi, pairs * w, 3), task.query.y)
    torch.testing.assert_close(found.loss, alone + lam * again)
    torch.testing.assert_close(method.predict(psi, task), plain.predict(plain.network.psi(), task))
