"""What a pack in progress has done so far, so that a killed one goes on inside a source.

One folder a source: ``slots.bin``, the pixels of every listed image at its position, and ``journal.jsonl``, a
line a finished chunk with a checksum of its pixels. The first line names the plan: another one starts again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rotogbml.sources.examine import Chunk, Examined, Record
from rotogbml.sources.writer import BLOCK, remove


@dataclass
class Journal:
    """The finished chunks of one source."""

    folder: Path
    count: int
    """Listed images."""
    side: int
    records: dict[int, Record] = field(default_factory=dict)
    """Position in the source to what was found there."""

    @property
    def slots(self) -> Path:
        """The file of the pixels."""
        return self.folder / "slots.bin"

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        return self.side * self.side * 3

    @property
    def complete(self) -> bool:
        """Whether every listed image was examined."""
        return len(self.records) == self.count

    def start(self, plan: str, chunks: list[Chunk], *, packed: bool) -> list[Chunk]:
        """Take over what an earlier run with the same plan has left, and return the chunks still to do.

        Args:
            plan: Digest of everything that decides the outcome.
            chunks: All chunks of the source.
            packed: Whether the source itself is already written, so that its pixels are needed no more.
        """
        done = self._resume(plan, chunks, packed)
        if done is None:
            remove(self.folder)
            self.folder.mkdir(parents=True)
            self.records = {}
            self._append({"plan": plan})
            done = set()
        if not packed and not self.slots.exists():
            with self.slots.open("wb") as file:
                file.truncate(self.count * self.image_bytes)
        return [chunk for chunk in chunks if chunk.index not in done]

    def add(self, chunk: Chunk, found: Examined) -> None:
        """Note a finished chunk."""
        self._take(chunk, found.records)
        self._append({"chunk": chunk.index, "checksum": found.checksum, "records": found.records})

    def blocks(self, positions: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the pixels at these positions in order, uint8 [up to 256, side, side, 3] at a time."""
        with self.slots.open("rb") as file:
            for cut in range(0, len(positions), BLOCK):
                some = positions[cut : cut + BLOCK]
                block = np.empty((len(some), self.side, self.side, 3), dtype=np.uint8)
                for image, position in zip(block, some, strict=True):
                    file.seek(position * self.image_bytes)
                    file.readinto(image.data)
                yield block

    def drop_pixels(self) -> None:
        """Free the disk of the slots; the records stay."""
        self.slots.unlink(missing_ok=True)

    def _append(self, line: dict[str, object]) -> None:
        with (self.folder / "journal.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _take(self, chunk: Chunk, records: list[Record]) -> None:
        for (position, _, _), record in zip(chunk.files, records, strict=True):
            self.records[position] = record

    def _resume(self, plan: str, chunks: list[Chunk], packed: bool) -> set[int] | None:
        """Return the chunks done, or ``None`` where there is nothing that fits this plan."""
        try:
            text = (self.folder / "journal.jsonl").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        read = [_parse(line) for line in text.split("\n") if line]
        if not read or read[0].get("plan") != plan or not (packed or self.slots.exists()):
            return None
        if not text.endswith("\n"):
            self._append({})  # ends the line that a kill has cut short
        done: set[int] = set()
        for line in read[1:]:
            if "records" not in line:
                continue
            chunk = chunks[line["chunk"]]
            records = [Record(*fields[:-1], notes=tuple(fields[-1])) for fields in line["records"]]
            if packed or self._checksum(chunk, records) == line["checksum"]:
                self._take(chunk, records)
                done.add(chunk.index)
        return done

    def _checksum(self, chunk: Chunk, records: list[Record]) -> int:
        """Return the checksum of the pixels that lie on the disk: after a power cut they may be less than was noted."""
        value = 0
        with self.slots.open("rb") as file:
            for (position, _, _), record in zip(chunk.files, records, strict=True):
                if not record.reason:
                    file.seek(position * self.image_bytes)
                    value = zlib.crc32(file.read(self.image_bytes), value)
        return value


def begun(work: Path) -> bool:
    """Return whether any source of a pack in progress has a finished chunk."""
    for journal in work.glob("*/journal.jsonl"):
        with journal.open(encoding="utf-8", errors="replace") as lines:
            if any("chunk" in _parse(line) for line in lines):
                return True
    return False


def _parse(line: str) -> dict:
    """Return a journal line; one that a kill has cut short says nothing."""
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        return {}
