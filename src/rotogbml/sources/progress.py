"""How far a long piece of work has come: a bar with time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

PLAIN_SECONDS = 10.0


@contextmanager
def progress(what: str, total: int, show: bool = True) -> Generator[Callable[[int], None]]:
    """Yield a function that is told how many more images are done; all output goes to standard error.

    Args:
        what: What is being done, such as ``packing``.
        total: Images in all.
        show: Whether anything is printed.
    """
    if not show:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(what, total, console.print)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def _plain(what: str, total: int, say: Callable[[str], None]) -> Callable[[int], None]:
    start = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= PLAIN_SECONDS:
            last = now
            left = (now - start) * (total - done) / max(done, 1)
            say(f"{what}: {done:,} of {total:,} images, about {left:.0f} s left")

    return advance
