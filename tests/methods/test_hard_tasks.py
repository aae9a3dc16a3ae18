"""MTL with hard tasks, as a whole run: drawn ahead or not, stopped, killed, on two processes, it is the same run."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rotogbml.encoders import create_encoder
from rotogbml.episodes import Episode
from rotogbml.training import checkpoint
from rotogbml.training import trainer as training
from rotogbml.training.assemble import assemble
from rotogbml.training.naming import method_name
from rotogbml.training.run import RunFolder
from rotogbml.training.trainer import Trainer

STEPS, EVERY = 20, 3


def moved(out: Path) -> str:
    """Return a digest of what steps move: metrics round otherwise on several processes, and each end validates."""
    state = checkpoint.load(out / "checkpoints/last.pt")
    return checkpoint.digest([state[room] for room in ("theta", "phi", "statistics", "optimizer", "hard", "step")])


@pytest.fixture(scope="module")
def command(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Return a function that makes the command line of a run, which begins with weights made here."""
    start = tmp_path_factory.mktemp("start") / "w.pt"
    torch.manual_seed(0)
    torch.save(dict(create_encoder("conv4", 16, 4, "group").named_parameters()), start)

    def make(out: Path, *more: str, every: int = EVERY, steps: int = STEPS) -> list[str]:
        return [
            *("train", "--sources", str(pack), "--holdout", "hidden", "--threads", "1", "--encoder.width", "4"),
            *("--episodes.n_way", "3", "--episodes.n_query", "3", "--episodes.tasks_per_batch", "2"),
            *("--method", "mtl", "--method.start", str(start), "--method.inner_steps", "2"),
            *("--outer.log_every", "1", "--outer.validate_every", "10", "--outer.validation_episodes", "3"),
            *("--method.hard_tasks", str(every), "--steps", str(steps), "--out", str(out), *more),
        ]

    return make


@pytest.fixture(scope="module")
def train(start: Any, command: Callable[..., list[str]]) -> Callable[..., str]:
    """Return a function that trains in a process of its own and returns what is printed of the digest."""

    def call(*arguments: Any, **options: Any) -> str:
        run = start(command(*arguments, **options))
        assert run.wait() == 0, run.err.read_text()
        found = re.search(r"digest ([0-9a-f]{16})", run.out.read_text())
        assert found
        return found[1]

    return call


@pytest.fixture(scope="module")
def whole(train: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a run that nobody stopped, and its digest."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, train(out)


def test_off_is_another_run_and_keeps_nothing(
    train: Callable[..., str], whole: tuple[Path, str], tmp_path: Path
) -> None:
    assert train(tmp_path / "off", every=0) != whole[1]
    assert "hard" not in checkpoint.load(tmp_path / "off/checkpoints/last.pt")
    saved = checkpoint.load(whole[0] / "checkpoints/last.pt")["hard"]["failures"]
    assert sorted(saved) == [16, 18, 19]  # 17 was hard; 20 would be drawn from 16 and 18
    names = [method_name(RunFolder(out).read_config()) for out in (whole[0], tmp_path / "off")]
    assert names == ["mtl (hard tasks every 3, from w.pt)", "mtl (from w.pt)"]


def test_stopped_between_any_two_minibatches_it_ends_equal(
    train: Callable[..., str], whole: tuple[Path, str], tmp_path: Path
) -> None:
    for steps in (1, 5, 9, STEPS):
        train(tmp_path / "run", steps=steps)
    assert moved(tmp_path / "run") == moved(whole[0])


def test_killed_it_ends_equal(
    start: Any, command: Callable[..., list[str]], train: Callable[..., str], whole: tuple[Path, str], tmp_path: Path
) -> None:
    out, killed = tmp_path / "run", []
    for step in (4, 9):
        run = start(command(out, "--outer.checkpoint_seconds", "0"))
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if (out / "metrics.jsonl").exists() and f'"step": {step},' in (out / "metrics.jsonl").read_text():
                break
            time.sleep(0.002)
        run.kill()
        killed.append(run.wait())
    assert killed[0] == -signal.SIGKILL
    assert train(out, "--outer.checkpoint_seconds", "0") == whole[1]


def test_two_processes_are_one(train: Callable[..., str], whole: tuple[Path, str], tmp_path: Path) -> None:
    train(tmp_path / "two", "--devices", "2")
    assert moved(tmp_path / "two") == moved(whole[0])


@pytest.mark.parametrize("ahead", [False, True])
def test_hard_minibatches_are_of_what_failed(
    whole: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    parts = assemble(RunFolder(whole[0]).read_config(), torch.device("cpu"))
    monkeypatch.setattr(training, "idle_core", lambda *_: ahead)
    minibatches, told = [], {}
    step_of = training.meta_step

    def spied(parts: Any, psi: Any, optimizer: Any, episodes: tuple[Episode, ...], step: int) -> Any:
        minibatches.append(episodes)
        record = step_of(parts, psi, optimizer, episodes, step)
        assert all(name in e.classes for name, e in zip(record.failures, episodes, strict=True))
        told[step] = set(zip(record.sources, record.failures, strict=True))
        return record

    monkeypatch.setattr(training, "meta_step", spied)
    trainer = Trainer(parts, RunFolder(tmp_path))
    trainer.fit()
    assert trainer.state.digest()[:16] == whole[1]
    for step in range(2, STEPS, EVERY):
        known = set().union(*(told[s] for s in range(step - 4, step - 1) if s >= 0 and (s + 1) % EVERY))
        for e in minibatches[step]:
            wanted = {name for source, name in known if source == e.source}
            assert len(wanted & set(e.classes)) == min(3, len(wanted))
    assert len(minibatches) == STEPS


def test_what_is_told_as_a_failure_is_what_the_adapted_head_gets_wrong(whole: tuple[Path, str]) -> None:
    """Against the prediction of a test on the same images, counted here: training adapts in as many steps."""
    config = RunFolder(whole[0]).read_config()
    parts = assemble(replace(config, outer=replace(config.outer, meta_lr=0.0)), torch.device("cpu"))
    psi = parts.learner.network.psi()
    saved = checkpoint.load(whole[0] / "checkpoints/last.pt")
    for room, group in (("theta", psi.theta), ("phi", psi.phi)):
        checkpoint.fill(group, saved[room], "here")
    optimizer = torch.optim.SGD(psi.tensors(), lr=0.0)
    for step in range(4):
        episodes = parts.sampler.batch(100 * EVERY + step)
        record = training.meta_step(parts, psi, optimizer, episodes, step)
        for e, name in zip(episodes, record.failures, strict=True):
            assert isinstance(e, Episode)
            wrong = parts.learner.predict(psi, e).argmax(1) != e.query.y
            missed = [int((wrong & (e.query.y == k)).sum()) for k in range(3)]
            assert missed[e.classes.index(name)] == max(missed)
