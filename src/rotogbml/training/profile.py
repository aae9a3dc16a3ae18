"""``rotogbml train --profile``: what a few steps of a run spend their time on.

    RUN/profile/trace.json.gz    every operator of three steps, for Perfetto or chrome://tracing
    RUN/profile/table.md         seconds of a step by family (``families.py``), and memory

The first two steps of a command warm up; the next three are recorded; after that nothing is left of it. ISI,
homogenizer, validation and saving are made ranges of the trace from here, for as long as it records, so that nothing
has to be asked where they are called. Nothing is drawn or computed otherwise: a run's digest is the same with and
without.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import importlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Self

import torch
from rich.console import Console
from rich.table import Table

from rotogbml.files import write_atomic
from rotogbml.training.families import BETWEEN_STEPS, FAMILIES, NORM, STEP, kernel_seconds, seconds_by_family

log = logging.getLogger(__name__)

WARM_UP, STEPS = 2, 3

WATCHED = {
    "rotogbml.encoders.isi:Masks.__call__": "ISI",
    "rotogbml.encoders.isi:Isi.draw": "ISI",
    "rotogbml.encoders.norm:Norm.forward": NORM,
    "rotogbml.homogenizer:RotoGBML.rotations": "homogenizer",
    "rotogbml.homogenizer:RotoGBML.fresh_rotations": "homogenizer",
    "rotogbml.homogenizer:RotoGBML.weights": "homogenizer",
    "rotogbml.homogenizer:RotoGBML.update": "homogenizer",
    "rotogbml.homogenizer:RotoGBML.combine": "homogenizer",
    "rotogbml.homogenizer:Turn.__call__": "homogenizer",
    "rotogbml.homogenizer:Turn.back": "homogenizer",
    "rotogbml.training.step:pull_back": "homogenizer",
    "rotogbml.training.trainer:Trainer.validate": "validation",
    "rotogbml.training.state:State.save": "saving",
}
"""What is made a range while it records: ``module:name`` → family."""

_recording = False


def span(family: str) -> contextlib.AbstractContextManager[object]:
    """Return a range of the trace, or where none is recorded a context that does nothing."""
    return torch.profiler.record_function(family) if _recording else _NOTHING


_NOTHING = contextlib.nullcontext()


class NoProfile:
    """What a run without ``--profile`` is told its steps."""

    def __enter__(self) -> Self:
        """Begin nothing."""
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        """End nothing."""

    def step(self) -> None:
        """Do nothing."""


NO_PROFILE = NoProfile()


class Profile(NoProfile):
    """Records steps ``WARM_UP`` + 1 … ``WARM_UP`` + ``STEPS`` of a command, then writes.

    Args:
        folder: where trace and table go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen = 0
        self.resident = 0.0
        self._open: contextlib.ExitStack | None = None
        self._step: Any = None
        self._profiler: Any = None

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        """Stop; write what there is, where a run ends, or is stopped, before all its steps are recorded."""
        recorded = max(0, self.seen - WARM_UP)
        if self._open is not None:
            failed = kind is not None and not issubclass(kind, KeyboardInterrupt)
            self._stop(0 if failed else recorded)
        if not recorded:
            log.warning(
                "--profile needs %d steps, %d of them to warm up, and this command took %d: no profile was written",
                *(WARM_UP + 1, WARM_UP, self.seen),
            )

    def step(self) -> None:
        """Tell that a step is over."""
        self.seen += 1
        if self.seen == WARM_UP:
            self._start()
        elif self._open is not None and self.seen == WARM_UP + STEPS:
            self._stop(STEPS)
        elif self._open is not None:
            self._end_step()
            self._begin_step()

    def _start(self) -> None:
        # Below this level the profiler tells standard error when it starts and stops.
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self.resident = _memory_begins_anew()
        self._open = contextlib.ExitStack()
        self._profiler = self._open.enter_context(torch.profiler.profile(activities=activities))
        self._open.enter_context(_ranges())
        self._begin_step()

    def _begin_step(self) -> None:
        self._step = torch.profiler.record_function(STEP)
        self._step.__enter__()

    def _end_step(self) -> None:
        self._step.__exit__(None, None, None)

    def _stop(self, steps: int) -> None:
        """Stop, and write of so many steps."""
        assert self._open is not None
        self._end_step()
        self._open.close()
        self._open = None
        if not steps:
            return
        peak = _peak_memory()
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "trace.json"
            self._profiler.export_chrome_trace(str(raw))
            trace = json.loads(raw.read_text(encoding="utf-8"))
        for private in ("host_name", "traceName"):
            trace.pop(private, None)
        write_atomic(self.folder / "trace.json.gz", gzip.compress(json.dumps(trace).encode(), 5, mtime=0))
        seconds = seconds_by_family(trace["traceEvents"], autograd_functions(), steps)
        computed = gpu_lines(kernel_seconds(trace["traceEvents"], steps))
        lines = [*between_steps(seconds, steps), *computed, *memory_lines(self.resident, peak)]
        write_atomic(self.folder / "table.md", markdown(seconds, steps, lines))
        show(seconds, steps, lines, self.folder)


