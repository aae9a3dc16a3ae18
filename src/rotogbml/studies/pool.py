"""Cells in parallel: on this machine's cores, or on a cluster. Both hand back outcomes as they come."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

from rotogbml.children import cores, environment, python
from rotogbml.errors import UsageError
from rotogbml.studies.cell import OUTCOME, Work, carry_out
from rotogbml.studies.ledger import Outcome

Found = tuple[Work, Outcome | str]
"""A cell's outcome, or why it has none."""


class Pool(Protocol):
    """Where cells are carried out."""

    workers: int
    """How many at once, as far as it can be told."""

    def run(self, works: Sequence[Work]) -> Iterator[Found]:
        """Carry out all of them and yield each as it ends."""
        ...


class Cores:
    """This machine: ``workers`` processes of one thread each; none begins after ``end`` of the monotonic clock.

    A cell's process ends when this one does, however it ends; what it trained is in its run folder.
    """

    def __init__(self, workers: int, end: float = math.inf) -> None:
        self.workers, self.end = workers, end

    def run(self, works: Sequence[Work]) -> Iterator[Found]:
        """Carry out all of them, in their order as processes come free, and yield each as it ends."""
        children = _Children(self.end)
        with ThreadPoolExecutor(self.workers) as pool:
            left = {pool.submit(children.carry_out, work): work for work in works}
            try:
                yield from _as_they_come(left)
            finally:  # Ctrl-C, or nobody wants the rest
                for future in left:
                    future.cancel()
                children.end()


def _as_they_come(left: dict[Future[Outcome | str | None], Work]) -> Iterator[Found]:
    waiting = set(left)
    while waiting:
        ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in ended:
            found = future.result()
            if found is not None:
                yield left[future], found


class _Children:
    """The processes that are at work."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.living: set[subprocess.Popen[bytes]] = set()
        self.lock = threading.Lock()
        self.over = False

    def carry_out(self, work: Work) -> Outcome | str | None:
        """Carry out one cell in a process of its own; return its outcome, why it has none, or None: not begun."""
        work.folder.mkdir(parents=True, exist_ok=True)
        (work.folder / OUTCOME).unlink(missing_ok=True)
        command = python("-c", "from rotogbml.studies.cell import serve; serve()")
        with self.lock:
            if self.over or time.monotonic() > self.until:
                return None
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(OMP_NUM_THREADS="1")
            )
            self.living.add(child)
        assert child.stdin is not None
        try:
            child.stdin.write(pickle.dumps(work))
            child.stdin.flush()
            code = child.wait()
        except BrokenPipeError:
            code = child.wait()
        finally:
            with self.lock:
                self.living.discard(child)
            child.stdin.close()
        return outcome_of(work) if code == 0 else f"its process ended with {code}: {last_words(work.folder)}"

    def end(self) -> None:
        """End all that live: a run is saved by then, or goes on from its last checkpoint."""
        with self.lock:
            self.over = True
            for child in self.living:
                child.terminate()


class Cluster:
    """A cluster through submitit: ``local`` (processes of this machine, to try it) or ``slurm``.

    Args:
        kind: the executor.
        folder: for submitit's own files; on a cluster all machines must see it.
        options: of the executor, such as ``timeout_min`` or ``slurm_partition``.

    Raises:
        UsageError: submitit is not installed, or does not know the cluster or an option.
    """

    def __init__(self, kind: str, folder: Path, options: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError:
            raise UsageError("a cluster needs submitit: pip install 'rotogbml[sweep]'") from None
        self.workers = int(options.get("slurm_array_parallelism", 256))
        try:
            self.executor = submitit.AutoExecutor(folder=folder, cluster=kind)
            self.executor.update_parameters(**{"cpus_per_task": 1, "timeout_min": 24 * 60, **options})
        except (ValueError, TypeError, NameError, RuntimeError) as error:
            raise UsageError(f"cluster {kind} cannot be used: {' '.join(str(error).split())}") from error

    def run(self, works: Sequence[Work]) -> Iterator[Found]:
        """Submit all of them as one array and yield each as it ends."""
        for work in works:
            work.folder.mkdir(parents=True, exist_ok=True)
        waiting = list(zip(works, self.executor.map_array(carry_out, works), strict=True))
        try:
            while waiting:
                ended = [(work, job) for work, job in waiting if job.done()]
                waiting = [(work, job) for work, job in waiting if (work, job) not in ended]
                for work, job in ended:
                    error = job.exception()
                    yield work, (job.result() if error is None else f"job {job.job_id}: {_last_line(str(error))}")
                time.sleep(0.0 if ended else 1.0)
        finally:
            for _, job in waiting:
                job.cancel()


def check_workers(workers: int | None) -> None:
    """Raise UsageError where a number of workers cannot be."""
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}: give at least 1, or leave it out")


def create_pool(
    folder: Path, workers: int | None, stop_after: float | None, cluster: str, cluster_options: Mapping[str, Any] | None
) -> Pool:
    """Return where a study's cells are carried out.

    Args:
        folder: of the study.
        workers: at once, on this machine; as many as cores where None.
        stop_after: minutes from now after which none is begun here; None: no end.
        cluster: kind of ``Cluster``; empty: this machine.
        cluster_options: of its executor.

    Raises:
        UsageError: the cluster cannot be used.
    """
    if cluster:
        return Cluster(cluster, folder / "jobs", cluster_options or {})
    return Cores(workers or cores(), math.inf if stop_after is None else time.monotonic() + 60 * stop_after)


def outcome_of(work: Work) -> Outcome | str:
    """Return what a cell left, or that it left nothing."""
    try:
        return json.loads((work.folder / OUTCOME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"it left no outcome ({error})"


def last_words(folder: Path) -> str:
    """Return the last line of a cell's log."""
    try:
        return _last_line((folder / "log.txt").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return "it said nothing"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
