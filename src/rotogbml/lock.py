"""One writer at a time: a lock on a folder that its process cannot leave behind, even when it is killed."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rotogbml.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows has no such lock; there two packs into one place stay the user's care
    fcntl = None


@contextmanager
def locked(folder: Path, purpose: str) -> Generator[None]:
    """Hold the folder for this process.

    Raises:
        UsageError: Another process holds it.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is {purpose}: wait for it, or stop it") from None
        yield
    finally:
        os.close(handle)
