"""What one sees while it trains: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


def clock(seconds: float) -> str:
    """Return a duration as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class TrainingProgress:
    """Step, loss, accuracy, validation, tasks a second and time left.

    Args:
        total: steps in all, or None where the clock decides.
        minutes: the clock's limit, or None.
        start: the step that is resumed from.
        quiet_seconds: without a terminal, at least so long between two lines.
        silent: show nothing: another process does.
    """

    def __init__(
        self,
        total: int | None,
        minutes: float | None,
        start: int,
        quiet_seconds: float = 10.0,
        silent: bool = False,
    ) -> None:
        self.total, self.minutes = total, minutes
        self.quiet_seconds = math.inf if silent else quiet_seconds
        self.console = Console(file=sys.stderr)
        self.live = self.console.is_terminal and not silent
        self.validated = ""
        self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), console=self.console
        )
        self._task = self._bar.add_task("", total=1.0)
        self.start = start

    def __enter__(self) -> Self:
        """Show the live line."""
        if self.live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last line standing."""
        if self.live:
            self._bar.stop()

    def update(self, step: int, loss: float, accuracy: float, rate: float, seconds: float, left: float) -> None:
        """Show where training stands; ``rate`` is in tasks a second, ``left`` in seconds."""
        of = f"/{self.total}" if self.total is not None else ""
        text = f"step {step}{of}  loss {loss:.3f}  acc {accuracy:5.1%}{self.validated}  {rate:.1f} tasks/s"
        text += f"  {clock(left)} left"
        if self.live:
            share = step / self.total if self.total is not None else seconds / (60 * (self.minutes or 1))
            self._bar.update(self._task, description=text, completed=min(share, 1.0))
        elif time.monotonic() - self._said >= self.quiet_seconds:
            self._said = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def validation(self, accuracy: float, ci95: float) -> None:
        """Remember the latest validation for the lines to come."""
        self.validated = f"  val {accuracy:.1%} ± {ci95:.1%}"
