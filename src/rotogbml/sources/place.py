"""Where a pack is to lie: nothing of the user's is overwritten, and a full disk is said in one line."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.sources.packed import SOURCE_FILE
from rotogbml.sources.tree import Tree

SKIPPED_FILE = "skipped.csv"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_out(out: Path, tree: Tree) -> None:
    """Refuse a place where a pack would harm something.

    Raises:
        UsageError: It holds something that is no pack, or lies inside the images' folder, or a source has a name
            that a pack cannot hold.
    """
    root = tree.root.resolve()
    if out == root or (root.is_dir() and out.is_relative_to(root)):
        raise UsageError(f"OUT {out} lies inside ROOT {root}: give a place of its own, nothing was written")
    for source in tree.sources:
        if source.name == SKIPPED_FILE:
            raise UsageError(f"a source cannot be named '{SKIPPED_FILE}': rename its folder")
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"OUT {out} is a file: give another place, nothing was written")
    for item in sorted(out.iterdir()):
        if not (item.name in (SKIPPED_FILE, ".DS_Store") or (item / SOURCE_FILE).is_file()):
            raise UsageError(f"OUT {out} is no pack, it holds '{item.name}': give another place, nothing was written")


def check_space(partial: Path, needed: int) -> None:
    """Refuse to begin what cannot end: ``needed`` bytes in all, what an interrupted run has left counted.

    Raises:
        RotogbmlError: There is less space.
    """
    there = sum(getattr(f.stat(), "st_blocks", 0) * 512 for f in partial.rglob("*") if f.is_file())
    free = shutil.disk_usage(partial).free
    if free + there < needed:
        raise RotogbmlError(
            f"not enough space at {partial.parent}: {(needed - there) / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free: "
            "free some, give an OUT on another disk, or a smaller size"
        )


def disk_error(error: OSError, out: Path, partial: Path) -> RotogbmlError:
    """Return an error for people from one of the system's."""
    old = "the pack that was there is untouched" if out.exists() else "no pack was written"
    if error.errno in _FULL and not partial.exists():
        return RotogbmlError(f"disk full while packing into {out}: free some space and run the same command; {old}")
    if error.errno in _FULL:
        return RotogbmlError(
            f"disk full while packing into {partial}: free some space and run the same command, it goes on from there "
            f"(or remove that folder); {old}"
        )
    return RotogbmlError(f"cannot write {error.filename or partial}: {error.strerror or error}; {old}")
