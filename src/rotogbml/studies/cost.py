"""What a cell's training cost: parameters, memory, seconds; and how it learned over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rotogbml.training import checkpoint
from rotogbml.training.run import RunFolder


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
