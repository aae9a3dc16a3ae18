"""Tasks spread over processes, which threads play here: the same run for any number of them."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.wires import Counting, ends, played
from torch import Tensor

from rotogbml.config import HomogenizerConfig, LearnerConfig, OuterConfig, ReweightConfig, RotateConfig
from rotogbml.episodes import Elsewhere, Episode
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.training import checkpoint
from rotogbml.training.assemble import Parts, assemble
from rotogbml.training.outer import create_optimizer
from rotogbml.training.ranks import Ranks
from rotogbml.training.run import RunFolder
from rotogbml.training.step import meta_step
from rotogbml.training.trainer import Trainer

Build = Callable[..., Parts]

FRESH = HomogenizerConfig(
    ReweightConfig(slots="minibatch", update="closed-form"),
    RotateConfig(slots="minibatch", rotate_support=False, lr=0.3),
)
KEPT = HomogenizerConfig(ReweightConfig(lr=0.1), RotateConfig(lr=0.2))
BY_PLACE = HomogenizerConfig(ReweightConfig(slots="position", lr=0.1), RotateConfig(slots="position", lr=0.2))
CLASSES = HomogenizerConfig(None, RotateConfig(lr=0.2, compare="class"))
HOMOGENIZERS = {"off": None, "kept": KEPT, "by place": BY_PLACE, "of the minibatch": FRESH, "classes": CLASSES}


def double(parts: Parts) -> None:
    parts.learner.network.encoder.double()
    parts.learner.network.head.double()
    for p in parts.learner.alpha.values():
        p.data = p.data.double()


def stepped(build: Build, ranks: Ranks, dtype: torch.dtype, steps: int, **changes: Any) -> dict[str, Any]:
    """Take some steps and return all that they moved."""
    parts = replace(build(**changes), ranks=ranks)
    if dtype is torch.float64:
        double(parts)
    psi = parts.learner.network.psi()
    optimizer = create_optimizer(parts.config.outer, parts.learner, psi)
    records = []
    for step in range(steps):
        drawn = parts.sampler.batch(step, ranks.share(parts.config.episodes.tasks_per_batch))
        episodes = [e.to(torch.device("cpu"), dtype) for e in drawn]
        records.append(meta_step(parts, psi, optimizer, episodes, step))
    learned = {
        room: {name: p.detach().clone() for name, p in group.items()} for room, group in parts.learner.learned().items()
    }
    told = [(r.losses, r.accuracies, r.norms, r.omega, r.notes, r.feature_before, r.feature_after) for r in records]
    return {"learned": learned, "homogenizer": parts.homogenizer.state_dict(), "told": told}


def assert_near(a: Any, b: Any, where: str = "") -> None:
    """Compare two trees of numbers and tensors to float64's rounding."""
    if isinstance(a, Tensor):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=lambda said: f"{where}: {said}")
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_near(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_near(x, y, f"{where}.{i}")
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-10, abs=1e-12), where
    else:
        assert a == b, where


@pytest.mark.parametrize(
    ("learner", "homogenizer"),
    [
        *itertools.product(["maml", "anil", "reptile", "imaml", "maml++"], ["off", "kept", "of the minibatch"]),
        ("maml", "by place"),
    ],
)
def test_any_number_of_processes_takes_the_same_steps(
    build: Build, configure: Callable[..., Any], learner: str, homogenizer: str
) -> None:
    """Five tasks over 1, 2 and 4 processes, in float64; 7 would leave two of them without a task."""
    changes = {
        "learner": LearnerConfig(learner, inner_lr=0.05, inner_steps=2),
        "homogenizer": HOMOGENIZERS[homogenizer],
        "episodes": replace(configure().episodes, tasks_per_batch=5),
    }

    def work(ranks: Ranks) -> dict[str, Any]:
        return stepped(build, ranks, torch.float64, 2, **changes)

    (alone,) = played(1, work)
    for world in (2, 4, 7) if learner == "anil" else (2, 4):
        for rank, made in enumerate(played(world, work)):
            assert_near(made, alone, f"process {rank} of {world}")


@pytest.mark.parametrize("changes", [{}, {"homogenizer": None, "isi": None}, {"encoder": "running"}], ids=str)
def test_in_float32_they_take_them_to_the_bit(
    build: Build, configure: Callable[..., Any], changes: dict[str, Any]
) -> None:
    """Tasks are summed in their order, column by column, whoever has the column."""
    given = {"episodes": replace(configure().episodes, tasks_per_batch=5), **changes}
    if given.get("encoder"):
        given["encoder"] = replace(configure().encoder, norm="running")

    def work(ranks: Ranks) -> str:
        return checkpoint.digest(stepped(build, ranks, torch.float32, 2, **given))

    assert len({digest for world in (1, 2, 3) for digest in played(world, work)}) == 1


@pytest.mark.parametrize("combine", ["pcgrad", "gradvac", "famo", "clip"])
def test_a_rival_sees_all_tasks_wherever_they_are(build: Build, configure: Callable[..., Any], combine: Any) -> None:
    pytest.importorskip("torchjd")
    changes = {
        "homogenizer": HomogenizerConfig(combine=combine),
        "episodes": replace(configure().episodes, tasks_per_batch=5),
    }

    def work(ranks: Ranks) -> dict[str, Any]:
        return stepped(build, ranks, torch.float64, 3, **changes)

    (alone,) = played(1, work)
    for rank, made in enumerate(played(3, work)):
        assert_near(made, alone, f"process {rank}")


def test_graddrop_is_refused_where_processes_share_the_numbers(configure: Callable[..., Any]) -> None:
    pytest.importorskip("torchjd")
    config = configure(homogenizer=HomogenizerConfig(combine="graddrop"))
    with pytest.raises(UsageError, match="take --devices 1"):
        played(2, lambda ranks: assemble(config, torch.device("cpu"), ranks))


