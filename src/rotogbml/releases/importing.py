"""From a release to a pack: read, split, decoded and written by the rooms that pack any images."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rotogbml.errors import RotogbmlError, UsageError, did_you_mean
from rotogbml.releases.files import Files
from rotogbml.releases.reading import Reading, Row
from rotogbml.releases.registry import release_named
from rotogbml.releases.release import Release
from rotogbml.releases.root import open_above, open_files
from rotogbml.sources.containers import ARCHIVE_SUFFIXES
from rotogbml.sources.options import PackOptions
from rotogbml.sources.overlap import Avoid
from rotogbml.sources.pack import pack_tree
from rotogbml.sources.splits import read_split_file
from rotogbml.sources.summary import PackReport
from rotogbml.sources.tree import ClassSplit, Entry, FoundSource, Tree

_KNOWN = {"test_part", "val_part", "other_supercategory", "other_finding", "multi_label", "no_finding"}
"""Reasons for which a release leaves out an image that is its own."""
NAMED = 5
"""Names that are said of many."""


@dataclass(frozen=True)
class Read:
    """A release that was read."""

    release: Release
    files: Files
    reading: Reading
    given: Path
    """The place that was given."""


def read_release(name: str, path: str | Path, whole: bool = False) -> Read:
    """Read the labels of a release; no image is opened.

    Args:
        name: A name in ``registry.py``.
        path: Any place in the release.
        whole: Whether parts that the literature leaves out are taken too.

    Raises:
        UsageError: There is nothing of the release, or its files contradict each other.
    """
    release = release_named(name)
    files = open_files(path, release.marks, release.folders, release.anywhere)
    try:
        reading = _reading(release, files, whole)
    except UsageError:
        with suppress(UsageError):
            alone = _alone(release, files, path, whole)
            if alone is not None:
                return alone
        raise
    alone = None if _knows(reading, files, path) else _alone(release, files, path, whole)
    if alone is not None:
        return alone
    if reading.rows:
        return Read(release, files, reading, Path(path))
    for above in open_above(files, release.marks) if release.anywhere else ():
        again = _reading(release, above, whole)  # labels are here, and the images beside them
        if again.rows:
            return Read(release, above, again, Path(path))
    raise UsageError(_nothing(release, files, reading))


def _reading(release: Release, files: Files, whole: bool) -> Reading:
    reading = release.read(files, whole)
    reading.remarks += dict.fromkeys(files.remarks)  # a file that is read twice is told of once
    return reading


def _knows(reading: Reading, files: Files, path: str | Path) -> bool:
    """Return whether an image of the very place that was given is taken, or left out as its own: its test part, say."""
    place = _below(files, path)
    known = [*(row.path for row in reading.rows), *(left for left, reason in reading.left if reason in _KNOWN)]
    return not place or any(image.startswith(f"{place}/") for image in known)


def _below(files: Files, path: str | Path) -> str:
    """Return where a place lies below the root of what was listed; empty where it is the root."""
    place, root = Path(path).resolve(), files.root.resolve()
    return place.relative_to(root).as_posix() if root in place.parents else ""


def _alone(release: Release, files: Files, path: str | Path, whole: bool) -> Read | None:
    """Read the place that was given without what lies above it: label files up there may be of something else.

    Raises:
        UsageError: It holds images and is refused: those that lie above are not what was asked for.
    """
    place = _below(files, path)
    if not place:
        return None
    try:
        here = open_files(path, anywhere=False)
        reading = _reading(release, here, whole)
    except UsageError:
        if any(image.startswith(f"{place}/") for image in files.images):
            raise
        return None
    return Read(release, here, reading, Path(path)) if reading.rows else None


def _nothing(release: Release, files: Files, reading: Reading) -> str:
    """Say what is there instead of the release."""
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reading.counts().items())
    why = f" ({reading.form}: {counts})" if counts else f" ({reading.form})"
    if not files.found:
        there = "it is empty"
    else:
        first = ", ".join(f"'{path}'" for path in sorted(files.found)[:3])
        there = f"its {len(files.found):,} files are {first}{', ...' if len(files.found) > 3 else ''}"
    if files.skips:
        there += f"; {len(files.skips):,} were refused, such as '{files.skips[0].path}' ({files.skips[0].reason})"
    if any(path.lower().endswith(ARCHIVE_SUFFIXES) for path in files.found):
        there += "; an archive in an archive is not read: unpack the outer one"
    if any(reason.endswith("_part") for reason in reading.counts()):
        there += "; --whole takes parts that the literature leaves out"
    return f"nothing of {release.title} under {files.root}{why}: {there}; expected {release.layout}"


def tree_of(read: Read, split: str | None = None) -> Tree:
    """Return the sources of a release, ready to be packed.

    Args:
        read: The release.
        split: One of the release's class splits by name; its first where not given.

    Raises:
        UsageError: There is no such split.
    """
    release, files, reading = read.release, read.files, read.reading
    rule = next(iter(release.splits)) if split is None else split
    if rule not in release.splits:
        raise UsageError(
            f"{release.name} has no split '{rule}'{did_you_mean(rule, release.splits)}: there are "
            f"{', '.join(release.splits)}, or give a JSON file"
        )
    given = release.splits[rule](reading)
    per_source: dict[str, list[Row]] = defaultdict(list)
    for row in reading.rows:
        per_source[row.source or release.name].append(row)
    made = {
        "by": "rotogbml data import",
        "release": release.name,
        "form": reading.form,
        "split": rule,
        "left": reading.counts(),
        "parts": reading.parts(),
    }
    sources = [_source(name, files, rows, given, made) for name, rows in sorted(per_source.items())]
    return Tree(read.given, tuple(sources), tuple(sorted([*files.skips, *reading.skips()])))


def _source(name: str, files: Files, rows: list[Row], given: ClassSplit | None, made: dict[str, Any]) -> FoundSource:
    used = sorted({files.found[row.path].container for row in rows})
    places = {container: place for place, container in enumerate(used)}
    entries = []
    for row in sorted(rows, key=lambda row: (row.label, row.path)):
        container, file = files.found[row.path]
        entries.append(Entry(row.path, row.label, file.key, file.size, file.stamp, places[container], row.group))
    containers = [files.containers[container] for container in used]
    return FoundSource(
        name=name,
        container=containers[0],
        entries=tuple(entries),
        folder_splits={},
        layout=made["form"],
        others=tuple(containers[1:]),
        given=given,
        made=made,
        keep_copies=True,
    )


def import_release(
    name: str,
    path: str | Path,
    out: str | Path,
    size: int = 84,
    margin: float = 0.15,
    split: str | None = None,
    whole: bool = False,
    seed: int = 0,
    n_way: int = 5,
    strict: bool = False,
    drop_overlap: list[str] | None = None,
    workers: int | None = None,
    show: bool = False,
) -> tuple[Read, PackReport]:
    """Import a release into a pack; see ``verbs.py`` for the arguments.

    Raises:
        UsageError: The request is wrong, or the files are not those of the release.
        RotogbmlError: It failed; a pack that was there is untouched.
    """
    read = read_release(name, path, whole)
    by_file = split is not None and (split.lower().endswith(".json") or Path(split).is_file())
    tree = tree_of(read, None if by_file else split)
    file = read_split_file(split, tree.sources) if by_file and split is not None else None
    avoid = Avoid.of(drop_overlap) if drop_overlap else None
    if strict and read.reading.left:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in read.reading.counts().items())
        raise RotogbmlError(
            f"{read.release.name} at {read.files.root} is not whole ({counts}): nothing was written; see rotogbml data "
            f"check {read.release.name} {path}, or import without --strict"
        )
    options = PackOptions(size, margin, seed, n_way, file, avoid)
    return read, pack_tree(tree, out, options, strict, workers, show)
