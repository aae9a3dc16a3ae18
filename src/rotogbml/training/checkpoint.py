"""Checkpoints that survive a kill at any moment.

``last.pt`` is written under a temporary name and renamed; the one before stays as ``previous.pt``. A file is an
ordinary ``torch.save`` archive, a zip whose records carry checksums: a damaged one is recognised, named and passed
over. Nothing but tensors and plain containers is stored, so it loads with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rotogbml.errors import RotogbmlError
from rotogbml.files import cannot_write, write_atomic

FORMAT = 2


class LaterFormatError(RotogbmlError):
    """Written by a later version: not damaged, and never passed over."""


class DamagedError(RotogbmlError):
    """What was saved cannot be read any more; another file may serve."""


log = logging.getLogger(__name__)


def save(path: Path, state: dict[str, Any], keep_previous: bool = False) -> None:
    """Write ``state`` atomically; with ``keep_previous`` the file that stood there becomes ``previous.pt``.

    Raises:
        RotogbmlError: the disk is full or the place cannot be written; the checkpoint before is kept.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    fresh = path.with_name(f"{path.stem}.new{path.suffix}") if keep_previous else path
    write_atomic(fresh, buffer.getvalue())
    if keep_previous:
        try:
            # Between these two renames there is no last.pt, but previous.pt and the new file are whole.
            if path.exists():
                path.replace(path.with_name("previous.pt"))
            fresh.replace(path)
        except OSError as error:
            raise cannot_write(path, error) from error


def load(path: Path) -> dict[str, Any]:
    """Return the state in ``path``.

    Raises:
        DamagedError: the file is damaged.
        RotogbmlError: it is absent, no checkpoint, or written by a later version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise DamagedError(f"checkpoint {path} is damaged (record {broken})")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RotogbmlError(f"no checkpoint {path}: train first, or name another with --checkpoint") from error
    except pickle.UnpicklingError as error:  # torch's own words advise to load it unsafely
        raise RotogbmlError(f"{path} is no checkpoint of rotogbml: it holds more than tensors and numbers") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError) as error:
        raise DamagedError(f"checkpoint {path} is damaged ({error})") from error
    if isinstance(state, dict) and state.get("format", 0) > FORMAT:
        raise LaterFormatError(f"checkpoint {path} is of a later format than {FORMAT}: update rotogbml to read it")
    if not isinstance(state, dict) or not {"format", "step"} <= state.keys():
        raise RotogbmlError(f"{path} is no checkpoint of rotogbml: it lacks the step")
    return state


def there(folder: Path) -> list[Path]:
    """Return the files of a checkpoint folder that a run may go on from, sound or not."""
    # last.new.pt is whole where a kill fell between the renames of ``save``.
    return [path for path in (folder / name for name in ("last.new.pt", "last.pt", "previous.pt")) if path.exists()]


def newest(folder: Path, tell: bool = True) -> dict[str, Any] | None:
    """Return the newest sound state in a checkpoint folder, or None where there is none at all.

    Args:
        folder: where ``save`` wrote.
        tell: name in a warning each damaged file that is passed over.

    Raises:
        RotogbmlError: there are checkpoints and every one is damaged.
    """
    states, trouble = [], []
    for path in there(folder):
        try:
            states.append(load(path))
        except LaterFormatError:
            raise
        except RotogbmlError as error:
            trouble.append(f"{error}")
    if not states:
        if trouble:
            raise RotogbmlError(f"{trouble[0]} and no older one is left: start again in another --out")
        return None
    for said in trouble if tell else ():
        log.warning("%s: the one before is used", said)
    return max(states, key=lambda state: state["step"])


@torch.no_grad()
def fill(group: dict[str, Tensor], saved: dict[str, Tensor], where: object) -> None:
    """Copy saved tensors into parameters.

    Raises:
        RotogbmlError: names or shapes differ.
    """
    there = {name: tuple(p.shape) for name, p in saved.items()}
    here = {name: tuple(p.shape) for name, p in group.items()}
    if there != here:
        name = next(name for name in [*here, *there] if there.get(name) != here.get(name))
        raise RotogbmlError(
            f"the checkpoint in {where} is of another configuration ({name} is {there.get(name)} there, "
            f"{here.get(name)} here): use the configuration beside it"
        )
    for name, p in group.items():
        p.copy_(saved[name])


def digest(tree: Any) -> str:
    """Return a SHA-256 over every tensor bit, number and name of a state: equal digests, equal states."""
    sha = hashlib.sha256()
    _feed(sha, tree)
    return sha.hexdigest()


def _feed(sha: Any, tree: Any) -> None:
    if isinstance(tree, Tensor):
        sha.update(f"{tree.dtype}{tuple(tree.shape)}".encode())
        sha.update(tree.detach().cpu().contiguous().numpy().tobytes())
    elif isinstance(tree, dict):
        for key in sorted(tree, key=str):
            sha.update(f"{key}:".encode())
            _feed(sha, tree[key])
    elif isinstance(tree, list | tuple):
        for item in tree:
            _feed(sha, item)
            sha.update(b",")
    else:
        sha.update(repr(tree).encode())
