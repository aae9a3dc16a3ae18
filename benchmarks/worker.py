"""One way in a process of its own, told by a pipe to take a step: what is timed stays apart.

The allocator's setting holds for a whole process and cannot be taken back, and a peak of memory is a process's. So each
way lives in its own, and the parent lets them take turns. Messages are lines of JSON on standard input and output.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from benchmarks.work import Work

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 1800.0
"""Seconds after which a step is given up: a machine may be very busy."""


class WorkerError(Exception):
    """A way that broke, with the last line it said."""


class Worker:
    """The parent's end.

    Args:
        work: what step.
        way: a name of ``ways.rows``.
        tasks: which of the N tasks it takes; None: all.
        threads: None leaves torch's default, all cores.
        device: ``cpu`` or ``cuda``, where memory is the GPU's.

    What is asked raises WorkerError where the way could not be built, or a step of it failed or took too long.
    """

    def __init__(
        self,
        work: Work,
        way: str,
        tasks: Sequence[int] | None = None,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        command = [sys.executable, "-m", "benchmarks.worker"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        listed = None if tasks is None else list(tasks)
        self.base: dict[str, Any] = {}
        self.send({"work": work.to_json(), "way": way, "tasks": listed, "threads": threads, "device": device})

    def ready(self) -> Self:
        """Wait until the way is built, and return itself."""
        self.base = self.answer()
        return self

    def send(self, message: dict[str, Any]) -> None:
        """Ask for something."""
        assert self.process.stdin is not None
        try:
            print(json.dumps(message), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise self._broken() from None

    def answer(self) -> dict[str, Any]:
        """Wait for what comes back."""
        assert self.process.stdout is not None
        late = threading.Timer(PATIENCE, self.process.kill)
        late.start()
        try:
            line = self.process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            raise self._broken()
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(line.strip() for line in self.process.stderr if line.strip())

    def _broken(self) -> WorkerError:
        code = self.process.wait()
        time.sleep(0.1)  # the listener's last line
        return WorkerError(self.said[-1] if self.said else f"ended with {code} and said nothing")


def serve() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    asked = (json.loads(line) for line in sys.stdin)

    def tell(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    import torch

    from benchmarks.ways import rows
    from benchmarks.work import minibatch
    from rotogbml.memory import keep_freed_memory

    setting = next(asked)
    work, tasks = Work(**setting["work"]), setting["tasks"]
    if setting["threads"] is not None:
        torch.set_num_threads(setting["threads"])
    row = rows(work)[setting["way"]]
    if row.keeps:
        keep_freed_memory()
    mine = work if tasks is None else replace(work, tasks=len(tasks))
    way = row.make(mine, torch.float32)
    device = torch.device(setting["device"])
    on_gpu = device.type == "cuda"
    if on_gpu:
        # As ``rotogbml train`` has it, for all ways alike: float32 means float32.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    way.to(device)
    tell({"threads": torch.get_num_threads(), "base_mb": 0.0 if on_gpu else _status("VmRSS")})
    for message in asked:
        if message.get("count"):
            tell({"flops": _count(way, [e.to(device) for e in minibatch(work, 0, [0])])})
            continue
        episodes = [e.to(device) for e in minibatch(work, message["step"], message.get("tasks", tasks))]
        _peak_begins_anew()
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        notes = way.step(episodes)
        if on_gpu:
            torch.cuda.synchronize()
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        tell(
            {
                "seconds": seconds,
                "cpu": after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime,
                "system": after.ru_stime - before.ru_stime,
                "faults": after.ru_minflt - before.ru_minflt,
                "peak_mb": torch.cuda.max_memory_allocated() / 1e6 if on_gpu else _status("VmHWM"),
                "notes": notes,
            }
        )


def _count(way: Any, episodes: Sequence[Any]) -> int:
    """Return the operations of convolutions and matrix products in a step, two a multiplication."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        way.step(episodes)
    return counter.get_total_flops()


def _peak_begins_anew() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> float:
    """Return a line of /proc/self/status in MB; where there is none, the highest since the process began."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(key))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    serve()
