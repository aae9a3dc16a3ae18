"""Where a process stands: how many there are and which it is, by options, torchrun, Slurm or machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import rotogbml
from rotogbml.config import EncoderConfig, HomogenizerConfig
from rotogbml.errors import LostError, UsageError
from rotogbml.training import network, place, verb
from rotogbml.training.work import Job


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
        rotogbml.train([str(pack)], str(tmp_path / "run"), encoder=torch.nn.Flatten(), devices=2, accelerator="cpu")  # ty: ignore[invalid-argument-type]


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
