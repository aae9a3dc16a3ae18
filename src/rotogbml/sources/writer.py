"""The one writer of a packed source: pixels streamed to ``images.npy``, then ``source.json``, then one rename.

Whatever stops it, the folder is either as it was before or complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rotogbml.sources.packed import FORMAT, IMAGES_FILE, SOURCE_FILE, VERSION, PackedSource, open_source

BLOCK = 256


def side_of(size: int, margin: float) -> int:
    """Return the side of the stored square, ``round((1 + margin) * size)`` pixels."""
    return round((1.0 + margin) * size)


def write_source(
    folder: str | Path,
    *,
    name: str,
    size: int,
    images: np.ndarray | Iterable[np.ndarray],
    classes: Sequence[str],
    offsets: Sequence[int] | np.ndarray,
    splits: Mapping[str, Sequence[str]],
    split_rule: str,
    inputs: Sequence[tuple[str, str]],
    made: Mapping[str, Any],
    groups: Sequence[str] | None = None,
) -> PackedSource:
    """Write ``folder/images.npy`` and ``folder/source.json`` atomically, and return the source opened.

    Args:
        folder: Where the source is to lie; one that is there is replaced at the end.
        name: The source.
        size: Side of the square that an encoder sees, in pixels; the stored side is that of ``images``.
        images: uint8 [n, side, side, 3], or blocks of such rows in order (then memory stays constant).
        classes: Class names, sorted, each with at least one image.
        offsets: [classes + 1]; class ``c`` has the rows ``offsets[c]:offsets[c + 1]``.
        splits: Class names under ``train``, ``val``, ``test``, or under ``all``.
        split_rule: One sentence: how the classes were split.
        inputs: (relative path, SHA-256 of the bytes) of each row; empty where images are drawn, not read.
        made: Everything needed to make it again (options, versions); no time stamp, no absolute path.
        groups: Name of each row's group (a lesion, a leaf, a patient); empty where it has none.

    Raises:
        ValueError: The arguments contradict each other.
        OSError: The disk refuses; nothing is left behind.
    """
    folder = Path(folder)
    n = int(offsets[-1])
    if list(classes) != sorted(set(classes)) or len(offsets) != len(classes) + 1:
        raise ValueError("classes must be sorted and unique, and offsets one longer")
    if groups is not None and len(groups) != n:
        raise ValueError(f"{len(groups)} groups for {n} images")
    if inputs and len(inputs) != n:
        raise ValueError(f"{len(inputs)} inputs for {n} images")
    partial = folder.with_name(f".{folder.name}.partial")
    remove(partial)
    partial.mkdir(parents=True)
    try:
        with (partial / IMAGES_FILE).open("wb") as file:
            pixels = _write_pixels(file, _blocks(images), n)
            sync(file)
        head = {
            "format": FORMAT,
            "version": VERSION,
            "name": name,
            "size": int(size),
            "side": pixels["side"],
            "classes": list(classes),
            "offsets": [int(o) for o in offsets],
            "splits": {split: list(members) for split, members in splits.items()},
            "split_rule": split_rule,
            "mean": pixels["mean"],
            "std": pixels["std"],
            "digest": pixels["digest"],
            "made": dict(made),
        }
        if groups is not None:
            head["groups"] = list(groups)
        with (partial / SOURCE_FILE).open("wb") as file:
            file.write(_as_json(head, inputs).encode("utf-8"))
            sync(file)
        open_source(partial)
    except BaseException:
        remove(partial)
        raise
    replace_folder(partial, folder)
    return open_source(folder)


def replace_folder(new: Path, folder: Path) -> None:
    """Rename ``new`` to ``folder``; a folder that is there is first set aside, and removed last.

    A kill between the two renames leaves the former one as ``.<folder>.old``: ``restore_folder`` brings it back.
    """
    aside = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        remove(aside)
        folder.rename(aside)
    new.rename(folder)
    remove(aside)


def restore_folder(folder: Path) -> None:
    """Bring back, or clear away, what a kill inside ``replace_folder`` has left aside."""
    aside = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        remove(aside)
    elif aside.exists():
        aside.rename(folder)


def remove(folder: Path) -> None:
    """Remove a folder where it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def sync(file: BinaryIO) -> None:
    """Have a file on the disk before a rename makes it count."""
    file.flush()
    os.fsync(file.fileno())


def _blocks(images: np.ndarray | Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    if isinstance(images, np.ndarray):
        for start in range(0, len(images), BLOCK):
            yield images[start : start + BLOCK]
    else:
        yield from images


def _write_pixels(file: BinaryIO, blocks: Iterator[np.ndarray], n: int) -> dict[str, Any]:
    """Write the array and return its side, mean, std (exact sums: independent of the blocks) and digest."""
    digest = hashlib.sha256()
    counts = np.zeros((3, 256), dtype=np.int64)
    side = rows = 0
    for block in blocks:
        if rows == 0:
            side = int(block.shape[1])
            header = {"descr": "|u1", "fortran_order": False, "shape": (n, side, side, 3)}
            np.lib.format.write_array_header_1_0(file, header)
        if block.dtype != np.uint8 or block.shape[1:] != (side, side, 3):
            raise ValueError(f"images must be uint8 [n, {side}, {side}, 3], not {block.dtype} {block.shape}")
        pixels = np.ascontiguousarray(block)
        file.write(pixels.data)
        digest.update(pixels.data)
        for channel in range(3):
            counts[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)
        rows += len(pixels)
    if rows != n or n == 0:
        raise ValueError(f"{rows} images where the offsets say {n}")
    values = np.arange(256) / 255.0
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    std = np.sqrt(np.maximum(weights @ values**2 - mean**2, 0.0))
    return {"side": side, "mean": mean.tolist(), "std": std.tolist(), "digest": digest.hexdigest()}


def _as_json(head: Mapping[str, Any], inputs: Sequence[tuple[str, str]]) -> str:
    """Return JSON with one line a field and one line an input: it can be read, and compared by line."""
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    listed = ",".join("\n" + json.dumps(list(pair), ensure_ascii=False) for pair in inputs)
    return "{\n" + ",\n".join([*lines, f'"inputs": [{listed}]']) + "\n}\n"
