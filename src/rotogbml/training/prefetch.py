"""The next minibatch is drawn while this one trains.

A minibatch is a pure function of its step, so that whoever draws it, whenever, draws the same to the bit. One is drawn
ahead, by one thread, which computes with one thread of its own: what it takes is time of a core that training leaves
idle and the memory of one minibatch (27 MB at N = 4, 80 images of 84 px). Where training keeps every core busy there is
nothing to win, and drawing beside it costs more than between two steps (docs/log.md); there nothing is drawn ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

import torch

from rotogbml.children import cores

T = TypeVar("T")


def idle_core(device: torch.device, processes: int = 1) -> bool:
    """Say whether training leaves a core idle: on a GPU, or with fewer threads than there are cores.

    Args:
        device: where steps compute.
        processes: of the same training on this machine, each with as many threads as this one.
    """
    return device.type != "cpu" or processes * torch.get_num_threads() < cores()


class Prefetch(Generic[T]):
    """Calls ``draw(step)``, a step ahead where that is wanted. Use it in a ``with`` statement, which ends its thread.

    Args:
        draw: from a step to its minibatch; a pure function.
        ahead: whether to draw a step ahead; False: when asked.
        stop: the first step that will not be asked for; None: unknown.
    """

    def __init__(self, draw: Callable[[int], T], ahead: bool = True, stop: int | None = None) -> None:
        self.draw, self.ahead, self.stop = draw, ahead, stop
        self._pool: ThreadPoolExecutor | None = None
        self._next: tuple[int, Future[T]] | None = None

    def __enter__(self) -> Self:
        """Start the thread."""
        if self.ahead:
            self._pool = ThreadPoolExecutor(1, "prefetch", _alone)
            # A thread's number of threads is its own, but threads yet to come take the number that was set last.
            threads = torch.get_num_threads()
            self._pool.submit(int).result()
            torch.set_num_threads(threads)
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread; a minibatch being drawn is finished and forgotten."""
        pool, self._pool, self._next = self._pool, None, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> T:
        """Return ``draw(step)``, and let the next one be drawn.

        Raises:
            Exception: what ``draw`` raised at this very step.
        """
        waiting, self._next = self._next, None
        try:
            return waiting[1].result() if waiting is not None and waiting[0] == step else self.draw(step)
        finally:
            if self._pool is not None and (self.stop is None or step + 1 < self.stop):
                self._next = step + 1, self._pool.submit(self.draw, step + 1)


def _alone() -> None:
    """Compute with one thread: a second pool of threads would push those of the step off their cores."""
    torch.get_num_threads()  # a thread's first question takes the common number: later it would undo the next line
    torch.set_num_threads(1)
