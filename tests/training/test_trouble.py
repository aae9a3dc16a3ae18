"""What stops a run, and what is left then: losses that are no numbers, memory, disks, damage."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rotogbml.config import LearnerConfig, OuterConfig
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.training import checkpoint
from rotogbml.training.assemble import Parts
from rotogbml.training.interrupt import Interrupted
from rotogbml.training.run import RunFolder
from rotogbml.training.step import meta_step
from rotogbml.training.trainer import Trainer

Build = Callable[..., Parts]
Trained = Callable[[Parts, Path], Trainer]


def test_metrics_that_another_program_cut_are_named(build: Build, trained: Trained, tmp_path: Path) -> None:
    trained(build(), tmp_path)
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(RotogbmlError, match=r"metrics.jsonl holds 0 bytes where the checkpoint knows of \d+"):
        Trainer(build(), RunFolder(tmp_path))


def test_a_loss_that_is_not_finite_keeps_the_checkpoint_before(build: Build, trained: Trained, tmp_path: Path) -> None:
    good = trained(build(steps=3), tmp_path)
    kept = (tmp_path / "checkpoints/last.pt").read_bytes()
    learner = LearnerConfig(inner_lr=1e30, inner_steps=2)
    trainer = Trainer(build(steps=9, learner=learner), RunFolder(tmp_path))
    with pytest.raises(RotogbmlError, match=r"source '(alpha|beta|gamma)' at step 3 .* lower --learner.inner_lr"):
        trainer.fit()
    assert (tmp_path / "checkpoints/last.pt").read_bytes() == kept
    assert checkpoint.digest(checkpoint.load(tmp_path / "checkpoints/last.pt")["theta"]) == checkpoint.digest(
        good.state.state_dict()["theta"]
    )


def test_even_the_first_step_has_a_good_checkpoint_behind_it(build: Build, tmp_path: Path) -> None:
    trainer = Trainer(build(learner=LearnerConfig(inner_lr=1e30, inner_steps=2)), RunFolder(tmp_path))
    with pytest.raises(RotogbmlError, match="at step 0"):
        trainer.fit()
    state = checkpoint.load(tmp_path / "checkpoints/last.pt")
    assert state["step"] == 0
    assert all(p.isfinite().all() for p in state["theta"].values())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_lower(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr("rotogbml.training.trainer.meta_step", full)
    with pytest.raises(RotogbmlError, match=r"out of memory: lower --learner.inner_steps, --episodes.n_query"):
        Trainer(build(), RunFolder(tmp_path)).fit()
    assert checkpoint.load(tmp_path / "checkpoints/last.pt")["step"] == 0


def test_the_words_are_those_that_torch_uses_here(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotogbml.training.trainer.meta_step", lambda *_: torch.empty(10**15))
    with pytest.raises(RotogbmlError, match="out of memory"):
        Trainer(build(), RunFolder(tmp_path)).fit()


def test_other_errors_of_torch_keep_their_own_words(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("rotogbml.training.trainer.meta_step", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Trainer(build(), RunFolder(tmp_path)).fit()


def test_a_full_disk_leaves_the_checkpoint_before_whole(
    build: Build, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(build(steps=6), tmp_path / "whole")
    trained(build(steps=3), tmp_path / "run")
    kept = (tmp_path / "run/checkpoints/last.pt").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    trainer = Trainer(build(steps=6), RunFolder(tmp_path / "run"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            RotogbmlError, match=r"disk full while writing .*(jsonl|\.pt): free some space and run the same"
        ):
            trainer.fit()
    assert (tmp_path / "run/checkpoints/last.pt").read_bytes() == kept
    assert not list((tmp_path / "run/checkpoints").glob("*partial*"))
    after = trained(build(steps=6), tmp_path / "run").state.state_dict()
    assert checkpoint.digest([after[k] for k in ("theta", "phi", "homogenizer")]) == checkpoint.digest(
        [whole.state.state_dict()[k] for k in ("theta", "phi", "homogenizer")]
    )


def test_a_full_disk_is_found_before_the_first_step(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    trainer = Trainer(build(), RunFolder(tmp_path))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RotogbmlError, match="disk full"):
        trainer.fit()
    assert trainer.state.step == 0


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_leads_to_the_same_end(
    build: Build,
    trained: Trained,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    often = OuterConfig(log_every=2, validate_every=2, validation_episodes=6)
    whole = trained(build(outer=often, steps=9), tmp_path / "whole")

    def stop_in_the_seventh(*given: Any, **more: Any) -> Any:
        if given[-1] == 6:
            signal.raise_signal(signal.SIGTERM)
        return meta_step(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr("rotogbml.training.trainer.meta_step", stop_in_the_seventh)
        with pytest.raises(Interrupted, match="stopped at step 7, saved"):
            trained(build(outer=often, steps=9), tmp_path / "run")
    last = tmp_path / "run/checkpoints/last.pt"
    data = last.read_bytes()
    third = len(data) // 3
    flipped = bytes(byte ^ 0xFF for byte in data[third : third + 64])
    last.write_bytes(data[:third] + flipped + data[third + 64 :] if damage == "flipped" else data[:-100])
    resumed = Trainer(build(outer=often, steps=9), RunFolder(tmp_path / "run"))
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"checkpoint {last} is damaged")
    assert warning.endswith("the one before is used")
    assert 0 < resumed.state.step < 7
    resumed.fit()
    assert resumed.state.digest() == whole.state.digest()


def test_a_checkpoint_of_another_configuration_is_refused(build: Build, trained: Trained, tmp_path: Path) -> None:
    from rotogbml.config import EncoderConfig

    trained(build(steps=1), tmp_path)
    with pytest.raises(RotogbmlError, match=r"of another configuration \(blocks.0.weight is \(4,\) there, \(5,\) here"):
        Trainer(build(encoder=EncoderConfig(width=5)), RunFolder(tmp_path))
    with pytest.raises(UsageError, match=r"saved homogenizer has \[reweight, rotate\], this run has \[\]"):
        Trainer(build(homogenizer=None), RunFolder(tmp_path))
