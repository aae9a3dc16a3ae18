"""Seconds of a task: what is counted where, on a clock of our own; and what waits until the first query."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rotogbml.encoders import create_encoder
from rotogbml.episodes import Episode, Examples
from rotogbml.evaluation import cost as costs
from rotogbml.evaluation.cost import QUERIES, cost
from rotogbml.evaluation.methods import Adapted, Ensemble, PixelPrototypes
from rotogbml.evaluation.work import Test as Fixed
from rotogbml.learners import Network, create_head, create_learner
from rotogbml.methods.finetune import FineTuned
from rotogbml.sources.packed import open_pack


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Slow:
    """A method that takes known times."""

    def __init__(self, clock: Clock, ready: float, first: float, image: float) -> None:
        self.clock, self.times, self.adapted = clock, (ready, first, image), 0

    def ready(self, episode: Episode) -> Callable[[Tensor], Tensor]:
        ready, first, image = self.times
        self.adapted += 1
        self.clock.now += ready

        def judge(x: Tensor) -> Tensor:
            self.clock.now += first + image * len(x)
            return x.new_zeros(len(x), 2)

        return judge


@pytest.fixture
def fixed(pack: Path) -> Fixed:
    return Fixed(open_pack(pack)["hidden"], "all", 2, 1, 3, 0)


@pytest.mark.parametrize(("tested", "timed"), [(2, 1), (250, 2), (600, 5), (10_000, 5)])
def test_what_is_counted_where(fixed: Fixed, monkeypatch: pytest.MonkeyPatch, tested: int, timed: int) -> None:
    clock = Clock()
    monkeypatch.setattr(costs, "time", clock)
    slow = Slow(clock, ready=0.04, first=0.01, image=0.001)
    threads = torch.get_num_threads()
    found = cost(slow, fixed, tested)  # ty: ignore[invalid-argument-type]
    assert torch.get_num_threads() == threads
    assert found.adapt_seconds == pytest.approx(0.05)
    assert found.predict_seconds == pytest.approx(0.001)
    assert (found.timed_episodes, slow.adapted) == (timed, timed + 1)  # the first time is not counted


def once(x: Tensor, reading: int) -> float:
    """Another program took the clock in one reading of each kind."""
    return 0.05 if reading == 3 else 0.0


def throughout(x: Tensor, reading: int) -> float:
    """It did so whenever the batch was read: another image seems to cost as much as the first with all before it."""
    return 0.09 if len(x) > 1 and reading < 5 else 0.0


@pytest.mark.parametrize("lost", [once, throughout])
def test_readings_that_were_disturbed_do_not_count(
    fixed: Fixed, monkeypatch: pytest.MonkeyPatch, lost: Callable[[Tensor, int], float]
) -> None:
    clock = Clock()
    monkeypatch.setattr(costs, "time", clock)
    slow = Slow(clock, ready=0.0, first=0.002, image=0.0001)
    judged: list[int] = []
    undisturbed = slow.ready

    def ready(episode: Episode) -> Callable[[Tensor], Tensor]:
        judge = undisturbed(episode)

        def disturbed(x: Tensor) -> Tensor:
            judged.append(len(x))
            clock.now += lost(x, judged.count(len(x)))
            return judge(x)

        return disturbed

    slow.ready = ready  # ty: ignore[invalid-assignment]
    found = cost(slow, fixed, 2)  # ty: ignore[invalid-argument-type]
    assert found.predict_seconds == pytest.approx(0.0001)
    assert found.adapt_seconds == pytest.approx(0.002)


def test_a_slow_method_is_timed_once(fixed: Fixed, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(costs, "time", clock)
    found = cost(Slow(clock, ready=60, first=0, image=0.5), fixed, 600)  # ty: ignore[invalid-argument-type]
    assert found.timed_episodes == 1
    assert (found.adapt_seconds, found.predict_seconds) == (pytest.approx(60), pytest.approx(0.5))


def episode() -> Episode:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 3, 20, 20, generator=g), torch.arange(12) % 3
    return Episode(
        Examples(x[:3], y[:3]), Examples(x[3:], y[3:]), "made", ("a", "b", "c"), (np.arange(3), np.arange(3, 12))
    )


def made(name: str = "maml", norm: str = "group") -> Adapted:
    encoder = create_encoder("conv4", size=20, width=6, norm=norm)
    network = Network(encoder, create_head("linear", encoder.feature_dim, 3))
    network.initialise(0)
    if name == "finetune":
        learner: Any = FineTuned(name, network, {"test_epochs": 2, "test_batch": 2, "test_lr": 0.1})
    else:
        learner = create_learner(name, network, inner_lr=0.1, inner_steps=2)
    return Adapted(learner, network.psi(), 0)


def test_once_ready_a_method_gives_its_scores_and_does_not_adapt_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one = episode()
    maml, tuned = made(), made("finetune")
    for method in (maml, tuned, made("anil"), PixelPrototypes(), Ensemble(maml.learner, maml.psi, 0, (maml, tuned))):
        judge = method.ready(one)
        with monkeypatch.context() as patch:
            patch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("adapted again"))
            together, alone = judge(one.query.x), torch.cat([judge(x) for x in one.query.x.split(1)])
        torch.testing.assert_close(together, method.scores(one), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "support"])
def test_queries_go_with_whom_the_norm_says(norm: str) -> None:
    method, one = made(norm=norm), episode()
    torch.testing.assert_close(method.ready(one)(one.query.x), method.scores(one))


def test_a_real_method_takes_time(fixed: Fixed) -> None:
    encoder = create_encoder("conv4", size=fixed.source.size, width=4, norm="group")
    network = Network(encoder, create_head("linear", encoder.feature_dim, 2))
    network.initialise(0)
    found = cost(Adapted(create_learner("maml", network, inner_lr=0.1, inner_steps=2), network.psi(), 0), fixed, 300)
    assert 0 < found.adapt_seconds < 60
    assert 0 <= found.predict_seconds < 1
    assert found.machine
    assert QUERIES > 1
