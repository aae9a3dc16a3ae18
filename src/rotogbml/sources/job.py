"""The packing of one source: what is left to examine, and what becomes of it once all is examined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from rotogbml.files import write_atomic
from rotogbml.sources.assemble import Selection, select, write_selection
from rotogbml.sources.containers import Skip
from rotogbml.sources.examine import Chunk, chunks_of
from rotogbml.sources.journal import Journal
from rotogbml.sources.options import PackOptions
from rotogbml.sources.overlap import Avoid
from rotogbml.sources.packed import SOURCE_FILE, open_source
from rotogbml.sources.summary import SourceSummary
from rotogbml.sources.tree import FoundSource
from rotogbml.sources.writer import remove


class Finished(NamedTuple):
    """What a source came to; no summary where none of its images is usable."""

    summary: SourceSummary | None
    skips: list[Skip]
    remarks: list[str]


class Job:
    """One source on its way into ``partial/<source>``, with its journal in ``work``."""

    def __init__(self, source: FoundSource, options: PackOptions, partial: Path, work: Path) -> None:
        self.source = source
        self.options = options
        self.folder = partial / source.name
        self.journal = Journal(work / source.name, len(source.entries), options.side)

    def chunks(self) -> list[Chunk]:
        """Return the work that an earlier run has not done; disk is taken from here on."""
        chunks = chunks_of(self.source, self.options.side, self.journal.slots)
        plan = self.options.plan(self.source)
        packed = (self.folder / SOURCE_FILE).is_file()
        left = self.journal.start(plan, chunks, packed=packed)
        if packed and left:
            remove(self.folder)
            remove(self.journal.folder)
            left = self.journal.start(plan, chunks, packed=False)
        return left

    def finish(self) -> Finished:
        """Write the source where that is not done yet, and sum it up."""
        records = self.journal.records
        chosen = select(self.source, records)
        if self.options.avoid is not None and chosen.kept:
            chosen = select(self.source, records, self._elsewhere(chosen, self.options.avoid))
        name = self.source.name
        remarks = [f"{name}: class '{label}' has no usable image and is left out" for label in chosen.dropped]
        if not chosen.kept:
            self.journal.drop_pixels()
            return Finished(None, chosen.skips, [f"{name}: no usable image, the source is left out"])
        split = self.options.split(self.source, chosen.classes)
        if not (self.folder / SOURCE_FILE).is_file():
            write_selection(
                self.folder,
                self.source,
                chosen,
                records,
                self.journal.blocks(chosen.kept),
                size=self.options.size,
                split=split,
                made=self.options.made(self.source),
            )
        self.journal.drop_pixels()
        return Finished(self._summary(chosen), chosen.skips, [*remarks, *split.notes])

    def _elsewhere(self, chosen: Selection, avoid: Avoid) -> dict[int, str]:
        """Return the positions of images that stand in packs which this one is to share none with.

        They are kept: a run that goes on after the source was written has no pixels to look at.
        """
        kept = self.journal.folder / "elsewhere.json"
        if kept.is_file():
            return {int(position): where for position, where in json.loads(kept.read_text(encoding="utf-8")).items()}
        digests = [self.journal.records[position].digest for position in chosen.kept]
        found = avoid.matches(self.journal.blocks(chosen.kept), digests)
        elsewhere = {chosen.kept[row]: where for row, where in found.items()}
        write_atomic(kept, json.dumps(elsewhere))
        return elsewhere

    def _summary(self, chosen: Selection) -> SourceSummary:
        packed = open_source(self.folder)
        return SourceSummary(
            name=packed.name,
            classes=len(packed.classes),
            images=len(packed.images),
            skipped=len(chosen.skips),
            splits={split: len(members) for split, members in packed.splits.items()},
            split_rule=packed.split_rule,
            notes=chosen.notes,
            digest=packed.digest,
        )
