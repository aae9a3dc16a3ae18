"""Stopped anywhere and started again, a run ends as if it had never been stopped: the same bits, the same metrics."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rotogbml.training import checkpoint

STEPS = 40


class End(NamedTuple):
    """What two equal runs share."""

    digest: str
    metrics: bytes


@pytest.fixture(scope="module")
def command(tiny: list[str]) -> Callable[..., list[str]]:
    def make(out: Path, *more: str) -> list[str]:
        # saved after every step, so that a kill falls between, before and inside of writes
        every_step = ["--outer.checkpoint_seconds", "0", "--outer.validate_every", "20"]
        return ["train", *tiny, *every_step, "--steps", str(STEPS), "--out", str(out), *more]

    return make


def end(out: Path, said: str) -> End:
    found = re.search(rf"{STEPS} steps in .* digest ([0-9a-f]{{16}})", said)
    assert found, said
    return End(found[1], (out / "metrics.jsonl").read_bytes())


@pytest.fixture(scope="module")
def uninterrupted(start: Any, command: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[End, float]:
    """Return the end of a run that nobody stopped, and the seconds it took."""
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    began = time.monotonic()
    run = start(command(out))
    assert run.wait() == 0, run.err.read_text()
    return end(out, run.out.read_text()), time.monotonic() - began


def to_the_end(start: Any, command: Any, out: Path, *more: str) -> tuple[End, str]:
    run = start(command(out, *more))
    assert run.wait() == 0, run.err.read_text()
    return end(out, run.out.read_text()), run.err.read_text()


def reached(out: Path, step: int, seconds: float = 60.0) -> None:
    """Wait until the metrics say that a step has been reached."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if f'"step": {step},' in (out / "metrics.jsonl").read_text():
                return
        except FileNotFoundError:
            pass
        time.sleep(0.005)
    raise AssertionError(f"step {step} was not reached in {seconds} s")


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_again_and_again_it_ends_equal(
    start: Any, command: Any, uninterrupted: tuple[End, float], tmp_path: Path, seed: int
) -> None:
    rng, out, killed = random.Random(seed), tmp_path / "run", []
    for step in sorted(rng.sample(range(2, 30, 2), 4)):
        run = start(command(out))
        reached(out, step)
        time.sleep(rng.uniform(0, 0.01))  # a step takes longer, so that the kill falls anywhere in one
        run.kill()
        killed.append(run.wait())
    # On a busy machine a late kill may find the run at its end; the first ones cannot.
    assert killed[:2] == [-signal.SIGKILL] * 2
    assert to_the_end(start, command, out)[0] == uninterrupted[0]


def test_killed_before_and_after_each_save_it_ends_equal(
    start: Any, command: Any, uninterrupted: tuple[End, float], tmp_path: Path
) -> None:
    """Checkpoints only at validations: much of the metrics is written, cut off and written again."""
    rarely = ("--outer.checkpoint_seconds", "1000")
    for step in (2, 22, 30):
        run = start(command(tmp_path / "run", *rarely))
        reached(tmp_path / "run", step)
        run.kill()
        assert run.wait() == -signal.SIGKILL
    assert to_the_end(start, command, tmp_path / "run", *rarely)[0] == uninterrupted[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_with_130(
    start: Any, command: Any, uninterrupted: tuple[End, float], tmp_path: Path, number: int
) -> None:
    out, rarely = tmp_path / "run", ("--outer.checkpoint_seconds", "1000")
    run = start(command(out, *rarely))
    reached(out, 8)
    run.kill(number)
    assert run.wait() == 130
    said = run.err.read_text()
    step = checkpoint.load(out / "checkpoints/last.pt")["step"]
    assert said == f"rotogbml: stopped at step {step}, saved: run the same command again to go on\n"
    assert 8 <= step < STEPS
    ended, _ = to_the_end(start, command, out, *rarely)
    assert ended == uninterrupted[0]


def test_with_every_checkpoint_damaged_it_stops_and_names_one(start: Any, command: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = start(command(out))
    reached(out, 4)
    run.kill()
    run.wait()
    for path in (out / "checkpoints").glob("*.pt"):
        path.write_bytes(b"")
    run = start(command(out))
    assert run.wait() == 1
    assert run.err.read_text().splitlines()[-1].startswith(f"rotogbml: checkpoint {out}/checkpoints/")
    assert "no older one is left: start again in another --out" in run.err.read_text()
