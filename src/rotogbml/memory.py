"""Keep freed memory instead of handing it back to the system between two steps.

PyTorch's CPU tensors come from malloc. glibc returns every large block to the system as soon as it is freed, and the
next step pays for it again, page by page: a quarter of a step's time (docs/log.md). Two settings of glibc's own, made
inside the process, keep the pages. Memory that a step needed once stays with the process, and freed memory of one size
cannot always serve another: peak memory grows by about a tenth (conv4-64 at 84 px, second order: 1.04 → 1.15 GiB). The
verbs set this, importing the library does not. ``ROTOGBML_ALLOCATOR=system`` leaves everything as the system has it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Generator

from rotogbml.errors import RotogbmlError

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def ran_out(error: BaseException) -> bool:
    """Say whether an error means that memory ran out.

    On a processor torch raises a bare RuntimeError for it; its words differ between systems.
    """
    said = ("not enough memory", "can't allocate memory", "Cannot allocate memory")
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and any(words in str(error) for words in said))


@contextlib.contextmanager
def saying_what_to_lower(mend: str) -> Generator[None]:
    """Turn running out of memory into an error for people, which ends with the mend.

    Raises:
        RotogbmlError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise RotogbmlError(f"out of memory{mend}") from error


def keep_freed_memory() -> bool:
    """Set glibc's malloc to keep what is freed; return whether it was done (only on Linux with glibc)."""
    if os.environ.get("ROTOGBML_ALLOCATOR") == "system" or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
