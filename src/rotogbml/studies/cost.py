"""What a cell's training cost: parameters, memory, seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
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


def seconds_at(run: Path, steps: Sequence[int]) -> list[float]:
    """Return the seconds of training that were gone at some steps: between two times of the run's clock, in proportion.

    Empty where the clock wrote nothing.
    """
    path = run / "timing.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    told = {line["step"]: line["seconds"] for line in map(json.loads, (x for x in lines if x.endswith("}")))}
    if not told:
        return []
    at = [0, *sorted(told)]
    return [round(float(s), 2) for s in np.interp(steps, at, [0.0, *(told[step] for step in at[1:])])]
