"""How many processes there are, which one this is, and how they meet.

Three ways lead to several: ``--devices N``, where this program starts the others itself (``crew.py``), and torchrun and
Slurm, which start all of them and say so in the environment. They meet through lightning-fabric: it knows those two
environments, and makes torch's process group.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy

from rotogbml.children import cores
from rotogbml.errors import UsageError
from rotogbml.training.network import TIMEOUT, Network, reaching
from rotogbml.training.ranks import ALONE, Ranks

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""What carries tensors of each device; small messages are on the CPU."""

_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


@dataclass(frozen=True)
class Place:
    """Where this process stands.

    Attributes:
        devices: processes on this machine.
        nodes: machines.
        started_by: ``rotogbml`` (this program starts the others of its machine), ``torchrun``, ``Slurm``, or empty:
            there are no others.
        local: which process of this machine this is.
        node: which machine this is.
        address, port: where process 0 can be reached; with ``rotogbml`` alone.
    """

    devices: int = 1
    nodes: int = 1
    started_by: Literal["", "rotogbml", "torchrun", "Slurm"] = ""
    local: int = 0
    node: int = 0
    address: str = ""
    port: int = 0

    @property
    def world(self) -> int:
        """How many processes there are."""
        return self.devices * self.nodes

    @property
    def rank(self) -> int:
        """Which of all processes this is."""
        return self.node * self.devices + self.local


class Own(ClusterEnvironment):
    """What fabric asks about processes that this program started itself."""

    @property
    def creates_processes_externally(self) -> bool:
        """Return True: fabric need not start any."""
        return True

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    @property
    def main_address(self) -> str:
        """Where process 0 can be reached."""
        return self.place.address

    @property
    def main_port(self) -> int:
        """At which port."""
        return self.place.port

    @staticmethod
    def detect() -> bool:
        """Return False: it is never found, but given."""
        return False

    def world_size(self) -> int:
        """How many processes there are."""
        return self.place.world

    def global_rank(self) -> int:
        """Which one this is."""
        return self.place.rank

    def local_rank(self) -> int:
        """Which one of its machine this is."""
        return self.place.local

    def node_rank(self) -> int:
        """Which machine this is."""
        return self.place.node

    def set_world_size(self, size: int) -> None:
        """It is given."""

    def set_global_rank(self, rank: int) -> None:
        """It is given."""


class _Met(DDPStrategy):
    """Fabric's strategy for processes that are all there already: it has none to start."""

    def _configure_launcher(self) -> None:
        return


def find(devices: int | Literal["auto"] | None, num_nodes: int, tasks: int, accelerator: str) -> Place:
    """Return where this process stands.

    Args:
        devices: processes on this machine, as the user says; None: as the environment says, else one.
        num_nodes: machines.
        tasks: N, tasks of a minibatch; more processes would have nothing to do.
        accelerator: ``cpu`` or ``cuda``.

    Raises:
        UsageError: a number cannot be, or contradicts the environment.
    """
    for name, value in (("devices", devices), ("num_nodes", num_nodes)):
        if isinstance(value, int) and value < 1:
            raise UsageError(f"{name} is {value}: give at least 1, or leave it out")
    place = _given_by_environment()
    if place is not None:
        if devices not in (None, "auto", place.devices):
            raise UsageError(
                f"devices is {devices}, but {place.started_by} started {place.devices} on this machine: leave it out"
            )
        if num_nodes not in (1, place.nodes):
            raise UsageError(f"num_nodes is {num_nodes}, but {place.started_by} uses {place.nodes}: leave it out")
        return place
    there = torch.cuda.device_count() if accelerator == "cuda" else cores()
    wanted = min(there, tasks) if devices == "auto" else devices or 1
    if accelerator == "cuda" and wanted > there:
        gpus = "one GPU" if there == 1 else f"{there} GPUs"
        raise UsageError(
            f"devices is {wanted}, but torch sees {gpus} here: give at most {there}, or take --accelerator cpu"
        )
    if num_nodes > 1:
        return _by_hand(wanted, num_nodes)
    if wanted == 1:
        return Place()
    return Place(wanted, 1, "rotogbml", address="127.0.0.1", port=_free_port())


