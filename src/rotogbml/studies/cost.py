"""What a cell cost: parameters, memory and seconds of its training, seconds of a test task; and how it learned."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rotogbml.episodes import Episode, Examples
from rotogbml.evaluation.methods import Adapted, Method
from rotogbml.evaluation.work import Test
from rotogbml.training import checkpoint
from rotogbml.training.run import RunFolder

_TIMED = 5
"""Test tasks that are timed, after one that is not; their median counts."""


def training_cost(run: Path) -> dict[str, Any]:
    """Return what this process's training of a run took; to be asked before anything else needs memory.

    ``parameters``: learned numbers. ``training_seconds``: of the clock, validation in them. ``memory``: the most bytes
    that this process held so far (on CUDA: that torch held there); None where the system does not say.
    """
    folder = RunFolder(run)
    seconds = checkpoint.load(folder.checkpoints / "last.pt").get("seconds", 0.0)
    return {
        "parameters": folder.read_record().get("parameters"),
        "training_seconds": round(float(seconds), 2),
        "memory": peak_memory(),
    }


def peak_memory() -> int | None:
    """Return the most bytes that this process has held; None where the system does not say.

    Linux's VmHWM belongs to this program alone, where ``getrusage`` also knows of the one that started it.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None


def adaptation(method: Method, test: Test) -> dict[str, float]:
    """Return seconds of one thread for a new task, images decoded: to be ready for it, and then for each query.

    A task is timed with one query and with all of them; what the others add is the time of a query. No feature is
    remembered from one task to the next, as it is where the same test images are asked for again and again.
    """
    label = _label(method)
    ready, each = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for index in range(_TIMED + 1):
            episode = test.episode(index)
            queries = episode.query
            alone = replace(episode, query=Examples(queries.x[:1], queries.y[:1]))
            one, all_ = _seconds(label, alone), _seconds(label, episode)
            if index:  # the first one also reserves memory
                query = max(0.0, all_ - one) / max(1, len(queries.y) - 1)
                each.append(query)
                ready.append(max(0.0, one - query))
    finally:
        torch.set_num_threads(threads)
    return {"adapt_seconds": float(f"{np.median(ready):.4g}"), "predict_seconds": float(f"{np.median(each):.4g}")}


def _label(method: Method) -> Callable[[Episode], Any]:
    if isinstance(method, Adapted):
        return lambda episode: method.learner.predict(method.psi, episode)
    return method.scores


def _seconds(label: Callable[[Episode], Any], episode: Episode) -> float:
    began = time.perf_counter()
    label(episode)
    return time.perf_counter() - began


def course_of(run: Path) -> list[list[float]]:
    """Return [step, seconds, validation accuracy] of each validation; seconds between two times of the clock's log."""
    timing = {line["step"]: line["seconds"] for line in _lines(run / "timing.jsonl")}
    found = [line for line in _lines(run / "metrics.jsonl") if line.get("kind") == "val"]
    if not timing or not found:
        return []
    steps = [0, *sorted(timing)]
    clock = [0.0, *(timing[step] for step in steps[1:])]
    at = np.interp([line["step"] for line in found], steps, clock)
    return [[line["step"], round(float(s), 2), round(line["accuracy"], 5)] for line, s in zip(found, at, strict=True)]


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
