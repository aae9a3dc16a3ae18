"""Compile the C sources once for this processor, and load them.

No compiler is needed: where none is found, or it fails, ``library()`` is None and torch's own operators do the same
work in more passes. What was compiled is kept in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``) under
a name that sources, compiler, flags and processor give. ``ROTOGBML_NATIVE=0`` in the environment leaves it all out.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

SOURCES = tuple(Path(__file__).with_name(name) for name in ("fused.c", "isi.c"))

_FLAGS = ("-O3", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros")
"""Sums may be reordered, so that they are vectorised; infinities and NaN stay what they are. Not -ffast-math: linking
with it makes every thread of the program round small numbers to zero."""

_FOR = (("-march=native",), ("-mcpu=native",), ())
"""Tried in this order: compilers differ in what they call this very processor."""

_SECONDS = 120

log = logging.getLogger(__name__)


def available() -> bool:
    """Say whether the compiled passes are used in this process."""
    return library() is not None


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """Return the compiled passes, or None where there are none."""
    if os.environ.get("ROTOGBML_NATIVE") == "0" or os.name != "posix":
        return None
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        log.info("no C compiler here: computing without compiled passes")
        return None
    try:
        path = _compiled(compiler)
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            path.unlink(missing_ok=True)  # cut short, or of another system: made anew next time
            raise
    except (OSError, subprocess.SubprocessError) as error:
        log.info("compiling failed, computing without compiled passes: %s", error)
        return None


def _compiled(compiler: str) -> Path:
    """Return the library, made if it is not there yet: under another name first, then renamed."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rotogbml"
    path = folder / f"native-{_digest(compiler)}.so"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, made = tempfile.mkstemp(suffix=".so", dir=folder)
    os.close(handle)
    try:
        error: subprocess.SubprocessError = subprocess.SubprocessError("no way to call the compiler is known")
        for own in _FOR:
            command = [compiler, *_FLAGS, *own, *map(str, SOURCES), "-o", made, "-lm"]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
            except subprocess.CalledProcessError as failed:
                error = failed
            else:
                Path(made).replace(path)
                return path
        raise error
    finally:
        Path(made).unlink(missing_ok=True)


def _digest(compiler: str) -> str:
    parts = [compiler, *_FLAGS, platform.machine(), _processor()]
    h = hashlib.sha256("\n".join(parts).encode())
    for source in SOURCES:
        h.update(source.read_bytes())
    return h.hexdigest()[:16]


def _processor() -> str:
    """Return what names this processor: a home folder may be shared by unlike ones."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(line for line in lines[:40] if line.startswith(("model name", "flags", "Features", "CPU part")))