def _given_by_environment() -> Place | None:
    """Return what torchrun or Slurm say; None where there is one process, or nothing said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fabric tells of an srun that is not used
        if TorchElasticEnvironment.detect():
            world, here = int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            name = "torchrun"
        elif SLURMEnvironment.detect():
            world = int(os.environ["SLURM_NTASKS"])
            here = int(os.environ.get("SLURM_NTASKS_PER_NODE", "0")) or world // int(os.environ["SLURM_NNODES"])
            name = "Slurm"
        else:
            return None
    if world == 1:
        return None
    if world % here:
        raise UsageError(
            f"{name} started {world} processes, {here} on this machine: start the same number on each machine"
        )
    return Place(here, world // here, name)


def _by_hand(devices: int, nodes: int) -> Place:
    """Return the place of the first process of a machine, where the same command is given on each."""
    try:
        node, address, port = int(os.environ["NODE_RANK"]), os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError):
        raise UsageError(
            f"num_nodes is {nodes}, but nothing says which machine this is: start it by torchrun or srun, or set "
            "NODE_RANK (0 …), MASTER_ADDR and MASTER_PORT (of machine 0) on each machine"
        ) from None
    if not 0 <= node < nodes:
        raise UsageError(f"NODE_RANK is {node}, num_nodes is {nodes}: machines count from 0 to {nodes - 1}")
    return Place(devices, nodes, "rotogbml", node=node, address=address, port=port)


def threads_of(place: Place) -> int | None:
    """Return threads for each process where nobody says; None: torch's own choice."""
    if place.world == 1 or place.started_by == "torchrun":  # which sets OMP_NUM_THREADS
        return None
    if place.started_by == "Slurm":
        return int(os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    return max(1, cores() // place.devices)


@contextmanager
def met(place: Place, accelerator: str) -> Generator[tuple[Ranks, torch.device]]:
    """Meet the other processes; within, this process is one of them and has its device.

    Raises:
        LostError: another process could not be reached.
        UsageError: there is no such device.
    """
    if accelerator == "cuda":
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        # float32 means float32: TF32 keeps ten bits of the mantissa, and torch's default is on for convolutions.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if place.world == 1:
        with _own_levels():
            fabric = Fabric(accelerator=accelerator, devices=1)
            fabric.launch()
        yield ALONE, fabric.device
        return
    before, ours = dict(os.environ), not dist.is_initialized()
    with _own_levels():
        try:
            more: dict[str, Any] = {"plugins": [Own(place)]} if place.started_by == "rotogbml" else {}
            strategy = _Met(process_group_backend=BACKENDS[accelerator], timeout=TIMEOUT)
            try:
                fabric = Fabric(
                    accelerator=accelerator, devices=place.devices, num_nodes=place.nodes, strategy=strategy, **more
                )
            except (RuntimeError, ValueError) as error:  # what Slurm was asked for cannot be used
                raise UsageError(f"{place.started_by}: {error}") from error
            if place.started_by == "rotogbml" and place.nodes > 1 and place.local == 0:
                said = f"machine {place.node} waits for {place.world} processes to meet at {place.address}:{place.port}"
                print(said, file=sys.stderr, flush=True)
            with reaching():
                fabric.launch()
            ranks = Ranks(Network(), fabric.local_rank)
            if not ranks.first:  # what they all would say, the first one says
                logging.getLogger("rotogbml").setLevel(logging.ERROR)
            yield ranks, fabric.device
        finally:
            if ours and dist.is_initialized():
                dist.destroy_process_group()
            os.environ.clear()
            os.environ.update(before)


@contextmanager
def _own_levels() -> Generator[None]:
    """Keep fabric's advice back (who meets whom is told by us; TF32 is off on purpose); put levels as they were."""
    level = {name: logging.getLogger(name).level for name in ("lightning_fabric", "rotogbml")}
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        yield
    finally:
        for name, was in level.items():
            logging.getLogger(name).setLevel(was)


@contextmanager
def on_this_machine(place: Place) -> Generator[None]:
    """Let processes of one machine talk over its loopback: no network is needed, and none can go away."""
    name, key = _LOOPBACK.get(sys.platform), "GLOO_SOCKET_IFNAME"
    if place.nodes > 1 or place.started_by != "rotogbml" or name is None or key in os.environ:
        yield
        return
    os.environ[key] = name
    try:
        yield
    finally:
        os.environ.pop(key, None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def beside(place: Place) -> list[Place]:
    """Return the places of the other processes of this machine."""
    return [replace(place, local=local) for local in range(1, place.devices)]
