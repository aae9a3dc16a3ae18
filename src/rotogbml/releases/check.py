"""What of a release is there, what is missing, and what is known to go wrong with it. Nothing is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rotogbml.releases.importing import NAMED, Read, read_release, tree_of
from rotogbml.releases.reading import REASONS
from rotogbml.releases.release import spelling
from rotogbml.sources.splits import split_classes

if TYPE_CHECKING:
    from rich.console import RenderableType


ABSENT = 40
"""Absent classes that are named in a line."""


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        release: The name of the release.
        title: What people call it.
        root: Where it was found.
        form: How it was read.
        images: Images of each class that are here and taken, by class name.
        parts: Images in each part that the release itself names.
        left: What is left out: count by reason.
        names: The first few names for each reason.
        published: (classes, images) that were published; zeros where nobody knows.
        absent: Published classes that are not here and that no label of this copy names, by name; empty where the names
            are not known.
        unnamed: How many of these there are where the names are not known.
        wrong: Class to (here, published) where the published count is known and another one is here.
        between: Published fewest and most images of a class, where that is all that is known; else zeros.
        outside: Classes that have fewer or more, and their images here.
        groups: How many groups (lesions, leaves, patients) the images show; 0 where none are named.
        splits: Classes in each part of the default class split, as far as they are here.
        rule: How they were split.
        remarks: What else was seen.
        traps: What is known to go wrong with the release.
        terms: Terms of use, and where they were read.
        publisher: Who publishes it.
        takes: Which images the literature takes.
    """

    release: str
    title: str
    root: Path
    form: str
    images: Mapping[str, int]
    parts: Mapping[str, int]
    left: Mapping[str, int]
    names: Mapping[str, tuple[str, ...]]
    published: tuple[int, int]
    absent: tuple[str, ...]
    unnamed: int
    wrong: Mapping[str, tuple[int, int]]
    between: tuple[int, int]
    outside: Mapping[str, int]
    groups: int
    splits: Mapping[str, int]
    rule: str
    remarks: tuple[str, ...]
    traps: tuple[str, ...]
    terms: str
    publisher: str
    takes: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self) | {"root": str(self.root), "classes": list(self.images)}

    def __rich__(self) -> RenderableType:
        """Draw it."""
        from rich.console import Group
        from rich.text import Text

        return Group(*(Text(line) for line in self._lines()))

    def _lines(self) -> list[str]:
        classes, images = self.published
        here = sum(self.images.values())
        lines = [
            f"{self.title} at {self.root}",
            f"read by {self.form}",
            f"classes with images: {len(self.images):,}{_of(classes)}; images: {here:,}{_of(images)}",
            f"taken: {self.takes}",
        ]
        if self.parts:
            lines.append("by the release's own parts: " + ", ".join(f"{part} {n:,}" for part, n in self.parts.items()))
        if self.groups:
            lines.append(f"groups: {self.groups:,}; a task never has one of them in support and query both")
        lines.append(f"class split: {self.rule}; here " + ", ".join(f"{name} {n:,}" for name, n in self.splits.items()))
        for reason, count in self.left.items():
            names = ", ".join(f"'{name}'" for name in self.names[reason]) + (", ..." if count > NAMED else "")
            lines.append(f"left out: {count:,} {reason} ({REASONS[reason]}): {names}")
        lines += self._absent_lines()
        counts = [
            f"class '{label}': {here:,} images here, {there:,} published" for label, (here, there) in self.wrong.items()
        ]
        fewest, most = self.between
        counts += [
            f"class '{label}': {here:,} images here, {fewest:,} to {most:,} of each class published"
            for label, here in self.outside.items()
        ]
        lines += counts[:NAMED]
        if len(counts) > NAMED:
            lines.append(f"and {len(counts) - NAMED:,} more classes with other counts than published")
        lines += [f"remark: {remark}" for remark in self.remarks]
        lines += [f"known trap: {trap}" for trap in self.traps]
        return [*lines, f"terms of use: {self.terms}", f"publisher: {self.publisher}"]

    def _absent_lines(self) -> list[str]:
        if self.unnamed:
            return [f"absent: {self.unnamed:,} of the published classes, whose names are not known here"]
        if not self.absent:
            return []
        names = ", ".join(f"'{name}'" for name in self.absent[:ABSENT])
        more = len(self.absent) - ABSENT
        rest = f" and {more:,} more (--format json names all)" if more > 0 else ""
        return [f"absent: {len(self.absent):,} of the published classes: {names}{rest}"]


def _of(published: int) -> str:
    return f" of {published:,}" if published else ""


def check(name: str, path: str | Path, whole: bool = False) -> CheckReport:
    """Say what of a release is there; see ``verbs.py``."""
    read = read_release(name, path, whole)
    release, files, reading = read.release, read.files, read.reading
    names: dict[str, list[str]] = defaultdict(list)
    for left, reason in reading.left:
        if len(names[reason]) < NAMED:
            names[reason].append(left)
    per_class = reading.per_class()
    absent, unnamed = _absent(read, per_class)
    source = tree_of(read).sources[0]
    split = split_classes(source, source.classes, file=None, seed=0, n_way=5)
    refused = [f"refused: {skip.path} ({skip.reason})" for skip in files.skips if not skip.ignored][:NAMED]
    return CheckReport(
        release=release.name,
        title=release.title,
        root=files.root,
        form=reading.form,
        images=per_class,
        parts=reading.parts(),
        left=reading.counts(),
        names={reason: tuple(some) for reason, some in names.items()},
        published=reading.published or _published(read, whole),
        absent=absent,
        unnamed=unnamed,
        wrong=_wrong(read, per_class, whole),
        between=release.between,
        outside=_outside(release.between, per_class, whole),
        groups=len({row.group for row in reading.rows} - {""}),
        splits={part: len(labels) for part, labels in split.splits.items()},
        rule=split.rule,
        remarks=(*reading.remarks, *release.notes(reading), *refused),
        traps=release.traps,
        terms=release.terms,
        publisher=release.publisher,
        takes=f"all that is here (--whole); the literature takes {release.takes}" if whole else release.takes,
    )


def _published(read: Read, whole: bool) -> tuple[int, int]:
    """Return the published counts of what the literature takes, which say nothing of more than that."""
    images = read.release.images
    return read.release.classes, 0 if whole and len(read.reading.rows) > images else images


def _absent(read: Read, here: Mapping[str, int]) -> tuple[tuple[str, ...], int]:
    """Return the names of the published classes of which nothing is said yet, or their number."""
    release, reading = read.release, read.reading
    said = [*here, *(label for label, reason in reading.left if reason == "class_without_images")]
    if reading.published or not release.names:
        classes = (reading.published or (release.classes,))[0]
        return (), max(0, classes - len(set(said)))
    known = set(map(spelling, said))
    return tuple(name for name in release.names if spelling(name) not in known), 0


def _outside(between: tuple[int, int], per_class: Mapping[str, int], whole: bool) -> dict[str, int]:
    fewest, most = between
    return {label: n for label, n in per_class.items() if most and (n < fewest or (n > most and not whole))}


def _wrong(read: Read, per_class: Mapping[str, int], whole: bool) -> dict[str, tuple[int, int]]:
    known = read.release.per_class
    if known is None:
        return {}
    expected = {label: known if isinstance(known, int) else known.get(label, 0) for label in per_class}
    return {
        label: (per_class[label], there)
        for label, there in expected.items()
        if there and per_class[label] != there and not (whole and per_class[label] > there)
    }
