"""A packed source, as it lies on disk, and its reader.

``PACK/<source>/images.npy`` holds uint8 pixels [n, side, side, 3], rows ordered by class, then by path;
``PACK/<source>/source.json`` says what they are. ``writer.py`` is the only writer of the two.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rotogbml.errors import UsageError

FORMAT = "rotogbml-source"
VERSION = 1
SPLITS = ("train", "val", "test")
IMAGES_FILE = "images.npy"
SOURCE_FILE = "source.json"

_ONE_HEADER_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, eq=False)
class PackedSource:
    """One distribution of images, decoded; nothing of it is in memory until a row is read.

    Attributes:
        name: The source.
        size: Side of the square that an encoder sees, in pixels.
        side: Side of the stored square, ``>= size``: the difference is room for random crops.
        classes: Class names, sorted.
        offsets: int64 [classes + 1]; class ``c`` has the rows ``offsets[c]:offsets[c + 1]``.
        splits: Class indices under ``train``, ``val`` and ``test``, or all of them under ``all`` where
            the classes are too few to split.
        split_rule: One sentence: how the classes were split.
        mean: Mean of each channel, 0..1.
        std: Standard deviation of each channel, 0..1.
        digest: SHA-256 of the pixels.
        made: The options and versions that made it.
        path: Its folder.
        images: uint8 [n, side, side, 3], a read-only memory map.
        groups: int64 [n]: rows of one number show the same lesion, leaf or patient, or are copies of one file;
            ``None`` where nothing of the kind is known.
        left_out: Rows that are as if they were not there.
    """

    name: str
    size: int
    side: int
    classes: tuple[str, ...]
    offsets: np.ndarray
    splits: dict[str, tuple[int, ...]]
    split_rule: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    made: dict[str, Any]
    path: Path
    images: np.ndarray
    groups: np.ndarray | None = None
    left_out: frozenset[int] = frozenset()

    def rows(self, class_index: int) -> Sequence[int]:
        """Return the rows of ``images`` that belong to a class."""
        rows = range(int(self.offsets[class_index]), int(self.offsets[class_index + 1]))
        return [row for row in rows if row not in self.left_out] if self.left_out else rows

    def classes_of(self, split: str) -> tuple[int, ...]:
        """Return the class indices of ``train``, ``val`` or ``test``; ``all`` is every class, a missing split none."""
        return tuple(range(len(self.classes))) if split == "all" else self.splits.get(split, ())

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as a path, and with what may be otherwise than in the file.

        A memory map would be copied whole.
        """
        return _reopen, (self.path, self.splits, self.left_out)


