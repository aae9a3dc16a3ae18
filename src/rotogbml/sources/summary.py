"""What a scan and a pack tell, as values and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SHOWN = 5


@dataclass(frozen=True)
class SourceScan:
    """What a scan found in one source.

    Attributes:
        name: The source.
        layout: How its folders were read.
        classes: Number of classes.
        images: Files that are good images, duplicates included.
        smallest: The class with the fewest good images, and how many.
        sizes: (width, height) of the image with the fewest and of that with the most pixels.
        modes: Pillow's pixel formats, with their counts, the most frequent first.
        notes: What packing would have to do (grey, alpha over white, ...), with counts.
        duplicates: (path, path of the same bytes before it) within a class.
        two_labels: The same for equal bytes under another label.
        damaged: (path, reason) of files that cannot be used.
        splits: Class counts by folder, where there are train, val and test folders.
        conflicts: Classes that lie in the folders of two splits.
    """

    name: str
    layout: str
    classes: int
    images: int
    smallest: tuple[str, int]
    sizes: tuple[tuple[int, int], tuple[int, int]] | None
    modes: Mapping[str, int]
    notes: Mapping[str, int]
    duplicates: tuple[tuple[str, str], ...]
    two_labels: tuple[tuple[str, str], ...]
    damaged: tuple[tuple[str, str], ...]
    splits: Mapping[str, int]
    conflicts: tuple[str, ...]


@dataclass(frozen=True)
class ScanReport:
    """What lies under ROOT, without anything having been written."""

    root: Path
    sources: tuple[SourceScan, ...]
    skipped: Mapping[str, int]
    """Files that would be skipped without being opened, by reason."""
    ignored: Mapping[str, int]
    """Files that are no images, by reason."""
    seconds: float

    def __rich__(self) -> RenderableType:
        """Draw the table."""
        from rich.console import Group
        from rich.text import Text

        table = _table(self.root, "source", "classes", "images", "smallest", "sizes", "copies", "two labels", "damaged")
        for s in self.sources:
            sizes = " to ".join(dict.fromkeys(f"{w} x {h}" for w, h in s.sizes)) if s.sizes else ""
            counts = (len(s.duplicates), len(s.two_labels), len(s.damaged))
            table.add_row(
                Text(s.name),
                f"{s.classes:,}",
                f"{s.images:,}",
                f"{s.smallest[1]:,}",
                sizes,
                *(f"{c:,}" for c in counts),
            )
        lines: list[str] = []
        for s in self.sources:
            lines.append(f"{s.name}: smallest class '{s.smallest[0]}'; modes {_counts(s.modes)}; read as {s.layout}")
            lines += [f"{s.name}: {note} ({count:,} images)" for note, count in s.notes.items()]
            if s.splits:
                lines.append(f"{s.name}: classes by folder: {_counts(s.splits)}")
            if s.conflicts:
                lines.append(
                    f"{s.name}: in the folders of two splits: {_some(s.conflicts)}: pack it with --split FILE.json"
                )
            lines += _examples(f"{s.name}: damaged", s.damaged, "{0} ({1})")
            lines += _examples(f"{s.name}: same bytes under two labels", s.two_labels, "{0} and {1}")
        lines += [f"skipped: {reason} ({count:,} files)" for reason, count in self.skipped.items()]
        lines += [f"not images: {reason} ({count:,} files)" for reason, count in self.ignored.items()]
        total = sum(s.images for s in self.sources)
        lines.append(
            f"{total:,} images in {len(self.sources)} sources, read in {self.seconds:.1f} s; nothing was written"
        )
        return Group(table, *_plain(lines))


@dataclass(frozen=True)
class SourceSummary:
    """One packed source in numbers.

    Attributes:
        name: The source.
        classes: Classes packed.
        images: Images packed.
        skipped: Images not packed.
        splits: Number of classes in each split.
        split_rule: How the classes were split.
        notes: What was done to images (grey, alpha over white, ...), with counts.
        digest: SHA-256 of the pixels.
    """

    name: str
    classes: int
    images: int
    skipped: int
    splits: Mapping[str, int]
    split_rule: str
    notes: Mapping[str, int]
    digest: str


@dataclass(frozen=True)
class PackReport:
    """What was packed.

    Attributes:
        out: The pack.
        size: Side of the square that an encoder sees, in pixels.
        side: Side of the stored square, in pixels.
        sources: One summary a source, sorted by name.
        skipped: Number of files skipped, by reason; each is listed in ``OUT/skipped.csv``.
        ignored: Number of files that are no images, by reason.
        remarks: What the user should know: dropped classes, sources too small to split, ...
        resumed: Images that an earlier, interrupted run had already examined.
        examined: Images examined by this run.
        seconds: Duration of this run.
        digest: SHA-256 over pixels, labels and splits of all sources.
    """

    out: Path
    size: int
    side: int
    sources: tuple[SourceSummary, ...]
    skipped: Mapping[str, int]
    ignored: Mapping[str, int]
    remarks: tuple[str, ...]
    resumed: int
    examined: int
    seconds: float
    digest: str

    @property
    def images_per_second(self) -> float:
        """Images examined a second by this run, all its work counted."""
        return self.examined / self.seconds if self.seconds else 0.0

    def __rich__(self) -> RenderableType:
        """Draw the table."""
        from rich.console import Group
        from rich.text import Text

        table = _table(self.out, "source", "classes", "images", "skipped", "classes by split", "digest")
        for s in self.sources:
            table.add_row(
                Text(s.name), f"{s.classes:,}", f"{s.images:,}", f"{s.skipped:,}", _counts(s.splits), s.digest[:12]
            )
        lines = [f"{s.name}: {note} ({count:,} images)" for s in self.sources for note, count in s.notes.items()]
        rules: dict[str, list[str]] = {}
        for s in self.sources:
            rules.setdefault(s.split_rule, []).append(s.name)
        lines += [f"classes of {', '.join(names)}: {rule}" for rule, names in rules.items()]
        lines += self.remarks
        lines += [f"skipped: {reason} ({count:,} files)" for reason, count in self.skipped.items()]
        lines += [f"not images: {reason} ({count:,} files)" for reason, count in self.ignored.items()]
        if self.skipped or self.ignored:
            lines.append(f"each of these files is listed in {self.out / 'skipped.csv'}")
        if self.resumed:
            lines.append(f"{self.resumed:,} images had been examined before the last run was stopped")
        images = sum(s.images for s in self.sources)
        lines.append(
            f"{images:,} images of {self.side} x {self.side} pixels (size {self.size}) in {self.seconds:.1f} s, "
            f"{self.images_per_second:,.0f} images/s"
        )
        lines.append(f"digest {self.digest}")
        return Group(table, *_plain(lines))


def _table(title: Path, first: str, *others: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(str(title)), box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold", min_width=11)
    for other in others:
        words = other in ("sizes", "classes by split")
        table.add_column(other, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    return table


def _plain(lines: list[str]) -> list[RenderableType]:
    """Return lines that are shown as they are: a file name with brackets is no markup."""
    from rich.text import Text

    return [Text(line) for line in lines]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _examples(title: str, pairs: tuple[tuple[str, str], ...], form: str) -> list[str]:
    lines = [f"{title}: {form.format(*pair)}" for pair in pairs[:SHOWN]]
    return [*lines, f"{title}: {len(pairs) - SHOWN:,} more"] if len(pairs) > SHOWN else lines
