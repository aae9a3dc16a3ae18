"""Splits over classes: which are seen in training, which choose the checkpoint, which are only ever tested on.

A split file wins over the split of a published data set, that over folders named train, val and test, and those win
over the default, a seeded 64/16/20.
A class never stands in two splits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rotogbml.errors import UsageError, did_you_mean
from rotogbml.seeds import numpy_generator
from rotogbml.sources.packed import SPLITS
from rotogbml.sources.tree import ClassSplit, FoundSource

VAL_SHARE = 0.16
TEST_SHARE = 0.20


@dataclass(frozen=True)
class SplitFile:
    """A user's split file, checked against the classes that are there."""

    label: str
    splits: Mapping[str, Mapping[str, Sequence[str]]]


def split_classes(
    source: FoundSource, classes: Collection[str], *, file: SplitFile | None, seed: int, n_way: int
) -> ClassSplit:
    """Split the classes of a source by the file, else as was given with it, else by its folders, else by the default.

    Args:
        source: The source as it was found.
        classes: Those of its classes that are kept; the others are left out of every split.
        file: The user's split file, or ``None``.
        seed: Of the default split.
        n_way: Classes in a task; a source with fewer than three times as many is not split.

    Raises:
        UsageError: A class lies in the folders of two splits.
    """
    if file is not None and source.name in file.splits:
        return _given(source.name, classes, file.splits[source.name], f"given by {file.label}", n_way)
    if source.given is not None:
        return _given(source.name, classes, source.given.splits, source.given.rule, n_way)
    if source.folder_splits:
        return _given(source.name, classes, _by_folder(source), "given by the folders train, val and test", n_way)
    return default_split(source.name, classes, seed=seed, n_way=n_way)


def default_split(name: str, classes: Collection[str], *, seed: int, n_way: int) -> ClassSplit:
    """Split classes 64/16/20, seeded by the source's name, with at least ``n_way`` classes in each split.

    Fewer than ``3 * n_way`` classes stay together under ``all``.
    """
    names = sorted(classes)
    n = len(names)
    if n < 3 * n_way:
        rule = f"not split: fewer than 3 x {n_way} (n_way) classes: usable only for training or only as a target"
        return ClassSplit({"all": names}, rule)
    n_val, n_test = (max(n_way, round(share * n)) for share in (VAL_SHARE, TEST_SHARE))
    order = numpy_generator(seed, "split", name).permutation(n)
    shuffled = [names[i] for i in order]
    splits = {
        "train": sorted(shuffled[n_val + n_test :]),
        "val": sorted(shuffled[:n_val]),
        "test": sorted(shuffled[n_val : n_val + n_test]),
    }
    return ClassSplit(splits, f"64/16/20 percent of the classes at random with seed {seed}, at least {n_way} in each")


def read_split_file(path: str | Path, sources: Sequence[FoundSource]) -> SplitFile:
    """Read ``{source: {"train": [...], "val": [...], "test": [...]}}``, or ``{"all": [...]}`` for a source.

    With one source, its name may be left out.

    Raises:
        UsageError: It cannot be read, or names a source, a split or a class that is not there, or a class twice.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
        given = json.loads(text)
    except FileNotFoundError:
        raise UsageError(f"no split file at {path}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"split file {path} cannot be read as JSON ({error})") from None
    classes = {source.name: source.classes for source in sources}
    known = {*SPLITS, "all"}
    if isinstance(given, dict) and given and set(given) <= known and not set(given) & set(classes):
        if len(sources) > 1:
            raise UsageError(
                f"split file {path} names no source, and there are {len(sources)}: put each under its name"
            )
        given = {sources[0].name: given}
    if not isinstance(given, dict):
        raise UsageError(f'split file {path} holds no object: expected {{"SOURCE": {{"train": [...], ...}}}}')
    for name, splits in given.items():
        if name not in classes:
            raise UsageError(f"split file {path}: no source '{name}'{did_you_mean(name, classes)}")
        _check(f"split file {path}, source '{name}'", splits, classes[name], known)
    label = f"the split file {path.name} (sha256 {hashlib.sha256(text).hexdigest()[:12]})"
    return SplitFile(label, given)


def _check(where: str, splits: Any, classes: Sequence[str], known: set[str]) -> None:
    if not isinstance(splits, dict) or not splits:
        raise UsageError(f'{where}: expected {{"train": [...], "val": [...], "test": [...]}} or {{"all": [...]}}')
    present = set(classes)
    seen: dict[str, str] = {}
    for split, names in splits.items():
        if split not in known:
            raise UsageError(f"{where}: no split '{split}'{did_you_mean(split, known)}: train, val, test or all")
        if split == "all" and len(splits) > 1:
            raise UsageError(f"{where}: 'all' cannot stand beside train, val and test")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{where}: '{split}' must be a list of class names")
        for name in names:
            if name not in present:
                raise UsageError(f"{where}: no class '{name}'{did_you_mean(name, classes)}")
            if name in seen:
                raise UsageError(f"{where}: class '{name}' stands in '{seen[name]}' and again in '{split}'")
            seen[name] = split
    if not seen:
        raise UsageError(f"{where}: no class in any split")


def _by_folder(source: FoundSource) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for label, found in source.folder_splits.items():
        if len(found) > 1:
            raise UsageError(
                f"source '{source.name}': class '{label}' lies in the folders {' and '.join(sorted(found))}, "
                "but splits are over classes: give --split FILE.json, or move its images into one class folder"
            )
        splits[next(iter(found))].append(label)
    return splits


def _given(
    name: str, classes: Collection[str], splits: Mapping[str, Sequence[str]], origin: str, n_way: int
) -> ClassSplit:
    present = set(classes)
    kept = {split: sorted(present & set(members)) for split, members in splits.items()}
    kept = {split: members for split, members in kept.items() if members}
    notes = [
        f"{name}: {len(members)} classes in '{split}', fewer than n_way = {n_way}: no task can be drawn from it"
        for split, members in kept.items()
        if len(members) < n_way
    ]
    missing = sorted(present - {c for members in kept.values() for c in members})
    if missing:
        shown = ", ".join(f"'{c}'" for c in missing[:3]) + (", ..." if len(missing) > 3 else "")
        notes.append(f"{name}: {len(missing)} classes stand in no split ({shown}): packed, but drawn only under 'all'")
    if "all" in kept:
        notes.append(f"{name}: not split: usable only for training or only as a target")
    return ClassSplit(kept, origin, tuple(notes))
