"""Looking before packing: what is there, and what packing would skip. Nothing is written."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rotogbml.sources.assemble import OTHER_LABEL, SAME_CLASS, select
from rotogbml.sources.containers import Skip
from rotogbml.sources.examine import Record, chunks_of
from rotogbml.sources.packed import SPLITS
from rotogbml.sources.progress import progress
from rotogbml.sources.summary import ScanReport, SourceScan
from rotogbml.sources.tree import FoundSource, count_reasons, find_sources
from rotogbml.sources.workers import examine_all, workers_for

SIDE = 84
"""Images are decoded in full, to find the damaged ones; the size they would be scaled to tells which are small."""


def scan(root: str | Path, *, workers: int | None = None, show: bool = False) -> ScanReport:
    """Read every image under ``root`` and say what was found.

    Args:
        root: Folder or archive in one of the layouts of ``tree.py``.
        workers: Processes that decode; all cores where not given.
        show: Whether progress is shown.

    Raises:
        UsageError: There are no sources under ``root``.
        RotogbmlError: A worker process died.
    """
    started = time.monotonic()
    tree = find_sources(root)
    records: dict[str, dict[int, Record]] = {source.name: {} for source in tree.sources}
    chunks = [chunk for source in tree.sources for chunk in chunks_of(source, SIDE)]
    total = sum(len(source.entries) for source in tree.sources)
    with progress("scanning", total, show) as advance:
        for chunk, found in examine_all(chunks, workers or workers_for(chunks)):
            places = (position for position, _, _ in chunk.files)
            records[chunk.source].update(zip(places, found.records, strict=True))
            advance(len(chunk.files))
    return ScanReport(
        root=Path(root),
        sources=tuple(_summary(source, records[source.name]) for source in tree.sources),
        skipped=count_reasons(skip for skip in tree.skips if not skip.ignored),
        ignored=count_reasons(skip for skip in tree.skips if skip.ignored),
        seconds=time.monotonic() - started,
    )


def _summary(source: FoundSource, records: Mapping[int, Record]) -> SourceScan:
    good = {position: record for position, record in records.items() if not record.reason}
    per_class = Counter(source.entries[position].label for position in good)
    sizes = sorted(((r.width, r.height) for r in good.values()), key=lambda size: (size[0] * size[1], size))
    modes = Counter(record.mode for record in good.values())
    notes = Counter(note for record in good.values() for note in record.notes)
    skipped = select(source, records).skips
    smallest = min(source.classes, key=lambda label: (per_class[label], label))
    splits = Counter(split for found in source.folder_splits.values() for split in found)
    return SourceScan(
        name=source.name,
        layout=source.layout,
        classes=len(source.classes),
        images=len(good),
        smallest=(smallest, per_class[smallest]),
        sizes=(sizes[0], sizes[-1]) if sizes else None,
        modes=_ranked(modes),
        notes=_ranked(notes),
        duplicates=_pairs(skipped, SAME_CLASS),
        two_labels=_pairs(skipped, OTHER_LABEL),
        damaged=tuple((e.path, records[i].reason) for i, e in enumerate(source.entries) if records[i].reason),
        splits={split: splits[split] for split in SPLITS if splits[split]},
        conflicts=tuple(label for label, found in source.folder_splits.items() if len(found) > 1),
    )


def _ranked(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _pairs(skips: Sequence[Skip], reason: str) -> tuple[tuple[str, str], ...]:
    start = f"{reason}: "
    return tuple((skip.path, skip.reason[len(start) :]) for skip in skips if skip.reason.startswith(start))
