"""ProtoNet, MatchingNet and RelationNet against what their papers write."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from rotogbml.episodes import Episode
from rotogbml.methods.compared import Task

Create = Callable[..., Any]
Make = Callable[..., Episode]


def features(method: Any, episode: Episode) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        return method.features(method.network.psi().theta, episode)


def test_protonet_is_the_distance_to_the_mean_written_by_hand(create: Create, episode: Make) -> None:
    method, task = create("protonet"), episode()
    support, query = features(method, task)
    scores = method.predict(method.network.psi(), task)
    for q in range(len(query)):
        for k in range(task.n_way):
            mine = [z for z, y in zip(support, task.support.y, strict=True) if int(y) == k]
            mean = [sum(float(z[j]) for z in mine) / len(mine) for j in range(support.shape[1])]
            by_hand = -sum((float(query[q, j]) - mean[j]) ** 2 for j in range(support.shape[1]))
            assert math.isclose(float(scores[q, k]), by_hand, rel_tol=1e-9)
    found = method.task_loss(method.network.psi(), Task(task, None, {}))
    picked = scores.log_softmax(1)[torch.arange(len(query)), task.query.y]
    torch.testing.assert_close(found.loss.detach(), -picked.mean())


def test_matchingnets_probabilities_are_attention_and_sum_to_one(create: Create, episode: Make) -> None:
    method, task = create("matchingnet"), episode(k_shot=3)
    support, query = features(method, task)
    scores = method.predict(method.network.psi(), task)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(query), dtype=torch.float64))
    torch.testing.assert_close(scores.softmax(1), scores.exp())
    cosine = F.cosine_similarity(query[:, None], support[None], dim=2)
    attention = (10 * cosine).softmax(1)
    by_hand = torch.stack([attention[:, task.support.y == k].sum(1) for k in range(3)], 1)
    torch.testing.assert_close(scores.exp(), by_hand, rtol=1e-6, atol=1e-9)  # the scale is kept in float32


@pytest.mark.parametrize(
    ("encoder", "size", "shape", "flat"), [("conv4-np", 84, (64, 19, 19), 576), ("resnet10", 224, (512, 7, 7), 512)]
)
def test_relationnets_maps_are_the_literatures(
    create: Create, episode: Make, encoder: str, size: int, shape: tuple[int, int, int], flat: int
) -> None:
    from rotogbml.config import EncoderConfig

    method = create("relationnet", size, encoder=EncoderConfig(encoder, width=64))
    module = method.module
    assert (module.channels, module.side, module.side) == shape
    assert module.fc1.in_features == flat
    assert method.network.encoder.feature_dim == shape[0] * shape[1] * shape[2]
    scores = method.predict(method.network.psi(), episode(1, 1, size=size))
    assert scores.shape == (3, 3)


@pytest.mark.parametrize("size", [16, 20, 32, 42])
def test_relationnet_takes_small_images_too(create: Create, episode: Make, size: int) -> None:
    method = create("relationnet", size)
    assert method.predict(method.network.psi(), episode(size=size)).isfinite().all()


def test_conv4_is_read_as_what_relationnet_compares_maps_of(configure: Callable[..., Any]) -> None:
    assert configure("relationnet").encoder.name == "conv4-np"
    assert configure("protonet").encoder.name == "conv4"


@pytest.mark.parametrize("loss", ["mse", "softmax"])
def test_relationnets_score_of_a_pair_is_gs(create: Create, episode: Make, loss: str) -> None:
    method, task = create("relationnet", method={"loss": loss}), episode()
    psi = method.network.psi()
    support, query = features(method, task)
    shape = (method.module.channels, method.module.side, method.module.side)
    raw = torch.zeros(len(query), 3, dtype=torch.float64)
    for q in range(len(query)):
        for k in range(3):
            mean = support[task.support.y == k].mean(0).view(shape)
            pair = torch.cat([mean, query[q].view(shape)])
            with torch.no_grad():
                raw[q, k] = method.module(pair[None])[0]
    scores = method.predict(psi, task)
    expected = raw.sigmoid().log() if loss == "mse" else raw
    torch.testing.assert_close(scores, expected)
    found = method.task_loss(psi, Task(task, None, {})).loss.detach()
    hot = F.one_hot(task.query.y, 3).double()
    by_hand = ((raw.sigmoid() - hot) ** 2).mean() if loss == "mse" else F.cross_entropy(raw, task.query.y)
    torch.testing.assert_close(found, by_hand)


def test_pairs_of_an_episode_are_judged_together_as_published_and_alone_by_default(
    create: Create, episode: Make
) -> None:
    from dataclasses import replace

    from rotogbml.config import EncoderConfig
    from rotogbml.episodes import Examples

    task = episode()
    one = replace(task, query=Examples(task.query.x[:1], task.query.y[:1]))
    for norm, alone in ((None, True), ("as-published", False)):
        method = create("relationnet", encoder=EncoderConfig(width=4, norm=norm))
        psi = method.network.psi()
        equal = torch.allclose(method.predict(psi, task)[:1], method.predict(psi, one), rtol=1e-6)
        assert equal is alone
        assert method.norm == ("group, of pairs layer" if alone else "moving, of pairs batch")
