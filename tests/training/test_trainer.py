"""The outer loop: what it writes, what validation sees, what it keeps, how it goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rotogbml.config import HomogenizerConfig, OuterConfig, RotateConfig
from rotogbml.learners import Psi, Trainable
from rotogbml.training import checkpoint
from rotogbml.training.assemble import Parts
from rotogbml.training.ranks import Ranks
from rotogbml.training.state import State
from rotogbml.training.trainer import Trainer
from rotogbml.training.validation import Judged, Validation, mean_ci95

Build = Callable[..., Parts]
Trained = Callable[[Parts, Path], Trainer]


def lines(path: Path) -> list[dict[str, Any]]:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_metrics_hold_what_the_report_reads(build: Build, trained: Trained, tmp_path: Path) -> None:
    trained(build(steps=5), tmp_path)
    metrics = lines(tmp_path / "metrics.jsonl")
    assert [(line["kind"], line["step"]) for line in metrics] == [
        *(("train", 2), ("train", 4), ("val", 4), ("train", 5), ("val", 5))
    ]
    train = metrics[0]
    expected = {"kind", "step", "loss", "accuracy", "sources", "omega", "gamma", "cosine", "pairs", "conflict"}
    assert set(train) == expected
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
        rooms = ("encoder", "head", "features")
        assert set(each) == {"share", *(f"{room}_{what}" for room in rooms for what in ("norm", "weighted"))}
        for room in rooms:  # means over two steps, in which ω moves by up to its rate
            weighted = train["sources"][name]["omega"] * each[f"{room}_norm"]
            assert each[f"{room}_weighted"] == pytest.approx(weighted, rel=2e-2)
        assert each["encoder_norm"] == pytest.approx(train["sources"][name]["norm"], rel=1e-4)
    assert [pair[:2] for pair in conflict["pairs"]] == [pair[:2] for pair in train["pairs"]]
    for (*_, near), (*_, compared) in zip(conflict["pairs"], train["pairs"], strict=True):
        assert set(near) == {f"{r}_{w}" for r in ("encoder", "head", "features") for w in ("cosine", "before", "after")}
        assert near["encoder_cosine"] == pytest.approx(compared["encoder"], abs=1e-4)
        assert near["features_cosine"] == pytest.approx(compared["feature_after"], abs=1e-4)
    validation = metrics[2]
    assert set(validation) == {"kind", "step", "accuracy", "ci95", "episodes", "best", "sources", "averaged"}
    assert set(validation["averaged"]) == {"accuracy", "ci95", "sources"}
    assert validation["accuracy"] == pytest.approx(np.mean(list(validation["sources"].values())))


def test_there_is_no_clock_in_the_metrics_and_one_beside_them(build: Build, trained: Trained, tmp_path: Path) -> None:
    a, b = trained(build(), tmp_path / "a"), trained(build(), tmp_path / "b")
    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (tmp_path / "b/metrics.jsonl").read_bytes()
    assert a.state.digest() == b.state.digest()
    timing = lines(tmp_path / "a/timing.jsonl")
    assert [set(line) for line in timing] == [{"step", "seconds", "tasks_per_second"}] * 2
    assert [line["step"] for line in timing] == [2, 4]
    assert 0 < timing[0]["seconds"] <= timing[1]["seconds"]
    assert trained(build(seed=1), tmp_path / "c").state.digest() != a.state.digest()


def test_where_nothing_can_be_compared_the_metrics_say_null(build: Build, trained: Trained, tmp_path: Path) -> None:
    trained(build(shift="weak", steps=2), tmp_path)
    line = lines(tmp_path / "metrics.jsonl")[0]
    assert line["cosine"] == {"encoder": None, "feature_before": None, "feature_after": None}
    assert line["pairs"] == []
    assert set(line["omega"]) == {"0", "1", "2"}


def test_a_homogenizer_that_is_off_has_weights_of_one_and_no_slots(
    build: Build, trained: Trained, tmp_path: Path
) -> None:
    trained(build(homogenizer=None, steps=2), tmp_path)
    line = lines(tmp_path / "metrics.jsonl")[0]
    assert line["omega"] == {}
    assert {each["omega"] for each in line["sources"].values()} == {1.0}
    assert line["cosine"]["feature_before"] == line["cosine"]["feature_after"]


def test_validation_counts_the_episodes_it_takes(build: Build, trained: Trained, tmp_path: Path) -> None:
    trained(build(outer=OuterConfig(validation_episodes=7), steps=1), tmp_path)
    assert lines(tmp_path / "metrics.jsonl")[-1]["episodes"] == 6  # three sources share seven


def test_validation_sees_neither_masks_nor_rotations_nor_weights(
    build: Build, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    accuracy = trainer.validate().mean
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


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_best_is_the_best_by_validation_and_last_the_last(
    build: Build, trained: Trained, tmp_path: Path, average: float
) -> None:
    """Of ψ and of its running mean, if there is one."""
    outer = OuterConfig(log_every=2, validate_every=2, validation_episodes=30, average=average)
    parts = build(outer=outer, steps=16)
    trainer = trained(parts, tmp_path)
    validated = [line for line in lines(tmp_path / "metrics.jsonl") if line["kind"] == "val"]
    judged = {(line["step"], "last"): line["accuracy"] for line in validated}
    judged |= {(line["step"], "averaged"): line["averaged"]["accuracy"] for line in validated if "averaged" in line}
    assert len(judged) == (16 if average else 8)
    best = max(judged.values())
    first = next(at for at in sorted(judged, key=lambda at: (at[0], at[1] != "last")) if judged[at] == best)
    stored = checkpoint.load(tmp_path / "checkpoints/best.pt")
    assert (stored["step"], stored["weights"]) == first
    assert first == [(line["step"], line["best"]) for line in validated if line["best"]][-1]
    assert trainer.state.best == best
    assert checkpoint.load(tmp_path / "checkpoints/last.pt")["step"] == 16
    with torch.no_grad():
        for name, p in parts.learner.network.psi().theta.items():
            p.copy_(stored["theta"][name])
        for name, p in parts.learner.network.psi().phi.items():
            p.copy_(stored["phi"][name])
    assert parts.validation(parts.learner, parts.learner.network.psi()).mean == best


def test_the_better_of_the_weights_and_their_running_mean_is_kept(
    build: Build, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation is made to prefer, in turn, the mean, ψ, neither, and of equals ψ; training sees nothing of it."""
    told = iter([0.2, 0.3, 0.4, 0.1, 0.1, 0.4, 0.5, 0.5])
    outer = OuterConfig(log_every=2, validate_every=2, validation_episodes=6, average=0.9)
    untold = trained(build(outer=outer, steps=8), tmp_path / "untold")
    states = []

    def judge(self: Validation, learner: Trainable, psi: Psi, ranks: Ranks) -> Judged:
        states.append({name: p.detach().clone() for name, p in psi.theta.items()})
        return Judged(next(told), 0.0, {})

    monkeypatch.setattr(Validation, "__call__", judge)
    kept = []
    save = State._save_best

    def watched(self: State, weights: str) -> None:
        save(self, weights)
        kept.append(checkpoint.load(tmp_path / "run/checkpoints/best.pt"))

    monkeypatch.setattr(State, "_save_best", watched)
    trainer = trained(build(outer=outer, steps=8), tmp_path / "run")
    assert [(state["step"], state["weights"]) for state in kept] == [(2, "averaged"), (4, "last"), (8, "last")]
    for state, judged in zip(kept, (states[1], states[2], states[6]), strict=True):
        torch.testing.assert_close(dict(state["theta"]), judged, rtol=0, atol=0)
    assert not torch.equal(states[0]["blocks.0.conv.weight"], states[1]["blocks.0.conv.weight"])
    torch.testing.assert_close(trainer.state.psi.theta, untold.state.psi.theta, rtol=0, atol=0)
    torch.testing.assert_close(trainer.state.average.mean, untold.state.average.mean, rtol=0, atol=0)


