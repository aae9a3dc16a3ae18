"""Processes of our own: how many, and how each finds what its parent has imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def python(*arguments: str) -> list[str]:
    """Return the command of a Python like this one.

    With ``-P`` a file of the working folder that is called like a module is not imported in its place.
    """
    return [sys.executable, "-P", *arguments]


def environment(**more: str) -> dict[str, str]:
    """Return the environment in which such a process imports from where this one does, with ``more`` variables."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, **more}
