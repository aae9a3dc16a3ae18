"""The wire between processes as torch.distributed has it: gloo for processors, NCCL for GPUs."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from rotogbml.errors import LostError

TIMEOUT = timedelta(minutes=30)
"""Silence after which a process counts as lost. A killed one is noticed at once, since its connections close; this is
for machines that vanish. It must outlast the slowest task of another process, and process 0's writing of a checkpoint.
"""


class Network:
    """``ranks.Wire`` over the process group that fabric made."""

    def __init__(self) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()

    def all_gather(self, mine: Tensor) -> list[Tensor]:
        """Return every process's tensor, in the order of processes; all have one shape."""
        heard = [torch.empty_like(mine) for _ in range(self.world)]
        with reaching():
            dist.all_gather(heard, mine)
        return heard

    def all_to_all(self, parts: list[Tensor], lengths: list[int]) -> list[Tensor]:
        """Send part s to process s; return what each process sent to this one, of the lengths that are told."""
        heard = parts[0].new_empty(sum(lengths))
        with reaching():
            dist.all_to_all_single(heard, torch.cat(parts), lengths, [len(part) for part in parts])
        return list(heard.split(lengths))

    def all_reduce(self, mine: Tensor) -> Tensor:
        """Return the sum over all processes."""
        total = mine.clone()
        with reaching():
            dist.all_reduce(total)
        return total

    def broadcast(self, mine: Tensor) -> Tensor:
        """Return process 0's tensor; all have one shape."""
        with reaching():
            dist.broadcast(mine, src=0)
        return mine


@contextmanager
def reaching() -> Generator[None]:
    """Turn what the wire complains of into words.

    Raises:
        LostError: another process cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        said = re.sub(r"^\[[^]]*\] *", "", str(error).split("\n")[0]).split(". ")[0]  # without gloo's source and advice
        raise LostError(
            f"another process of this run has ended, or its machine cannot be reached ({said}): run the same command "
            "again to go on from the last checkpoint"
        ) from error
