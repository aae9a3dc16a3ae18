"""Real processes: the same run for any number of them, and none is left behind when one ends.

Each costs seconds of importing torch, so that few are started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rotogbml.training import checkpoint


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def command(tiny: list[str]) -> Callable[..., list[str]]:
    def make(out: Path, *more: str) -> list[str]:
        here = ["--accelerator", "cpu", "--outer.checkpoint_seconds", "1000"]
        return ["train", *tiny, *here, "--out", str(out), *more]

    return make


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("no /proc here")
    return [int(child) for child in listed.read_text().split()]


def gone(pid: int, seconds: float = 20.0) -> bool:
    """Say whether a process ends in that time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def reached(out: Path, step: int, seconds: float = 120.0) -> None:
    """Wait until the metrics say that a step has been reached."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (out / "metrics.jsonl").exists() and f'"step": {step},' in (out / "metrics.jsonl").read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached in {seconds} s")


def finished(start: Any, arguments: list[str]) -> tuple[str, str]:
    run = start(arguments)
    assert run.wait() == 0, run.err.read_text()
    return run.out.read_text(), run.err.read_text()


def moved(out: Path) -> str:
    state = checkpoint.load(out / "checkpoints/last.pt")
    return checkpoint.digest([state[name] for name in ("step", "theta", "phi", "optimizer", "homogenizer")])


@pytest.fixture(scope="module")
def twelve(start: Any, command: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what twelve steps in one process lead to."""
    out = tmp_path_factory.mktemp("alone") / "run"
    finished(start, command(out, "--steps", "12"))
    return moved(out)


def test_one_two_and_one_process_end_as_one(start: Any, command: Any, twelve: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    finished(start, command(out, "--steps", "4"))
    said, trouble = finished(start, command(out, "--steps", "8", "--devices", "2"))
    assert "8 steps in " in said
    assert said.count("held out: hidden") == 1  # by the first process alone
    assert trouble == ""
    record = json.loads((out / "run.json").read_text())
    assert (record["devices"], record["threads"]) == (2, 1)
    assert "--devices 2" in record["command"]
    finished(start, command(out, "--steps", "12", "--devices", "1"))
    assert moved(out) == twelve


SCRIPT = """
import sys, rotogbml
from rotogbml.config import *
report = rotogbml.train(
    [sys.argv[1]], sys.argv[2], ["hidden"], steps=12, threads=1, devices=2, accelerator="cpu",
    encoder=EncoderConfig(width=4),
    episodes=EpisodeConfig(n_way=2, n_query=3, tasks_per_batch=3), learner=LearnerConfig(inner_steps=2, inner_lr=0.2),
    outer=OuterConfig(log_every=2, validate_every=4, validation_episodes=6),
)
print(report.steps, len(report.digest))
"""


def test_from_a_script_without_a_guard(pack: Path, twelve: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "torch.py").write_text("raise SystemExit('not this one')")  # a child imports what its parent does
    given = [sys.executable, "-P", str(tmp_path / "script.py"), str(pack), str(tmp_path / "run")]
    done = subprocess.run(given, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "12 64"
    assert moved(tmp_path / "run") == twelve


def test_under_torchrun_with_no_other_change(command: Any, twelve: str, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    given = [*torchrun, "-m", "rotogbml", *command(tmp_path / "run", "--steps", "12")]
    done = subprocess.run(given, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("12 steps in ") == 1
    assert moved(tmp_path / "run") == twelve


@pytest.fixture
def started() -> Iterator[list[Any]]:
    """Return a list of commands that are ended with the test."""
    runs: list[Any] = []
    yield runs
    for run in runs[-1:]:  # the ones before have ended
        if not gone(run.pid, 0.1):
            run.kill()


def test_when_one_process_ends_none_is_left_behind(
    start: Any, command: Any, started: list[Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    two = command(out, "--steps", "100000", "--devices", "2", "--outer.validate_every", "4")

    def begun() -> tuple[Any, int]:
        """Start, and wait for a step that no run has reached before."""
        known = [line["step"] for line in lines(out)] if out.exists() else [0]
        run = start(two)
        started.append(run)
        reached(out, known[-1] // 4 * 4 + 8)
        (other,) = children(run.pid)
        return run, other

    def saved() -> int:
        return checkpoint.load(out / "checkpoints/last.pt")["step"]

    run, other = begun()
    os.kill(other, signal.SIGKILL)
    assert gone(run.pid)
    assert run.wait() == 1
    assert run.err.read_text() == (
        "rotogbml: process 1 of 2 was killed (SIGKILL, perhaps for want of memory); run the same command again to go "
        "on from the last checkpoint\n"
    )

    # A signal to any one of them stops all after the same step.
    run, other = begun()
    os.kill(other, signal.SIGTERM)
    assert gone(run.pid)
    assert run.wait() == 130
    assert run.err.read_text() == f"rotogbml: stopped at step {saved()}, saved: run the same command again to go on\n"
    assert gone(other)

    run, other = begun()
    run.kill()
    assert run.wait() == -signal.SIGKILL
    assert gone(other)