def test_a_process_draws_the_images_of_its_own_tasks_alone(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = build().sampler
    whole = sampler.batch(3)
    made = []
    images = type(sampler)._images
    monkeypatch.setattr(type(sampler), "_images", lambda *given: made.append(1) or images(*given))
    some = sampler.batch(3, range(1, 3, 2))
    assert len(made) == 1
    assert [type(e) for e in some] == [Elsewhere, Episode, Elsewhere]
    assert [e.source for e in some] == [e.source for e in whole]
    assert isinstance(some[1], Episode)
    assert torch.equal(some[1].support.x, whole[1].support.x)
    assert torch.equal(some[1].query.x, whole[1].query.x)


def test_a_loss_that_is_not_finite_stops_all_with_the_words_of_one(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = build().sampler.batch(0)[2]
    honest = type(build().learner).meta_gradient

    def spoiled(self: Any, psi: Any, task: Any, *more: Any) -> Any:
        outcome = honest(self, psi, task, *more)
        wrong = torch.equal(task.y, third.query.y)
        return replace(outcome, loss=outcome.loss * float("nan")) if wrong else outcome

    monkeypatch.setattr(type(build().learner), "meta_gradient", spoiled)
    said = set()
    for world in (1, 2, 3):
        for end in ends(world, lambda ranks: stepped(build, ranks, torch.float32, 1)):
            assert isinstance(end, RotogbmlError)
            said.add(str(end))
    assert len(said) == 1
    assert f"the loss of source '{third.source}' at step 0 is nan and its gradient is not finite" in said.pop()


def trained(build: Build, folder: Path, world: int, **changes: Any) -> list[Trainer]:
    def work(ranks: Ranks) -> Trainer:
        trainer = Trainer(replace(build(**changes), ranks=ranks), RunFolder(folder))
        trainer.fit()
        return trainer

    return played(world, work)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


OFTEN = OuterConfig(log_every=2, validate_every=3, validation_episodes=7, keep_best=2)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_metrics_validation_and_checkpoints_are_those_of_one_process(build: Build, tmp_path: Path, world: int) -> None:
    (alone,) = trained(build, tmp_path / "alone", 1, outer=OFTEN, steps=5)
    together = trained(build, tmp_path / "together", world, outer=OFTEN, steps=5)
    assert [trainer.state.step for trainer in together] == [5] * world
    assert_near(lines(tmp_path / "together"), lines(tmp_path / "alone"))  # cosines are summed in another order
    files = [sorted(p.name for p in (tmp_path / name / "checkpoints").iterdir()) for name in ("alone", "together")]
    assert files[0] == files[1]
    whole, shared = (checkpoint.load(tmp_path / name / "checkpoints/last.pt") for name in ("alone", "together"))
    same = ("step", "best", "kept", "theta", "phi", "alpha", "statistics", "optimizer", "homogenizer")
    assert checkpoint.digest([whole[name] for name in same]) == checkpoint.digest([shared[name] for name in same])
    assert alone.state.best == together[0].state.best


def test_a_run_goes_on_with_another_number_of_processes(build: Build, tmp_path: Path) -> None:
    (whole,) = trained(build, tmp_path / "whole", 1, steps=9)
    for world, steps in ((1, 2), (3, 5), (2, 7), (1, 9)):
        last = trained(build, tmp_path / "parts", world, steps=steps)[0]
    assert checkpoint.digest(last.state.moved()) == checkpoint.digest(whole.state.moved())


def test_the_first_process_looks_at_the_clock_for_all(build: Build, tmp_path: Path) -> None:
    ends = trained(build, tmp_path, 3, steps=None, minutes=0.01)
    assert len({trainer.state.step for trainer in ends}) == 1
    assert ends[0].state.step > 0
    assert len({trainer.state.seconds for trainer in ends}) == 1


def test_processes_that_round_otherwise_are_told_of_and_brought_together(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def work(ranks: Ranks) -> Tensor:
        trainer = Trainer(replace(build(), ranks=ranks), RunFolder(tmp_path))
        p = trainer.state.psi.theta["blocks.0.weight"]
        with torch.no_grad():
            p += 1e-6 * ranks.rank
        trainer.state.save()
        return p.detach().clone()

    with caplog.at_level(logging.WARNING):
        weights = played(3, work)
    assert all(torch.equal(weights[0], other) for other in weights)
    assert [record.getMessage()[:54] for record in caplog.records] == [
        "step 0: process 1 rounds otherwise than process 0; at "
    ]


def test_a_full_disk_of_the_first_ends_all(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RotogbmlError("disk full")

    monkeypatch.setattr(checkpoint, "save", full)
    out = ends(3, lambda ranks: Trainer(replace(build(), ranks=ranks), RunFolder(tmp_path)).fit())
    assert [str(end) for end in out] == ["disk full"] * 3


def test_what_is_counted_for_many_is_what_few_say(build: Build) -> None:
    """The simulation of docs/processes.md, in which the others say what process 0 says, against threads that talk."""

    def said(ranks: Ranks) -> tuple[dict[str, int], dict[str, int]]:
        stepped(build, ranks, torch.float32, 2)
        wire: Any = ranks._wire
        return wire.count.messages, wire.count.bytes

    for world in (2, 3):
        played_messages, played_bytes = played(world, said)[0]
        messages, size = said(Ranks(Counting(world)))
        assert messages == played_messages
        assert size["all_to_all"] == played_bytes["all_to_all"]
        assert size["all_gather"] == pytest.approx(played_bytes["all_gather"], rel=0.02)
