"""Tasks spread over processes: the same run for any number of them, and none is left behind when one ends."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.wires import Counting, ends, played
from torch import Tensor

import rotogbml
from rotogbml.config import EncoderConfig, HomogenizerConfig, LearnerConfig, OuterConfig, ReweightConfig, RotateConfig
from rotogbml.episodes import Elsewhere, Episode
from rotogbml.errors import LostError, RotogbmlError, UsageError
from rotogbml.training import checkpoint, network, place, verb
from rotogbml.training.assemble import Parts, assemble
from rotogbml.training.outer import create_optimizer
from rotogbml.training.ranks import Ranks
from rotogbml.training.run import RunFolder
from rotogbml.training.step import meta_step
from rotogbml.training.trainer import Trainer
from rotogbml.training.work import Job

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


# Where this process stands.


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Take every variable of torchrun and Slurm out of the environment."""
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_JOB_NAME", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(place, "cores", lambda: 8)
    return monkeypatch


def test_how_many_processes_there_are(bare: pytest.MonkeyPatch) -> None:
    def found(devices: Any, nodes: int = 1, tasks: int = 4) -> tuple[int, int, str]:
        there = place.find(devices, nodes, tasks, "cpu")
        return there.devices, there.nodes, there.started_by

    assert found(None) == found(1) == (1, 1, "")
    assert found(3) == (3, 1, "rotogbml")
    assert found("auto") == (4, 1, "rotogbml")
    assert found("auto", tasks=16) == (8, 1, "rotogbml")
    assert found("auto", tasks=1) == (1, 1, "")
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", "6"), ("LOCAL_WORLD_SIZE", "3")):
        bare.setenv(name, value)
    assert found(None) == found("auto") == found(3, 2) == (3, 2, "torchrun")
    with pytest.raises(UsageError, match="devices is 2, but torchrun started 3 on this machine: leave it out"):
        found(2)
    with pytest.raises(UsageError, match="num_nodes is 3, but torchrun uses 2: leave it out"):
        found(None, 3)
    bare.delenv("TORCHELASTIC_RUN_ID")
    for name, value in (("SLURM_NTASKS", "8"), ("SLURM_NTASKS_PER_NODE", "4"), ("SLURM_NNODES", "2")):
        bare.setenv(name, value)
    assert found(None) == (4, 2, "Slurm")
    bare.setenv("SLURM_NTASKS", "1")  # a batch job of one task, which starts its own
    assert found(2) == (2, 1, "rotogbml")


@pytest.mark.parametrize(
    ("changes", "usual"),
    [
        ({"steps": 300}, "auto"),
        ({"steps": None, "minutes": 2.0}, "auto"),
        ({"steps": 299}, None),
        ({"steps": 10_000, "encoder": EncoderConfig("resnet10")}, None),
        ({"steps": 10_000, "homogenizer": HomogenizerConfig(combine="graddrop")}, None),
    ],
)
def test_long_runs_of_conv4_take_a_process_a_task(
    configure: Callable[..., Any], changes: dict[str, Any], usual: str | None
) -> None:
    job = Job(configure(**changes), "run", "auto", False, False, None, "cpu")
    assert verb._usual(job) == usual
    assert verb._usual(replace(job, threads=2)) is None
    assert verb._usual(replace(job, accelerator="cuda")) is None


def test_machines_without_a_launcher_say_which_they_are(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="num_nodes is 2, but nothing says which machine this is"):
        place.find(2, 2, 4, "cpu")
    for name, value in (("NODE_RANK", "1"), ("MASTER_ADDR", "10.0.0.1"), ("MASTER_PORT", "5000")):
        bare.setenv(name, value)
    there = place.find(2, 2, 4, "cpu")
    assert (there.rank, there.world, there.address, there.port) == (2, 4, "10.0.0.1", 5000)
    assert [other.rank for other in place.beside(there)] == [3]
    bare.setenv("NODE_RANK", "2")
    with pytest.raises(UsageError, match="NODE_RANK is 2, num_nodes is 2: machines count from 0 to 1"):
        place.find(2, 2, 4, "cpu")


def test_a_module_stays_in_the_process_that_it_was_given_to(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"given as a module stays in the process .* take --devices 1, or name"):
        rotogbml.train([str(pack)], str(tmp_path / "run"), encoder=torch.nn.Flatten(), devices=2)  # ty: ignore[invalid-argument-type]


def test_slurm_that_was_asked_in_another_way_is_told_how(bare: pytest.MonkeyPatch) -> None:
    for name, value in (("SLURM_NTASKS", "2"), ("SLURM_NNODES", "1"), ("SLURM_PROCID", "0"), ("SLURM_LOCALID", "0")):
        bare.setenv(name, value)
    bare.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    there = place.find(None, 1, 4, "cpu")
    with pytest.raises(UsageError, match=r"Slurm: .*Use `--ntasks-per-node=2` instead"), place.met(there, "cpu"):
        pass


@pytest.mark.parametrize("devices", [0, -1])
def test_no_process_is_none(bare: pytest.MonkeyPatch, devices: int) -> None:
    with pytest.raises(UsageError, match=f"devices is {devices}: give at least 1, or leave it out"):
        place.find(devices, 1, 4, "cpu")


def test_what_the_wire_complains_of_is_said_in_words() -> None:
    gloo = "[/src/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:65221. This is typically caused"
    with pytest.raises(LostError) as lost, network.reaching():
        raise RuntimeError(gloo)
    assert str(lost.value) == (
        "another process of this run has ended, or its machine cannot be reached (Connection closed by peer "
        "[127.0.0.1]:65221): run the same command again to go on from the last checkpoint"
    )


# Real processes. Each costs seconds of importing torch, so that few are started.


@pytest.fixture(scope="module")
def command(tiny: list[str]) -> Callable[..., list[str]]:
    def make(out: Path, *more: str) -> list[str]:
        return ["train", *tiny, "--outer.checkpoint_seconds", "1000", "--out", str(out), *more]

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
    [sys.argv[1]], sys.argv[2], ["hidden"], steps=12, threads=1, devices=2, encoder=EncoderConfig(width=4),
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
