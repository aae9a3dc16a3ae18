"""What verbs that measure runs share: the command that measures again, and a bar while they count."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def command(verb: str, runs: Sequence[str], options: Mapping[str, Any]) -> str:
    """Return ``rotogbml VERB RUN… --NAME VALUE…``; several values are a list, an option that is None is left out."""
    said = ["rotogbml", verb, *runs]
    for name, value in options.items():
        if value is not None:
            said += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return shlex.join(said)


@contextmanager
def counting(what: str, total: int, unit: str = "") -> Generator[Callable[[int], None]]:
    """Show a bar with time left on a terminal, nothing elsewhere; yield what is told how many more are done."""
    console = Console(stderr=True)
    units = [TextColumn(unit)] if unit else []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *units, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)
