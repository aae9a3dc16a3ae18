"""From what was found in every file of a source to the packed source: which rows stay, in which class and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rotogbml.sources.containers import Skip
from rotogbml.sources.examine import Record
from rotogbml.sources.groups import joined
from rotogbml.sources.splits import ClassSplit
from rotogbml.sources.tree import FoundSource
from rotogbml.sources.writer import write_source

SAME_CLASS = "same bytes as another file of its class"
ELSEWHERE = "stands in another source too"
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
    groups: list[str] | None = None
    """Name of each kept image's group; ``None`` where there are none."""


def select(source: FoundSource, records: Mapping[int, Record], elsewhere: Mapping[int, str] | None = None) -> Selection:
    """Keep every good image, and of equal bytes only the first: equal pixels in support and query are a leak.

    Positions go by class, then by path: of equal bytes under two labels the alphabetically first label keeps them.
    Where the source keeps its copies they are one group instead, which an episode never has on both sides.

    Args:
        source: The source.
        records: What is known of each of its files.
        elsewhere: Positions of images that are to be left out, and in which other source each stands.
    """
    elsewhere = elsewhere or {}
    first: dict[str, int] = {}
    kept: list[int] = []
    skips: list[Skip] = []
    notes: Counter[str] = Counter()
    for position, entry in enumerate(source.entries):
        record = records[position]
        if record.reason:
            skips.append(Skip(entry.path, record.reason))
        elif position in elsewhere:
            skips.append(Skip(entry.path, f"{ELSEWHERE}: {elsewhere[position]}"))
        elif record.digest in first and not source.keep_copies:
            earlier = source.entries[first[record.digest]]
            reason = SAME_CLASS if earlier.label == entry.label else OTHER_LABEL
            skips.append(Skip(entry.path, f"{reason}: {earlier.path}"))
        else:
            first.setdefault(record.digest, position)
            kept.append(position)
            notes.update(record.notes)
    counts = Counter(source.entries[position].label for position in kept)
    classes = sorted(counts)
    offsets = np.concatenate([[0], np.cumsum([counts[label] for label in classes], dtype=np.int64)])
    dropped = [label for label in source.classes if label not in counts]
    ranked = dict(sorted(notes.items(), key=lambda item: (-item[1], item[0])))
    groups = joined([(source.entries[i].group, records[i].digest) for i in kept])
    return Selection(kept, classes, [int(o) for o in offsets], skips, dropped, ranked, groups)


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
        groups=selection.groups,
    )
