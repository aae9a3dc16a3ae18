"""Writing that never costs what is already there: a temporary name, then a rename."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from rotogbml.errors import RotogbmlError


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write ``data`` so that ``path`` holds, at every moment, either what it held before or all of it.

    Raises:
        RotogbmlError: the disk is full or the place cannot be written; what stood at ``path`` still stands.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk itself, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder, or see that files can be written to the one that is there.

    Raises:
        RotogbmlError: it cannot be made, or not be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> RotogbmlError:
    """Return an error for people from one of the system's."""
    if error.errno == errno.ENOSPC:
        return RotogbmlError(f"disk full while writing {path}: free some space and run the same command again")
    return RotogbmlError(f"cannot write {path}: {error.strerror or error}")
