"""Drawing a step ahead changes nothing but the time: bits, errors, stops, threads."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from rotogbml.config import EpisodeConfig
from rotogbml.errors import RotogbmlError
from rotogbml.training import trainer as training
from rotogbml.training.assemble import Parts
from rotogbml.training.interrupt import Interrupted
from rotogbml.training.prefetch import Prefetch, idle_core
from rotogbml.training.run import RunFolder
from rotogbml.training.trainer import Trainer

Build = Callable[..., Parts]
AUGMENTED = EpisodeConfig(n_way=2, n_query=3, tasks_per_batch=3, augment="closer-look")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def drawn_by(record: list[tuple[int, str]]) -> Callable[[int], int]:
    def draw(step: int) -> int:
        record.append((step, threading.current_thread().name))
        return 10 * step

    return draw


def test_it_draws_one_step_ahead_and_no_more() -> None:
    record: list[tuple[int, str]] = []
    with Prefetch(drawn_by(record), stop=4) as draw:
        for step in range(4):
            assert draw(step) == 10 * step
            time.sleep(0.05)
            assert [s for s, _ in record] == list(range(min(step + 2, 4)))
    assert [name.startswith("prefetch") for _, name in record] == [False, True, True, True]


def test_another_step_than_the_next_is_drawn_when_asked() -> None:
    record: list[tuple[int, str]] = []
    with Prefetch(drawn_by(record)) as draw:
        assert [draw(step) for step in (5, 2, 3, 3, 4)] == [50, 20, 30, 30, 40]


def test_where_no_core_is_idle_there_is_no_thread() -> None:
    record: list[tuple[int, str]] = []
    with Prefetch(drawn_by(record), ahead=False) as draw:
        assert [draw(step) for step in range(3)] == [0, 10, 20]
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    assert {name for _, name in record} == {threading.current_thread().name}


def test_an_error_comes_at_the_step_that_asked() -> None:
    def draw(step: int) -> int:
        if step == 2:
            raise OSError("the disk is gone")
        return step

    with Prefetch(draw) as ahead:
        assert [ahead(0), ahead(1)] == [0, 1]
        with pytest.raises(OSError, match="the disk is gone"):
            ahead(2)
        assert ahead(3) == 3  # and it is not spoilt
    with Prefetch(draw) as ahead:  # nobody asks for what failed
        assert [ahead(0), ahead(1)] == [0, 1]


def test_threads_of_the_step_are_as_they_were_and_the_drawing_one_has_one() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with Prefetch(lambda _: torch.get_num_threads()) as threads:
            assert [threads(step) for step in range(3)] == [3, 1, 1]
            later: list[int] = []
            other = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
            other.start()
            other.join()
            assert (torch.get_num_threads(), later) == (3, [3])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_it_ends_while_one_is_being_drawn() -> None:
    going = threading.Event()

    def draw(step: int) -> int:
        if step:
            going.set()
            time.sleep(0.2)
        return step

    with Prefetch(draw) as ahead:
        ahead(0)
        going.wait(5)


@pytest.mark.parametrize(("threads", "processes", "idle"), [(1, 1, True), (2, 1, False), (1, 2, False), (4, 1, False)])
def test_a_core_is_idle_where_threads_are_fewer(
    threads: int, processes: int, idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotogbml.training.prefetch.cores", lambda: 2)
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    assert idle_core(torch.device("cpu"), processes) is idle
    assert idle_core(torch.device("cuda"), processes)


def test_episodes_drawn_beside_are_the_same_to_the_bit(build: Build) -> None:
    """With one thread there, with three here: pixels and all."""
    sampler = build(episodes=AUGMENTED).sampler
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        inline = [sampler.batch(step) for step in range(4)]
        with Prefetch(sampler.batch) as draw:
            beside = [draw(step) for step in range(4)]
    finally:
        torch.set_num_threads(before)
    for here, there in zip(inline, beside, strict=True):
        for a, b in zip(here, there, strict=True):
            assert a.key == b.key
            for one, other in ((a.support, b.support), (a.query, b.query)):
                assert torch.equal(one.x, other.x)
                assert torch.equal(one.y, other.y)
                assert one.x.stride() == other.x.stride()


@pytest.fixture
def trainer(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    """Return a function that makes a trainer on augmented episodes, drawn ahead or not."""

    def make(name: str, ahead: bool, draw: Callable[..., Any] | None = None) -> Trainer:
        monkeypatch.setattr(training, "idle_core", lambda *_: ahead)
        parts = build(episodes=AUGMENTED, steps=6)
        if draw is not None:
            monkeypatch.setattr(parts.sampler, "batch", partial(draw, parts.sampler.batch))
        return Trainer(parts, RunFolder(tmp_path / name))

    return make


def test_a_run_is_the_same_to_the_bit_with_and_without_and_across_a_stop(trainer: Callable[..., Trainer]) -> None:
    def interrupted(batch: Callable[..., Any], step: int, **which: Any) -> Any:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return batch(step, **which)

    digests = []
    for name, ahead in (("inline", False), ("ahead", True)):
        whole = trainer(name, ahead)
        whole.fit()
        digests.append(whole.state.digest())
    stopped = trainer("stopped", True, interrupted)
    with pytest.raises(Interrupted, match="saved"):
        stopped.fit()
    assert 2 <= stopped.state.step < 6
    again = trainer("stopped", True)
    again.fit()
    assert {*digests, again.state.digest()} == {digests[0]}


def test_an_error_in_a_minibatch_ends_the_run_at_its_step(trainer: Callable[..., Trainer]) -> None:
    def failing(batch: Callable[..., Any], step: int, **which: Any) -> Any:
        if step == 3:
            raise RotogbmlError("an image is gone")
        return batch(step, **which)

    run = trainer("run", True, failing)
    with pytest.raises(RotogbmlError, match="an image is gone"):
        run.fit()
    assert run.state.step == 3