@contextlib.contextmanager
def _ranges() -> Generator[None]:
    """Make ranges of all that is ``WATCHED``."""
    global _recording
    with contextlib.ExitStack() as back:
        for where, family in WATCHED.items():
            owner, name = owner_of(where)
            plain = vars(owner)[name]
            setattr(owner, name, _ranged(plain, family))
            back.callback(setattr, owner, name, plain)
        _recording = True
        try:
            yield
        finally:
            _recording = False


def owner_of(where: str) -> tuple[Any, str]:
    """Return the module or class that holds what ``WATCHED`` names, and its name there."""
    module, path = where.split(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for cls in classes:
        owner = getattr(owner, cls)
    return owner, name


def _ranged(call: Callable[..., Any], family: str) -> Callable[..., Any]:
    @functools.wraps(call)
    def ranged(*args: Any, **options: Any) -> Any:
        with torch.profiler.record_function(family):
            return call(*args, **options)

    return ranged


def autograd_functions() -> frozenset[str]:
    """Return the names of the autograd functions that the encoders have of their own."""
    modules = [module for name, module in sys.modules.items() if name.startswith("rotogbml.encoders")]
    return frozenset(
        name
        for module in modules
        for name, thing in vars(module).items()
        if isinstance(thing, type) and issubclass(thing, torch.autograd.Function)
    )


def rows(seconds: dict[str, float]) -> list[tuple[str, str, str]]:
    """Return the table's rows: family, milliseconds of a step, per cent; those that took no time are left out."""
    parts = [(family, seconds[family]) for family in FAMILIES if seconds[family] > 0 and family not in BETWEEN_STEPS]
    whole = sum(s for _, s in parts)
    return [(family, f"{1e3 * s:,.2f}", f"{100 * s / whole:.1f}") for family, s in [*parts, ("a step", whole)]]


def between_steps(seconds: dict[str, float], steps: int) -> list[str]:
    """Return what there is to say of what happened between these steps."""
    took = [f"{family} {steps * seconds[family]:.3f} s" for family in BETWEEN_STEPS if seconds[family] > 0]
    return [f"between these steps, and in no row: {', '.join(took)}"] if took else []


def gpu_lines(seconds: float) -> list[str]:
    """Return what there is to say of a GPU that computed for so many seconds a step."""
    said = "the rows are the processor's time, which begins its work and waits for it"
    return [f"the GPU computed {1e3 * seconds:,.2f} ms a step; {said}"] if seconds else []


def markdown(seconds: dict[str, float], steps: int, more: list[str]) -> str:
    """Return ``table.md``."""
    lines = [f"Mean of {steps} steps after {WARM_UP}; the profiler's own cost is in it.", ""]
    lines += ["| family | ms a step | % |", "|---|---:|---:|"]
    lines += [f"| {family} | {milliseconds} | {share} |" for family, milliseconds, share in rows(seconds)]
    return "\n".join([*lines, *(f"\n{line}" for line in more)]) + "\n"


def show(seconds: dict[str, float], steps: int, more: list[str], folder: Path) -> None:
    """Print the table."""
    table = Table(title=f"profile: mean of {steps} steps after {WARM_UP}", title_justify="left")
    table.add_column("family")
    table.add_column("ms a step", justify="right")
    table.add_column("%", justify="right")
    for row in rows(seconds):
        table.add_row(*row)
    console = Console()
    console.print(table)
    for line in [*more, f"profile: {folder}"]:
        console.print(line, soft_wrap=True, highlight=False)


def memory_lines(before: float, peak: float) -> list[str]:
    """Return what there is to say of memory: MB resident between two steps, and at the peak of one."""
    lines = [f"memory: {before:,.0f} MB between steps, {peak:,.0f} MB at the peak of one"] if peak else []
    if torch.cuda.is_available():
        lines.append(f"memory on the GPU: {torch.cuda.max_memory_allocated() / 1e6:,.0f} MB at the peak")
    return lines


def _memory_begins_anew() -> float:
    """Forget the highest memory so far, where the system can; return what is resident now, MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    return _status("VmRSS")


def _peak_memory() -> float:
    return _status("VmHWM")


def _status(key: str) -> float:
    """Return a line of this process's status in MB, 0 where the system has none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(key)), 0.0)