def test_without_validation_classes_the_latest_is_the_best(
    build: Build, trained: Trained, write_pack: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_pack(tmp_path / "pack", ["one", "two"], splits={"all": range(10)})
    trainer = trained(build(sources=[str(root)], holdout=[], steps=3), tmp_path / "run")
    assert checkpoint.load(tmp_path / "run/checkpoints/best.pt")["step"] == 3
    assert all(line["kind"] == "train" for line in lines(tmp_path / "run/metrics.jsonl"))
    assert trainer.state.best == -math.inf


def test_a_finished_run_goes_on_when_given_more_steps(build: Build, trained: Trained, tmp_path: Path) -> None:
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


def test_metrics_from_before_the_first_checkpoint_are_not_kept_twice(
    build: Build, trained: Trained, tmp_path: Path
) -> None:
    whole = trained(build(), tmp_path / "whole")
    left = tmp_path / "killed"
    left.mkdir()
    (left / "metrics.jsonl").write_bytes((tmp_path / "whole/metrics.jsonl").read_bytes()[:700])
    assert trained(build(), left).state.digest() == whole.state.digest()
    assert (left / "metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


def test_mean_and_interval_are_those_of_the_literature() -> None:
    values = [0.2, 0.4, 0.9, 0.5]
    mean, half = mean_ci95(values)
    assert mean == pytest.approx(0.5)
    assert half == pytest.approx(1.96 * math.sqrt(sum((v - 0.5) ** 2 for v in values) / 4) / 2)
