"""Tasks that adapt side by side end where each ends alone."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rotogbml.encoders import NORMS, Seen, create_encoder, update_running
from rotogbml.encoders.norm import NormPass
from rotogbml.episodes import Episode, Examples
from rotogbml.evaluation import stacked
from rotogbml.evaluation.calibration import marks, unmarked
from rotogbml.evaluation.stacked import predict, stack_size
from rotogbml.learners import Learner, Network, create_head, create_learner

SIZE, WAY = 20, 3


def images(n: int, seed: int) -> Tensor:
    return torch.randn(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def episode(seed: int, queries: int = 4) -> Episode:
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(2 * WAY)[torch.randperm(2 * WAY, generator=g)] % WAY
    support, query = (
        Examples(images(2 * WAY, seed), y),
        Examples(images(queries, seed + 1), torch.arange(queries) % WAY),
    )
    return Episode(support, query, "made", ("a", "b", "c"), (np.arange(2 * WAY), np.arange(queries)))


def learner(name: str = "maml", encoder: str = "conv4", norm: str = "batch", head: str = "linear", **o: Any) -> Learner:
    net = create_encoder(encoder, size=SIZE, width=6, norm=norm, sets=3)
    network = Network(net, create_head(head, net.feature_dim, WAY))
    network.initialise(0)
    made = create_learner(name, network, inner_lr=0.1, inner_steps=2, test_steps=4, **o)
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for room in (net, network.head):
            room.to(torch.float64)
            for p in room.parameters():
                if p.ndim < 4:  # scales of both signs, shifts that are not 0
                    p.add_(0.5 * torch.randn(p.shape, generator=g, dtype=torch.float64))
        for p in made.alpha.values():
            p.data = p.data.double() * (1 + torch.arange(p.numel()).view(p.shape))
        seen: Seen = {}
        net(images(5, seed=9), None, NormPass(seen=seen))
        update_running(net, [seen], momentum=0.5)
    return made


def assert_equal_alone(made: Learner, episodes: list[Episode]) -> None:
    psi = made.network.psi()
    alone = [made.predict(psi, one) for one in episodes]
    assert float((alone[0] - alone[1]).abs().max()) > 1e-3
    for together, one in zip(predict(made, psi, episodes), alone, strict=True):
        torch.testing.assert_close(together, one, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("norm", NORMS)
def test_under_every_norm(norm: str) -> None:
    assert_equal_alone(learner(norm=norm), [episode(s) for s in (0, 10, 20)])


@pytest.mark.parametrize("head", ["linear", "linear-tied", "zero", "prototype"])
def test_with_every_linear_head(head: str) -> None:
    assert_equal_alone(learner(head=head), [episode(s) for s in (0, 10)])


@pytest.mark.parametrize("name", ["maml", "boil", "protomaml", "imaml", "maml++"])
def test_of_every_learner_that_descends(name: str) -> None:
    made = learner(name, head="prototype" if name == "protomaml" else "linear")
    assert stack_size(made, 2 * WAY, SIZE) > 1
    assert_equal_alone(made, [episode(s) for s in (0, 10)])


@pytest.mark.parametrize(
    "other",
    [
        {"name": "anil"},
        {"name": "reptile"},
        {"name": "meta-sgd"},
        {"head": "cosine"},
        {"encoder": "resnet10-small"},
        {"name": "reptile", "transductive": False},
    ],
)
def test_what_cannot_stand_side_by_side_goes_alone(other: dict[str, Any]) -> None:
    assert stack_size(learner(**other), 2 * WAY, SIZE) == 1


def test_the_network_is_left_as_it_was() -> None:
    made = learner(norm="running")
    before = {name: p.clone() for name, p in itertools.chain(*(g.items() for g in made.learned().values()))}
    one = made.predict(made.network.psi(), episode(0))
    predict(made, made.network.psi(), [episode(0), episode(10)])
    after = dict(itertools.chain(*(g.items() for g in made.learned().values())))
    assert all(torch.equal(p, after[name]) for name, p in before.items())
    assert torch.equal(one, made.predict(made.network.psi(), episode(0)))


def test_a_stack_is_as_large_as_its_maps_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner()
    numbers = 6 * 2 * WAY * SIZE**2
    for room, size in ((1, 1), (2 * numbers - 1, 1), (2 * numbers, 2), (5 * numbers, 4), (99 * numbers, 8)):
        monkeypatch.setattr(stacked, "_ROOM", room)
        assert stack_size(made, 2 * WAY, SIZE) == size


def test_probabilities_are_as_good_as_alone() -> None:
    made, episodes = learner(), [episode(s) for s in (0, 10, 20)]
    psi = made.network.psi()
    alone = unmarked([marks(made.predict(psi, one), one.query.y) for one in episodes])
    pairs = zip(predict(made, psi, episodes), episodes, strict=True)
    together = unmarked([marks(scores, one.query.y) for scores, one in pairs])
    np.testing.assert_allclose(together.brier, alone.brier, rtol=1e-9)
    assert together.ece == pytest.approx(alone.ece, abs=1e-6)
    assert len(set(alone.brier)) == 3


def test_no_inner_step_is_none() -> None:
    assert_equal_alone(replace(learner(), test_steps=0), [episode(s) for s in (0, 10)])