def open_source(path: str | Path) -> PackedSource:
    """Open ``PACK/<source>``.

    Raises:
        UsageError: It is absent, damaged, no packed source, or of a later version of the format.
    """
    folder = Path(path)
    head = _read_head(folder)
    try:
        classes = tuple(str(name) for name in head["classes"])
        index = {name: i for i, name in enumerate(classes)}
        offsets = np.asarray(head["offsets"], dtype=np.int64)
        splits = {str(split): tuple(index[name] for name in names) for split, names in head["splits"].items()}
        side = int(head["side"])
        images = _map_images(folder / IMAGES_FILE)
        source = PackedSource(
            name=str(head["name"]),
            size=int(head["size"]),
            side=side,
            classes=classes,
            offsets=offsets,
            splits=splits,
            split_rule=str(head["split_rule"]),
            mean=tuple(map(float, head["mean"])),
            std=tuple(map(float, head["std"])),
            digest=str(head["digest"]),
            made=dict(head["made"]),
            path=folder,
            images=images,
            groups=_numbered(head.get("groups")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{folder / SOURCE_FILE} is damaged ({error!r}): pack the source again") from None
    problem = _contradiction(source)
    if problem:
        raise UsageError(f"{folder} is damaged ({problem}): pack the source again")
    return source


def inputs_of(source: PackedSource) -> list[tuple[str, str]]:
    """Return path and SHA-256 of the file of each row; none where the images were drawn, not read.

    Raises:
        UsageError: The list is damaged.
    """
    inputs = _read_head(source.path).get("inputs", [])
    file, n = source.path / SOURCE_FILE, len(source.images)
    if not isinstance(inputs, list) or len(inputs) not in (0, n):
        there = f"{len(inputs):,} inputs" if isinstance(inputs, list) else "inputs that are no list"
        raise UsageError(f"{file} is damaged ({there} for {n:,} images): pack the source again")
    for row, each in enumerate(inputs):
        if not (isinstance(each, list) and len(each) == 2 and all(isinstance(part, str) for part in each)):
            raise UsageError(
                f"{file} is damaged (input {row:,} is {json.dumps(each)[:60]}, not a path and a digest): pack the "
                "source again"
            )
    return [(path, digest) for path, digest in inputs]


def _reopen(path: Path, splits: dict[str, tuple[int, ...]], left_out: frozenset[int]) -> PackedSource:
    return replace(open_source(path), splits=splits, left_out=left_out)


def open_pack(root: str | Path) -> dict[str, PackedSource]:
    """Open every source of a pack, sorted by name; a single source's folder is a pack of one.

    Raises:
        UsageError: ``root`` is no pack, or one of its sources cannot be opened.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"no pack at {root}: make one with 'rotogbml data pack ROOT {root}'")
    if (root / SOURCE_FILE).is_file():
        folders = [root]
    else:
        folders = sorted(f.parent for f in root.glob(f"*/{SOURCE_FILE}") if not f.parent.name.startswith("."))
    if not folders:
        raise UsageError(f"{root} is no pack (no <source>/{SOURCE_FILE} in it): make one with 'rotogbml data pack'")
    sources: dict[str, PackedSource] = {}
    for folder in folders:
        source = open_source(folder)
        if source.name in sources:
            raise UsageError(f"{sources[source.name].path} and {folder} are both named '{source.name}': remove one")
        sources[source.name] = source
    return dict(sorted(sources.items()))


def pack_digest(sources: dict[str, PackedSource]) -> str:
    """Return one SHA-256 over names, pixels, labels, splits and groups of a pack (not over how it was made)."""
    total = hashlib.sha256()
    for name, s in sorted(sources.items()):
        splits = {split: list(members) for split, members in sorted(s.splits.items())}
        fields = [name, s.digest, s.size, s.side, list(s.classes), s.offsets.tolist(), splits]
        fields += [] if s.groups is None else [s.groups.tolist()]
        fields += [["left out", *sorted(s.left_out)]] if s.left_out else []
        total.update(json.dumps(fields).encode() + b"\n")
    return total.hexdigest()


def _read_head(folder: Path) -> dict[str, Any]:
    file = folder / SOURCE_FILE
    try:
        head = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"no packed source at {folder}: make one with 'rotogbml data pack'") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read ({error}): pack the source again") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise UsageError(f"{file} does not describe a packed source: make one with 'rotogbml data pack'")
    version = head.get("version")
    if isinstance(version, int) and version > VERSION:
        raise UsageError(
            f"{file} has version {version} of the format, this rotogbml reads up to {VERSION}: "
            "upgrade rotogbml, or pack the images again"
        )
    if version != VERSION:
        raise UsageError(f"{file} has version {version!r} of the format, expected {VERSION}: pack the source again")
    return head


def _numbered(names: Any) -> np.ndarray | None:
    """Return a number for each name; an empty one is a group of its own."""
    if names is None:
        return None
    numbers: dict[str, int] = {}
    own = [str(name) or f"\0{row}" for row, name in enumerate(names)]
    return np.asarray([numbers.setdefault(name, len(numbers)) for name in own], dtype=np.int64)


def _map_images(file: Path) -> np.ndarray:
    try:
        # numpy reads a header by ``ast``, which fails at random in two threads at once before CPython 3.11.8 and
        # 3.12.2 (gh-106905: "AST constructor recursion depth mismatch").
        with _ONE_HEADER_AT_A_TIME:
            return np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"{file} is missing: pack the source again") from None
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{file} is damaged ({error}): pack the source again") from None


def _contradiction(source: PackedSource) -> str:
    """Return what does not fit together in a source, or an empty string."""
    n, side, offsets = len(source.images), source.side, source.offsets
    if source.images.dtype != np.uint8 or source.images.shape != (n, side, side, 3):
        return f"{IMAGES_FILE} is {source.images.dtype} {source.images.shape}, not uint8 [n, {side}, {side}, 3]"
    if not 0 < source.size <= side:
        return f"size {source.size} does not fit into side {side}"
    if list(source.classes) != sorted(set(source.classes)):
        return "class names are not sorted, or one stands twice"
    if (
        offsets.shape != (len(source.classes) + 1,)
        or offsets[0] != 0
        or offsets[-1] != n
        or (np.diff(offsets) < 1).any()
    ):
        return f"the offsets of the classes do not cover the {n} images"
    if source.groups is not None and len(source.groups) != n:
        return f"{len(source.groups)} groups for {n} images"
    members = [c for split in source.splits.values() for c in split]
    if len(members) != len(set(members)):
        return "a class stands in two splits"
    if unknown := sorted(set(source.splits) - {*SPLITS, "all"}):
        return f"unknown split '{unknown[0]}'"
    return ""
