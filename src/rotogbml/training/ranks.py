"""The processes that share the tasks of a minibatch, and all that they ever say to each other.

Of N tasks and W processes, task i belongs to process i mod W, whatever N and W. Every process holds all of ψ, Adam, ω
and γ, and moves them alike, because all hear the same numbers:

    gather    what each task has to say: small                            (losses, norms, feature gradients [m])
    columns   every task's gradient, but only this process's columns      [n, P] → [N, P/W], all to all
    join      what was made of the columns                                [P/W] → [P], all gather

``columns`` and ``join`` together carry what an all-reduce of the mean gradient would where each process has one task,
and buy two things with it: tasks are summed in their own order whatever W is, so that any number of processes gives the
same bits; and whoever holds a column of all tasks can work out its share of their cosines for nothing.

With one process nothing is sent, copied or reordered. What fails in one process is raised in all.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from rotogbml.errors import LostError

T = TypeVar("T")

BLOCK = 128
"""Columns are dealt in whole blocks of so many: a processor's vectors then meet the same columns as in the whole."""

_HEAD = 8
"""Bytes that say how long a message is."""


class Wire(Protocol):
    """What carries numbers between processes: ``network.Network``, or a counting one in ``benchmarks/processes.py``."""

    rank: int
    """Which process this is, 0 … world − 1."""
    world: int
    """W, how many there are."""

    def all_gather(self, mine: Tensor) -> list[Tensor]:
        """Return every process's tensor, in the order of processes; all have one shape."""
        ...

    def all_to_all(self, parts: list[Tensor], lengths: list[int]) -> list[Tensor]:
        """Send part s to process s; return what each process sent to this one, of the lengths that are told."""
        ...

    def all_reduce(self, mine: Tensor) -> Tensor:
        """Return the sum over all processes."""
        ...

    def broadcast(self, mine: Tensor) -> Tensor:
        """Return process 0's tensor; all have one shape."""
        ...


