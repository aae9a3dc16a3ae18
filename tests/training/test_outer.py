"""The outer loop's parts: how the rate falls, what is clamped, which checkpoints are kept, what anneals."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rotogbml.config import LearnerConfig, OuterConfig, RunConfig
from rotogbml.errors import UsageError
from rotogbml.training import checkpoint
from rotogbml.training.assemble import Parts
from rotogbml.training.interrupt import Interrupted
from rotogbml.training.outer import anneals, create_optimizer, factor, set_rate
from rotogbml.training.run import RunFolder
from rotogbml.training.step import meta_step
from rotogbml.training.trainer import Trainer

Build = Callable[..., Parts]
Configure = Callable[..., RunConfig]
Trained = Callable[[Parts, Path], Trainer]


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("schedule", "values"),
    [("constant", [1, 1, 1]), ("linear", [1, 0.5, 0]), ("cosine", [1, 0.505, 0.01])],
)
def test_the_rate_falls_as_its_schedule_says(schedule: str, values: list[float]) -> None:
    assert [factor(schedule, done) for done in (0.0, 0.5, 1.0)] == pytest.approx(values)
    assert factor("cosine", 0.25) == pytest.approx(0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2)
    assert factor(schedule, 1.5) == pytest.approx(values[-1])  # a run by the clock may end a little late


def test_reptiles_rate_is_a_share_of_the_way(build: Build) -> None:
    parts = build(learner=LearnerConfig("reptile", inner_lr=0.1, inner_steps=4, inner_optimizer="sgd"))
    outer = replace(parts.config.outer, meta_lr=0.5)
    optimizer = create_optimizer(outer, parts.learner, parts.learner.network.psi())
    assert isinstance(optimizer, torch.optim.SGD)
    set_rate(optimizer, outer, parts.learner, 0.5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * 4 * 0.1 * 0.5)


def test_the_clamp_bounds_every_number_of_the_meta_gradient(build: Build) -> None:
    seen = []
    for clamp in (0.0, 0.01):
        parts = build(homogenizer=None, isi=None, outer=OuterConfig(clamp=clamp))
        psi = parts.learner.network.psi()
        meta_step(parts, psi, torch.optim.SGD(psi.tensors(), lr=0.0), parts.sampler.batch(0), 0)
        seen.append(torch.cat([p.grad.flatten() for p in psi.tensors() if p.grad is not None]))
    assert seen[0].abs().max() > 0.01
    assert torch.equal(seen[0].clamp(-0.01, 0.01), seen[1])


def test_learned_rates_move_and_are_kept_in_the_checkpoint(build: Build, trained: Trained, tmp_path: Path) -> None:
    parts = build(learner=LearnerConfig("meta-sgd", inner_lr=0.2, inner_steps=2))
    trained(parts, tmp_path)
    saved = checkpoint.load(tmp_path / "checkpoints/last.pt")["alpha"]
    assert saved.keys() == parts.learner.alpha.keys() != set()
    assert any(bool((a != 0.2).any()) for a in saved.values())
    assert all(torch.equal(a, parts.learner.alpha[name].detach()) for name, a in saved.items())


def test_running_statistics_move_once_a_step_and_are_kept_in_the_checkpoint(
    build: Build, configure: Configure, trained: Trained, tmp_path: Path
) -> None:
    norm = replace(configure().encoder, norm="running")
    parts = build(encoder=norm)
    before = {name: b.clone() for name, b in parts.learner.network.encoder.named_buffers()}
    psi = parts.learner.network.psi()
    episodes = parts.sampler.batch(0)
    # Within a step they stand still: each task alone sees the same ones.
    for episode in episodes:
        parts.learner.prepare(psi, episode)
    assert all(torch.equal(b, before[name]) for name, b in parts.learner.network.encoder.named_buffers())
    meta_step(parts, psi, torch.optim.SGD(psi.tensors(), lr=0.0), episodes, 0)
    assert all(not torch.equal(b, before[name]) for name, b in parts.learner.network.encoder.named_buffers())
    trained(build(encoder=norm), tmp_path)
    saved = checkpoint.load(tmp_path / "checkpoints/best.pt")["statistics"]
    assert saved.keys() == before.keys()


@pytest.mark.parametrize("learner", ["anil", "boil", "imaml", "maml++", "meta-sgd", "protomaml", "reptile"])
def test_every_learner_goes_on_to_the_bit(
    build: Build, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learner: str
) -> None:
    given: dict[str, Any] = {"learner": LearnerConfig(learner, inner_steps=2), "steps": 6}
    given["outer"] = OuterConfig(log_every=2, validate_every=3, validation_episodes=6)
    whole = trained(build(**given), tmp_path / "whole")

    def stop_in_the_fifth(*arguments: Any) -> Any:
        if arguments[-1] == 4:
            signal.raise_signal(signal.SIGTERM)
        return meta_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("rotogbml.training.trainer.meta_step", stop_in_the_fifth)
        with pytest.raises(Interrupted, match="stopped at step 5, saved"):
            trained(build(**given), tmp_path / "stopped")
    resumed = trained(build(**given), tmp_path / "stopped")
    assert resumed.state.digest() == whole.state.digest()
    assert (tmp_path / "stopped/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


def test_the_best_few_by_validation_are_kept_for_an_ensemble(build: Build, trained: Trained, tmp_path: Path) -> None:
    outer = OuterConfig(log_every=2, validate_every=2, validation_episodes=12, keep_best=3)
    trained(build(outer=outer, steps=14), tmp_path)
    validated = {line["step"]: line["accuracy"] for line in metrics(tmp_path) if line["kind"] == "val"}
    best = sorted(validated, key=lambda step: (-validated[step], step))[:3]
    kept = sorted((tmp_path / "checkpoints").glob("kept-*.pt"))
    assert [path.name for path in kept] == [f"kept-{step:09}.pt" for step in sorted(best)]
    assert [checkpoint.load(path)["step"] for path in kept] == sorted(best)


def test_none_are_kept_where_nobody_asks(build: Build, trained: Trained, tmp_path: Path) -> None:
    trained(build(), tmp_path)
    assert not list((tmp_path / "checkpoints").glob("kept-*.pt"))


@pytest.mark.parametrize(
    ("changes", "does"),
    [
        ({}, False),
        ({"learner": LearnerConfig("maml++")}, True),
        ({"learner": LearnerConfig("reptile")}, True),
        ({"outer": OuterConfig(schedule="cosine")}, True),
        ({"learner": LearnerConfig("imaml")}, False),
    ],
)
def test_it_is_known_what_anneals(configure: Configure, changes: dict[str, Any], does: bool) -> None:
    assert anneals(configure(**changes)) is does


def test_a_run_that_anneals_is_not_made_longer(build: Build, configure: Configure, tmp_path: Path) -> None:
    parts = build(outer=OuterConfig(schedule="linear"))
    folder = RunFolder(tmp_path)
    folder.claim(parts.config, parts.sources, 1, True)
    with pytest.raises(UsageError, match="holds another run \\(steps is 4 there, 9 here\\)"):
        folder.claim(configure(outer=OuterConfig(schedule="linear"), steps=9), parts.sources, 1, True)


def test_the_solver_of_imaml_is_heard(
    build: Build, trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learner = LearnerConfig("imaml", inner_steps=2, cg_steps=1, cg_damping=0.0, cg_tolerance=0.0)
    trained(build(learner=learner, steps=3), tmp_path)
    assert caplog.text.count("conjugate gradient stopped at a relative residual of") == 1  # once a run
    notes = metrics(tmp_path)[0]["learner"]
    assert set(notes) == {"cg_residual", "cg_steps", "cg_unconverged", "cg_negative_curvature"}
    assert notes["cg_steps"] == 1
    assert notes["cg_unconverged"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"outer": OuterConfig(clamp=-1.0)}, "outer.clamp is -1.0"),
        ({"outer": OuterConfig(keep_best=0)}, "outer.keep_best is 0"),
    ],
)
def test_numbers_that_cannot_be_are_named(configure: Configure, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configure(**changes)


def test_the_average_is_the_weighted_sum_of_all_states(build: Build, trained: Trained, tmp_path: Path) -> None:
    """ψ̄_T = Σ_t (1 − δ_t) Π_{s>t} δ_s ψ_t, with ψ_0 taking what is left; and it goes on to the bit."""
    outer = OuterConfig(log_every=2, validate_every=100, validation_episodes=6, average=0.5)
    states = []
    for steps in range(1, 5):
        trainer = trained(build(outer=outer, steps=steps), tmp_path / "parts")
        states.append({name: p.detach().double() for name, p in trainer.state.psi.theta.items()})
    first = Trainer(build(outer=outer), RunFolder(tmp_path / "none")).state.psi.theta
    decays = [min(0.5, (1 + t) / (10 + t)) for t in range(1, 5)]
    for name, p in first.items():
        expected = p.detach().double()
        for decay, state in zip(decays, states, strict=True):
            expected = decay * expected + (1 - decay) * state[name]
        torch.testing.assert_close(trainer.state.average.mean["theta"][name].double(), expected, rtol=1e-5, atol=1e-6)
    whole = trained(build(outer=outer, steps=4), tmp_path / "whole")
    torch.testing.assert_close(whole.state.average.mean, trainer.state.average.mean, rtol=0, atol=0)
    saved = checkpoint.load(tmp_path / "whole" / "checkpoints" / "averaged.pt")
    assert saved["step"] == 4
    assert not torch.equal(saved["theta"][name], whole.state.psi.theta[name])
    torch.testing.assert_close(saved["theta"], dict(whole.state.average.mean["theta"]), rtol=0, atol=0)


def test_without_an_average_nothing_of_it_is_kept(build: Build, trained: Trained, tmp_path: Path) -> None:
    outer = OuterConfig(log_every=2, validate_every=100, validation_episodes=6, average=0.0)
    trainer = trained(build(outer=outer, steps=2), tmp_path)
    assert trainer.state.state_dict()["average"] == {}
    assert not (tmp_path / "checkpoints" / "averaged.pt").exists()
