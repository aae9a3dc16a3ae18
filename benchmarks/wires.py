"""Wires without a network: threads that play the processes, and a count of what so many processes would say.

Both carry what ``rotogbml.training.ranks.Ranks`` says: the program cannot tell them from ``torch.distributed``.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from rotogbml.training.ranks import ALONE, Ranks

T = TypeVar("T")


@dataclass
class Count:
    """What one process sends: messages and bytes of each kind of exchange."""

    messages: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, messages: int, size: float) -> None:
        """Count an exchange."""
        self.messages[kind] = self.messages.get(kind, 0) + messages
        self.bytes[kind] = self.bytes.get(kind, 0) + math.ceil(size)


def _size(x: Tensor) -> int:
    return x.numel() * x.element_size()


class Counting:
    """Process 0 of so many, of which the others say what it says: numbers of messages and bytes, not time.

    Counted is what a process sends by ring algorithms: W − 1 messages of one share each for an all-gather, twice as
    many of a W-th each for an all-reduce; one message to each other process for an all-to-all, if there is anything to
    send; ⌈log₂ W⌉ for a broadcast's root.
    """

    rank = 0

    def __init__(self, world: int) -> None:
        self.world, self.count = world, Count()

    def all_gather(self, mine: Tensor) -> list[Tensor]:
        """Return this process's tensor once for each."""
        self.count.add("all_gather", self.world - 1, (self.world - 1) * _size(mine))
        return [mine] * self.world

    def all_to_all(self, parts: list[Tensor], lengths: list[int]) -> list[Tensor]:
        """Return this process's own part, cut or repeated to what each would send."""
        others = [part for part in parts[1:] if len(part)]
        self.count.add("all_to_all", len(others), sum(map(_size, others)))
        own = parts[0]
        return [own.repeat(-(-length // max(1, len(own))))[:length] for length in lengths]

    def all_reduce(self, mine: Tensor) -> Tensor:
        """Return the sum of as many equal ones."""
        rounds = 2 * (self.world - 1)
        self.count.add("all_reduce", rounds, rounds * _size(mine) / self.world)
        return mine * self.world

    def broadcast(self, mine: Tensor) -> Tensor:
        """Return it."""
        rounds = math.ceil(math.log2(self.world))
        self.count.add("broadcast", rounds, rounds * _size(mine))
        return mine


class Threads:
    """One of several threads that tell each other everything at a barrier; counts as ``Counting`` does."""

    def __init__(self, rank: int, world: int, table: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.world, self.table, self.barrier = rank, world, table, barrier
        self.count = Count()

    def _swap(self, mine: Any) -> list[Any]:
        self.table[self.rank] = mine
        self.barrier.wait()
        heard = list(self.table)
        self.barrier.wait()
        return heard

    def all_gather(self, mine: Tensor) -> list[Tensor]:
        """Return every thread's tensor."""
        self.count.add("all_gather", self.world - 1, (self.world - 1) * _size(mine))
        heard = self._swap(mine)
        assert len({(each.shape, each.dtype) for each in heard}) == 1
        return [each.clone() for each in heard]

    def all_to_all(self, parts: list[Tensor], lengths: list[int]) -> list[Tensor]:
        """Return what every thread has for this one."""
        others = [part for s, part in enumerate(parts) if s != self.rank and len(part)]
        self.count.add("all_to_all", len(others), sum(map(_size, others)))
        heard = [each[self.rank].clone() for each in self._swap(parts)]
        assert [len(each) for each in heard] == lengths
        return heard

    def all_reduce(self, mine: Tensor) -> Tensor:
        """Return the sum over threads, in their order."""
        rounds = 2 * (self.world - 1)
        self.count.add("all_reduce", rounds, rounds * _size(mine) / self.world)
        first, *others = self._swap(mine)
        total = first.clone()
        for other in others:
            total += other
        return total

    def broadcast(self, mine: Tensor) -> Tensor:
        """Return thread 0's tensor."""
        first = self._swap(mine)[0]
        assert first.shape == mine.shape
        return first.clone()


def ends(world: int, work: Callable[[Ranks], T]) -> list[T | BaseException]:
    """Return what each of so many threads, each a rank, makes or raises."""
    if world == 1:
        try:
            return [work(ALONE)]
        except Exception as error:
            return [error]
    table, barrier = [None] * world, threading.Barrier(world, timeout=60)
    out: list[Any] = [None] * world

    def run(rank: int) -> None:
        try:
            out[rank] = work(Ranks(Threads(rank, world, table, barrier)))
        except BaseException as error:
            out[rank] = error
            if not getattr(error, "silent", None) and rank:
                barrier.abort()  # nobody knows of it: do not wait for this one

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


def played(world: int, work: Callable[[Ranks], T]) -> list[T]:
    """Return what each of so many threads makes; what one raises, this raises."""
    made = ends(world, work)
    for each in made:
        if isinstance(each, BaseException):
            raise each
    return [each for each in made if not isinstance(each, BaseException)]