class Ranks:
    """This process among its fellows.

    Args:
        wire: what carries; None: there is one process.
        local: which process of this machine it is.
    """

    def __init__(self, wire: Wire | None = None, local: int = 0) -> None:
        self._wire = wire
        self.rank, self.world = (0, 1) if wire is None else (wire.rank, wire.world)
        self.local = local
        self._room = 1024

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """Return which of n tasks are this process's."""
        return range(self.rank, n, self.world)

    def gather(self, make: Callable[[], list[T]], n: int) -> list[T]:
        """Return what all n tasks have to tell, in their order; ``make`` tells it of this process's.

        Raises:
            Exception: what ``make`` raised in the first process in which it did, here too.
        """
        if self._wire is None:
            return make()
        told = self._agreed(make)
        return [told[i % self.world][i // self.world] for i in range(n)]

    def together(self, make: Callable[[], T]) -> T:
        """Return what ``make`` makes here; what fails in one process is raised in all."""
        if self._wire is None:
            return make()
        made: list[T] = []
        self._agreed(lambda: made.append(make()))
        return made[0]

    def agree(self, make: Callable[[], T]) -> T:
        """Return what ``make`` makes in process 0, where alone it is called."""
        if self._wire is None:
            return make()
        if self.first:
            good, made = _tried(make)
            sent = torch.frombuffer(bytearray(_packed(good, made)), dtype=torch.uint8)
            self._wire.broadcast(torch.tensor([len(sent)]))
            self._wire.broadcast(sent)
        else:
            length = int(self._wire.broadcast(torch.tensor([0])))
            heard = self._wire.broadcast(torch.empty(length, dtype=torch.uint8))
            good, made = pickle.loads(heard.numpy().tobytes())
        if not good:
            raise self.shared(made)
        return made

    def each(self, numbers: Sequence[float]) -> list[list[float]]:
        """Return the numbers of every process, in the order of processes."""
        if self._wire is None:
            return [list(numbers)]
        return [told.tolist() for told in self._wire.all_gather(torch.tensor(numbers, dtype=torch.float64))]

    def sum(self, numbers: list[float]) -> list[float]:
        """Return the sums over all processes."""
        if self._wire is None or not numbers:
            return numbers
        return self._wire.all_reduce(torch.tensor(numbers, dtype=torch.float64)).tolist()

    def columns(self, groups: list[Tensor], n: int) -> list[Tensor]:
        """Return this process's columns of every task's rows, in the order of tasks.

        Args:
            groups: the rows of this process's tasks, [n_r, P_g] each; of one type.
            n: N, tasks in all.

        Returns:
            [N, w_g] each; a process may have no columns.
        """
        if self._wire is None:
            return groups
        cuts = [self._cuts(group.shape[1]) for group in groups]
        parts = [
            torch.cat([group[:, cut[s] : cut[s + 1]].reshape(-1) for group, cut in zip(groups, cuts, strict=True)])
            for s in range(self.world)
        ]
        widths = [cut[self.rank + 1] - cut[self.rank] for cut in cuts]
        counts = [len(range(r, n, self.world)) for r in range(self.world)]
        heard = self._wire.all_to_all(parts, [count * sum(widths) for count in counts])
        out = [group.new_empty(n, width) for group, width in zip(groups, widths, strict=True)]
        for r, (said, count) in enumerate(zip(heard, counts, strict=True)):
            for group, rows in zip(out, said.split([count * width for width in widths]), strict=True):
                group[r :: self.world] = rows.reshape(count, group.shape[1])
        return out

    def join(self, groups: list[Tensor], lengths: list[int]) -> list[Tensor]:
        """Return whole vectors [P_g] of this process's columns of them [w_g]; the lengths are P_g."""
        if self._wire is None:
            return groups
        cuts = [self._cuts(length) for length in lengths]
        each = [[cut[r + 1] - cut[r] for cut in cuts] for r in range(self.world)]
        mine = torch.cat(groups)
        room = max(map(sum, each))
        heard = self._wire.all_gather(torch.cat([mine, mine.new_zeros(room - len(mine))]))
        split = [said[: sum(widths)].split(widths) for said, widths in zip(heard, each, strict=True)]
        return [torch.cat(list(pieces)) for pieces in zip(*split, strict=True)]

    def shared(self, error: BaseException) -> BaseException:
        """Return an error that every process raises: the first alone says it."""
        if not self.first:
            vars(error)["silent"] = True  # of our errors an attribute; of others it tells ``crew.serve``
        return error

    def _cuts(self, length: int) -> list[int]:
        """Return where each process's columns begin, and the end: whole blocks, what is left over to the last."""
        blocks = max(1, length // BLOCK)
        per = -(-blocks // self.world)
        return [length if r * per >= blocks else r * per * BLOCK for r in range(self.world + 1)]

    def _agreed(self, make: Callable[[], T]) -> list[T]:
        """Return what ``make`` made in each process; what fails in one is raised in all."""
        good, made = _tried(make)
        answers = [pickle.loads(said) for said in self._exchange(_packed(good, made))]
        for rank, (fine, answer) in enumerate(answers):
            if not fine:
                raise self.shared(made if rank == self.rank else answer)
        return [made if rank == self.rank else answer for rank, (_, answer) in enumerate(answers)]

    def _exchange(self, message: bytes) -> list[bytes]:
        """Return every process's message. One exchange, unless one is longer than any before."""
        assert self._wire is not None
        while True:
            space = torch.zeros(_HEAD + self._room, dtype=torch.uint8)
            fits = message[: self._room]
            framed = len(message).to_bytes(_HEAD, "little") + fits
            space[: len(framed)] = torch.frombuffer(bytearray(framed), dtype=torch.uint8)
            heard = [each.numpy().tobytes() for each in self._wire.all_gather(space)]
            lengths = [int.from_bytes(each[:_HEAD], "little") for each in heard]
            if max(lengths) <= self._room:
                return [each[_HEAD : _HEAD + length] for each, length in zip(heard, lengths, strict=True)]
            self._room = max(lengths) * 17 // 16  # a little more: numbers vary in length


ALONE = Ranks()
"""One process."""


def _tried(make: Callable[[], T]) -> tuple[bool, Any]:
    """Return whether ``make`` succeeded, and what it made or raised."""
    try:
        return True, make()
    except LostError:  # there is nobody to tell
        raise
    except Exception as error:
        return False, error


def _packed(good: bool, made: Any) -> bytes:
    """Return a message of one attempt."""
    if good:
        return _bytes((good, made))
    try:
        message = _bytes((good, made))
        pickle.loads(message)
    except Exception:  # an error that cannot travel sends its words
        return _bytes((good, RuntimeError(f"{type(made).__name__}: {made}")))
    return message


class _Pickler(pickle.Pickler):
    """Writes tensors as arrays: torch's own way takes a kilobyte for each."""

    def reducer_override(self, obj: Any) -> Any:
        if (
            isinstance(obj, Tensor)
            and not obj.requires_grad
            and obj.is_contiguous()
            and obj.dtype is not torch.bfloat16
        ):
            return torch.from_numpy, (obj.cpu().numpy(),)
        return NotImplemented


def _bytes(tree: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(tree)
    return buffer.getvalue()
