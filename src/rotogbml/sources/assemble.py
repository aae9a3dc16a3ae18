"""From what was found in every file of a source to the packed source: which rows stay, in which class and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rotogbml.sources.containers import Skip
from rotogbml.sources.examine import Record
from rotogbml.sources.splits import ClassSplit
from rotogbml.sources.tree import FoundSource
from rotogbml.sources.writer import write_source

SAME_CLASS = "same bytes as another file of its class"
OTHER_LABEL = "same bytes as a file under another label"


class Selection(NamedTuple):
    """The images of a source that are packed."""

    kept: list[int]
    """Positions in the source, in row order."""
    classes: list[str]
    offsets: list[int]
    skips: list[Skip]
    dropped: list[str]
    """Classes that ended with no image."""
    notes: dict[str, int]
    """What was done to the kept images, with counts."""


def select(source: FoundSource, records: Mapping[int, Record]) -> Selection:
    """Keep every good image, and of equal bytes only the first: equal pixels in support and query are a leak.

    Positions go by class, then by path: of equal bytes under two labels the alphabetically first label keeps them.
    """
    first: dict[str, int] = {}
    kept: list[int] = []
    skips: list[Skip] = []
    notes: Counter[str] = Counter()
    for position, entry in enumerate(source.entries):
        record = records[position]
        if record.reason:
            skips.append(Skip(entry.path, record.reason))
        elif record.digest in first:
            earlier = source.entries[first[record.digest]]
            reason = SAME_CLASS if earlier.label == entry.label else OTHER_LABEL
            skips.append(Skip(entry.path, f"{reason}: {earlier.path}"))
        else:
            first[record.digest] = position
            kept.append(position)
            notes.update(record.notes)
    counts = Counter(source.entries[position].label for position in kept)
    classes = sorted(counts)
    offsets = np.concatenate([[0], np.cumsum([counts[label] for label in classes], dtype=np.int64)])
    dropped = [label for label in source.classes if label not in counts]
    ranked = dict(sorted(notes.items(), key=lambda item: (-item[1], item[0])))
    return Selection(kept, classes, [int(o) for o in offsets], skips, dropped, ranked)


def write_selection(
    folder: Path,
    source: FoundSource,
    selection: Selection,
    records: Mapping[int, Record],
    blocks: Iterable[np.ndarray],
    *,
    size: int,
    split: ClassSplit,
    made: Mapping[str, Any],
) -> None:
    """Write the kept images of a source; ``blocks`` are their pixels in row order."""
    write_source(
        folder,
        name=source.name,
        size=size,
        images=blocks,
        classes=selection.classes,
        offsets=selection.offsets,
        splits=split.splits,
        split_rule=split.rule,
        inputs=[(source.entries[position].path, records[position].digest) for position in selection.kept],
        made=made,
    )
