"""The pack of all scripts: reused where it lies sound, else drawn beside its place and renamed into it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import features

from rotogbml._version import __version__
from rotogbml.children import cores
from rotogbml.errors import RotogbmlError, UsageError, did_you_mean
from rotogbml.files import cannot_write
from rotogbml.sources.glyphs.scripts import SCRIPTS
from rotogbml.sources.glyphs.source import draw_source
from rotogbml.sources.packed import SOURCE_FILE, PackedSource, open_pack
from rotogbml.sources.writer import replace_folder, restore_folder

DRAWING = 3
"""Raised by one whenever the same settings give other pixels than before."""
_SIZES = range(16, 257)
_IMAGES = range(2, 1001)
_CHILD = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {__name__} import _child; _child()"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_PARTIAL = ".glyphs-partial"
_ABANDONED_SECONDS = 3600.0
"""A build takes seconds: one left for so long was killed."""


def glyphs(
    out: str | Path | None = None,
    size: int = 32,
    images_per_class: int = 20,
    seed: int = 0,
    workers: int | None = None,
    scripts: Sequence[str] = SCRIPTS,
) -> Path:
    """Draw the embedded data and return the folder of its pack, one source for each script.

    The same settings give the same bytes, on any number of processes. A pack that lies there, made with the same
    settings and undamaged, is taken as it is; a damaged one, or one of other settings, is replaced when the new
    one is complete.

    Args:
        out: Folder of the pack; a folder of the user's cache where not given (``$ROTOGBML_CACHE``, or
            ``rotogbml`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``).
        size: Side of an image in pixels, 16 to 256; stored without a margin.
        images_per_class: Images of each character, 2 to 1000.
        seed: Of everything drawn by chance: the classes of large scripts, looks, images, splits.
        workers: Processes; as many as there are cores where not given.
        scripts: Some of ``SCRIPTS``; the images of one do not depend on which others are drawn.

    Raises:
        UsageError: A setting is out of range, a script is unknown, or ``out`` holds something else.
        RotogbmlError: The fonts are missing, or the disk refuses.
    """
    for name, value, allowed in (("size", size, _SIZES), ("images_per_class", images_per_class, _IMAGES)):
        if value not in allowed:
            raise UsageError(f"glyphs: {name}={value}: give a whole number from {allowed[0]} to {allowed[-1]}")
    if workers is not None and workers < 1:
        raise UsageError(f"glyphs: workers={workers}: give at least 1")
    if not scripts:
        raise UsageError("glyphs: scripts is empty: name at least one")
    for name in scripts:
        if name not in SCRIPTS:
            raise UsageError(f"glyphs: no script '{name}'{did_you_mean(name, SCRIPTS)}; known: {', '.join(SCRIPTS)}")
    scripts = tuple(sorted(set(scripts)))
    made = recipe(int(size), int(images_per_class), int(seed))
    folder = Path(out) if out is not None else _cache() / _name(scripts, made)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        restore_folder(folder)
        if _is_sound(folder, scripts, made):
            return folder
        if out is not None:
            _refuse_foreign(folder)
        _build(folder, scripts, made, workers or cores())
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def recipe(size: int, images_per_class: int, seed: int) -> dict[str, Any]:
    """Return all that decides the pixels, as it stands under ``made`` in every ``source.json``."""
    return {
        "generator": "glyphs",
        "drawing": DRAWING,
        "size": size,
        "margin": 0.0,
        "images_per_class": images_per_class,
        "seed": seed,
        "augment": "shape-safe",
        "versions": {
            "rotogbml": __version__,
            "matplotlib": version("matplotlib"),
            "pillow": PIL.__version__,
            "freetype": features.version("freetype2"),
            "numpy": np.__version__,
        },
    }


def _cache() -> Path:
    if own := os.environ.get("ROTOGBML_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rotogbml"


def _name(scripts: Sequence[str], made: dict[str, Any]) -> str:
    some = "" if tuple(scripts) == SCRIPTS else "-" + hashlib.sha256(" ".join(scripts).encode()).hexdigest()[:8]
    return f"glyphs{some}-{made['versions']['rotogbml']}-{made['size']}px-{made['images_per_class']}-seed{made['seed']}"


def _is_sound(folder: Path, scripts: Sequence[str], made: dict[str, Any]) -> bool:
    """Tell whether every script is there, made by this recipe, and every pixel is as it was written."""
    try:
        sources = open_pack(folder)
    except UsageError:
        return False
    return tuple(sources) == scripts and all(
        source.made == made and _is_undamaged(source) for source in sources.values()
    )


def _is_undamaged(source: PackedSource) -> bool:
    return hashlib.sha256(np.ascontiguousarray(source.images).data).hexdigest() == source.digest


def _refuse_foreign(folder: Path) -> None:
    """Let nothing be replaced that was not drawn here."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: give another folder for the glyphs")
    for entry in sorted(folder.iterdir()) if folder.exists() else []:
        head = entry / SOURCE_FILE
        if not head.is_file() or '"generator": "glyphs"' not in head.read_text(encoding="utf-8", errors="replace"):
            raise UsageError(f"{folder} holds something else ('{entry.name}'): give an empty or a new folder")


def _build(folder: Path, scripts: Sequence[str], made: dict[str, Any], workers: int) -> None:
    for left in folder.parent.glob(f".*{_PARTIAL}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left)
    # A name of its own: several processes may find the cache empty at once.
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=_PARTIAL, dir=folder.parent))
    try:
        partial = beside / folder.name
        partial.mkdir()
        _draw_all(partial, scripts, made, min(workers, len(scripts)))
        if not _is_sound(folder, scripts, made):
            replace_folder(partial, folder)
    except OSError:
        if not _is_sound(folder, scripts, made):
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _draw_all(folder: Path, scripts: Sequence[str], made: dict[str, Any], workers: int) -> None:
    """Draw every script into ``folder``, in this process or shared out over several."""
    if workers == 1:
        for script in scripts:
            draw_source(folder, script, made)
        return
    # Plain child programs: they need no guard in the caller's script, and inherit neither threads nor locks.
    environment = os.environ | dict.fromkeys(_THREADS, "1")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, json.dumps(sys.path), str(folder), json.dumps(made), *scripts[i::workers]],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for i in range(workers)
    ]
    try:
        for child in children:
            _, said = child.communicate()
            if child.returncode:
                last = said.strip().splitlines()[-1:] or [f"a process ended with {child.returncode}"]
                raise RotogbmlError(f"the glyphs could not be drawn: {last[0]}")
    finally:
        for child in children:
            child.kill()
            child.wait()


def _child() -> None:
    """Draw the scripts on the command line; what goes wrong is the last line of standard error."""
    folder, made = Path(sys.argv[2]), json.loads(sys.argv[3])
    try:
        for script in sys.argv[4:]:
            draw_source(folder, script, made)
    except OSError as error:
        sys.exit(str(cannot_write(folder, error)))
    except RotogbmlError as error:
        sys.exit(str(error))
