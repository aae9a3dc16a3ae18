"""The outer loop: what it writes, what validation sees, what stops it, what it keeps."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rotogbml.config import HomogenizerConfig, LearnerConfig, OuterConfig, RotateConfig
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.training import checkpoint
from rotogbml.training.assemble import Parts
from rotogbml.training.interrupt import Interrupted
from rotogbml.training.run import RunFolder
from rotogbml.training.step import meta_step
from rotogbml.training.trainer import Trainer
from rotogbml.training.validation import mean_ci95

Build = Callable[..., Parts]


def lines(path: Path) -> list[dict[str, Any]]:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def trained(parts: Parts, folder: Path) -> Trainer:
    trainer = Trainer(parts, RunFolder(folder))
    trainer.fit()
    return trainer


def test_metrics_hold_what_the_report_reads(build: Build, tmp_path: Path) -> None:
    trained(build(steps=5), tmp_path)
    metrics = lines(tmp_path / "metrics.jsonl")
    assert [(line["kind"], line["step"]) for line in metrics] == [
        *(("train", 2), ("train", 4), ("val", 4), ("train", 5), ("val", 5))
    ]
    train = metrics[0]
    assert set(train) == {"kind", "step", "loss", "accuracy", "sources", "omega", "cosine", "pairs", "conflict"}
    assert set(train["sources"]) == set(train["omega"]) == {"alpha", "beta", "gamma"}
    for each in train["sources"].values():
        assert set(each) == {"tasks", "loss", "accuracy", "norm", "weighted_norm", "omega"}
        assert each["tasks"] == 2
        # a mean of products over two steps, in which ω moves by up to its rate
        assert each["weighted_norm"] == pytest.approx(each["omega"] * each["norm"], rel=2e-2)
        assert 0 <= each["accuracy"] <= 1
    assert train["loss"] == pytest.approx(np.mean([each["loss"] for each in train["sources"].values()]))
    assert sum(train["omega"].values()) == pytest.approx(3)
    assert set(train["cosine"]) == {"encoder", "feature_before", "feature_after"}
    assert [pair[:2] for pair in train["pairs"]] == [["alpha", "beta"], ["alpha", "gamma"], ["beta", "gamma"]]
    for *_, compared in train["pairs"]:
        assert compared["count"] == 2
        assert all(-1 <= compared[kind] <= 1 for kind in train["cosine"])
    assert train["cosine"]["encoder"] == pytest.approx(np.mean([pair[2]["encoder"] for pair in train["pairs"]]))
    conflict = train["conflict"]
    tasks = {name: each["tasks"] for name, each in train["sources"].items()}
    steps = sum(tasks.values()) / 3  # N = 3
    assert sum(each["share"] * tasks[name] for name, each in conflict["sources"].items()) == pytest.approx(
        steps, rel=1e-4
    )
    for name, each in conflict["sources"].items():
        assert set(each) == {"share", "encoder_norm", "head_norm", "features_norm"}
        assert each["encoder_norm"] == pytest.approx(train["sources"][name]["norm"], rel=1e-4)
    assert [pair[:2] for pair in conflict["pairs"]] == [pair[:2] for pair in train["pairs"]]
    for (*_, near), (*_, compared) in zip(conflict["pairs"], train["pairs"], strict=True):
        assert set(near) == {f"{r}_{w}" for r in ("encoder", "head", "features") for w in ("cosine", "before", "after")}
        assert near["encoder_cosine"] == pytest.approx(compared["encoder"], abs=1e-4)
        assert near["features_cosine"] == pytest.approx(compared["feature_after"], abs=1e-4)
    validation = metrics[2]
    assert set(validation) == {"kind", "step", "accuracy", "ci95", "episodes", "best", "sources"}
    assert validation["accuracy"] == pytest.approx(np.mean(list(validation["sources"].values())))


def test_there_is_no_clock_in_the_metrics_and_one_beside_them(build: Build, tmp_path: Path) -> None:
    a, b = trained(build(), tmp_path / "a"), trained(build(), tmp_path / "b")
    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (tmp_path / "b/metrics.jsonl").read_bytes()
    assert a.state.digest() == b.state.digest()
    timing = lines(tmp_path / "a/timing.jsonl")
    assert [set(line) for line in timing] == [{"step", "seconds", "tasks_per_second"}] * 2
    assert [line["step"] for line in timing] == [2, 4]
    assert 0 < timing[0]["seconds"] <= timing[1]["seconds"]
    assert trained(build(seed=1), tmp_path / "c").state.digest() != a.state.digest()


def test_where_nothing_can_be_compared_the_metrics_say_null(build: Build, tmp_path: Path) -> None:
    trained(build(shift="weak", steps=2), tmp_path)
    line = lines(tmp_path / "metrics.jsonl")[0]
    assert line["cosine"] == {"encoder": None, "feature_before": None, "feature_after": None}
    assert line["pairs"] == []
    assert set(line["omega"]) == {"0", "1", "2"}


def test_a_homogenizer_that_is_off_has_weights_of_one_and_no_slots(build: Build, tmp_path: Path) -> None:
    trained(build(homogenizer=None, steps=2), tmp_path)
    line = lines(tmp_path / "metrics.jsonl")[0]
    assert line["omega"] == {}
    assert {each["omega"] for each in line["sources"].values()} == {1.0}
    assert line["cosine"]["feature_before"] == line["cosine"]["feature_after"]


def test_validation_counts_the_episodes_it_takes(build: Build, tmp_path: Path) -> None:
    trained(build(outer=OuterConfig(validation_episodes=7), steps=1), tmp_path)
    assert lines(tmp_path / "metrics.jsonl")[-1]["episodes"] == 6  # three sources share seven


def test_validation_sees_neither_masks_nor_rotations_nor_weights(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # of both sides the head would turn, and features stay as they are
    queries = RotateConfig(rotate_support=False)
    parts = build(steps=3, homogenizer=HomogenizerConfig(rotate=queries))
    trainer = trained(parts, tmp_path)
    network = parts.learner.network
    features, logits, drops, latest, same = network.features, network.logits, [], [], []

    def watched_features(theta: Any, x: Tensor, drop: Any = None, at: Any = None) -> Tensor:
        drops.append(drop)
        latest[:] = [features(theta, x, drop, at)]
        return latest[0]

    def watched_logits(phi: Any, z: Tensor) -> Tensor:
        same.append(z is latest[0])
        return logits(phi, z)

    monkeypatch.setattr(network, "features", watched_features)
    monkeypatch.setattr(network, "logits", watched_logits)
    before = parts.homogenizer.state_dict()["rotate"]["steps"]
    accuracy, _ = trainer.validate()
    assert drops
    assert set(drops) == {None}
    assert all(same)
    assert parts.homogenizer.state_dict()["rotate"]["steps"] == before
    # the watch can see both: a training step masks and rotates
    drops.clear()
    same.clear()
    trainer.config = replace(trainer.config, steps=4)
    trainer.fit()
    assert any(drop is not None for drop in drops)
    assert not all(same)
    assert 0 <= accuracy <= 1


def test_the_held_out_source_is_never_drawn_nor_validated_on(build: Build) -> None:
    parts = build()
    assert set(parts.sources) == {"alpha", "beta", "gamma"} == set(parts.validation.samplers)
    assert {e.source for step in range(20) for e in parts.sampler.batch(step)} == {"alpha", "beta", "gamma"}


def test_best_is_the_best_by_validation_and_last_the_last(build: Build, tmp_path: Path) -> None:
    parts = build(outer=OuterConfig(log_every=2, validate_every=2, validation_episodes=30), steps=16)
    trainer = trained(parts, tmp_path)
    validated = [line for line in lines(tmp_path / "metrics.jsonl") if line["kind"] == "val"]
    best = max(line["accuracy"] for line in validated)
    first_best = next(line["step"] for line in validated if line["accuracy"] == best)
    stored = checkpoint.load(tmp_path / "checkpoints/best.pt")
    assert stored["step"] == first_best == [line["step"] for line in validated if line["best"]][-1]
    assert trainer.state.best == best
    assert checkpoint.load(tmp_path / "checkpoints/last.pt")["step"] == 16
    with torch.no_grad():
        for name, p in parts.learner.network.psi().theta.items():
            p.copy_(stored["theta"][name])
        for name, p in parts.learner.network.psi().phi.items():
            p.copy_(stored["phi"][name])
    assert parts.validation(parts.learner, parts.learner.network.psi())[0] == best


def test_without_validation_classes_the_latest_is_the_best(
    build: Build, write_pack: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_pack(tmp_path / "pack", ["one", "two"], splits={"all": range(10)})
    trainer = trained(build(sources=[str(root)], holdout=[], steps=3), tmp_path / "run")
    assert checkpoint.load(tmp_path / "run/checkpoints/best.pt")["step"] == 3
    assert all(line["kind"] == "train" for line in lines(tmp_path / "run/metrics.jsonl"))
    assert trainer.state.best == -math.inf


def test_a_finished_run_goes_on_when_given_more_steps(build: Build, tmp_path: Path) -> None:
    """The end of the first budget leaves its lines of metrics; weights, ω, γ and Adam are those of one long run."""
    whole = trained(build(steps=8), tmp_path / "whole")
    trained(build(steps=3), tmp_path / "parts")
    twice = trained(build(steps=8), tmp_path / "parts")
    states = [
        {k: v for k, v in run.state.state_dict().items() if k in ("step", "theta", "phi", "optimizer", "homogenizer")}
        for run in (whole, twice)
    ]
    assert checkpoint.digest(states[0]) == checkpoint.digest(states[1])
    again = trained(build(steps=8), tmp_path / "parts")
    assert again.state.digest() == twice.state.digest()
    steps = [line["step"] for line in lines(tmp_path / "parts/metrics.jsonl")]
    assert steps == sorted(steps)


def test_metrics_from_before_the_first_checkpoint_are_not_kept_twice(build: Build, tmp_path: Path) -> None:
    whole = trained(build(), tmp_path / "whole")
    left = tmp_path / "killed"
    left.mkdir()
    (left / "metrics.jsonl").write_bytes((tmp_path / "whole/metrics.jsonl").read_bytes()[:700])
    assert trained(build(), left).state.digest() == whole.state.digest()
    assert (left / "metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


def test_metrics_that_another_program_cut_are_named(build: Build, tmp_path: Path) -> None:
    trained(build(), tmp_path)
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(RotogbmlError, match=r"metrics.jsonl holds 0 bytes where the checkpoint knows of \d+"):
        Trainer(build(), RunFolder(tmp_path))


def test_a_loss_that_is_not_finite_keeps_the_checkpoint_before(build: Build, tmp_path: Path) -> None:
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
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, damage: str
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


def test_a_checkpoint_of_another_configuration_is_refused(build: Build, tmp_path: Path) -> None:
    from rotogbml.config import EncoderConfig

    trained(build(steps=1), tmp_path)
    with pytest.raises(RotogbmlError, match=r"of another configuration \(blocks.0.weight is \(4,\) there, \(5,\) here"):
        Trainer(build(encoder=EncoderConfig(width=5)), RunFolder(tmp_path))
    with pytest.raises(UsageError, match=r"saved homogenizer has \[reweight, rotate\], this run has \[\]"):
        Trainer(build(homogenizer=None), RunFolder(tmp_path))


def test_mean_and_interval_are_those_of_the_literature() -> None:
    values = [0.2, 0.4, 0.9, 0.5]
    mean, half = mean_ci95(values)
    assert mean == pytest.approx(0.5)
    assert half == pytest.approx(1.96 * math.sqrt(sum((v - 0.5) ** 2 for v in values) / 4) / 2)
