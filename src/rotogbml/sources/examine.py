"""Reading and decoding a chunk of images: the work that a scan and a pack have in common."""

from __future__ import annotations

import hashlib
import zlib
from contextlib import nullcontext
from io import FileIO
from pathlib import Path
from typing import NamedTuple, Self

from rotogbml.sources.containers import Container, Reader
from rotogbml.sources.decode import BadImageError, decode
from rotogbml.sources.tree import Entry, FoundSource

CHUNK = 64
CHUNK_BYTES = 1 << 24
"""Images, and bytes of their files, in a unit of work: what a kill can cost."""


class Record(NamedTuple):
    """What is known of one file once it has been read."""

    digest: str
    """SHA-256 of its bytes; empty where they could not be read."""
    reason: str
    """Why it cannot be used; empty for a good image."""
    width: int
    height: int
    mode: str
    notes: tuple[str, ...]


class Chunk(NamedTuple):
    """Some images of one source: position in the source, key and size of each."""

    source: str
    index: int
    container: Container
    files: tuple[tuple[int, str | int, int], ...]
    side: int
    slots: Path | None
    """Where the pixels go, position by position; nowhere in a scan."""


class Examined(NamedTuple):
    """The records of a chunk in its order, and a checksum of the pixels that were written."""

    records: list[Record]
    checksum: int


def chunks_of(source: FoundSource, side: int, slots: Path | None = None) -> list[Chunk]:
    """Cut a source into chunks, in the order in which its container is read fastest."""
    groups: list[tuple[Container, list[tuple[int, str | int, int]]]] = []
    places: list[list[tuple[int, Entry]]] = [[] for _ in source.containers]
    for position, entry in enumerate(source.entries):
        places[entry.place].append((position, entry))
    for container, entries in zip(source.containers, places, strict=True):
        if container.kind.startswith("tar"):
            entries.sort(key=lambda item: int(item[1].key))
        weight = CHUNK_BYTES + 1  # the first file of a container begins a chunk
        for position, entry in entries:
            if weight + entry.size > CHUNK_BYTES or len(groups[-1][1]) == CHUNK:
                groups.append((container, []))
                weight = 0
            groups[-1][1].append((position, entry.key, entry.size))
            weight += entry.size
    return [
        Chunk(source.name, index, container, tuple(group), side, slots)
        for index, (container, group) in enumerate(groups)
    ]


class Examiner:
    """Examines chunk after chunk; what it keeps open of a container makes the next chunk of it cheap."""

    def __init__(self) -> None:
        self._reader: Reader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.close()

    def examine(self, chunk: Chunk) -> Examined:
        """Read and decode the files of a chunk, and write the pixels of the good ones to their slots.

        Raises:
            OSError: The pixels could not be written.
        """
        if self._reader is None or self._reader.container != chunk.container:
            self.__exit__()
            self._reader = Reader(chunk.container)
        records: list[Record] = []
        checksum = 0
        with nullcontext() if chunk.slots is None else chunk.slots.open("r+b", buffering=0) as slots:
            for position, key, size in chunk.files:
                record, pixels = _examine(self._reader, key, size, chunk.side)
                records.append(record)
                if slots is not None and pixels:
                    slots.seek(position * len(pixels))
                    _write_all(slots, pixels)
                    checksum = zlib.crc32(pixels, checksum)
        return Examined(records, checksum)


def _examine(reader: Reader, key: str | int, size: int, side: int) -> tuple[Record, bytes]:
    digest = ""
    try:
        data = reader.read(key, size)
        digest = hashlib.sha256(data).hexdigest()
        image = decode(data, side)
    except BadImageError as error:
        return Record(digest, str(error), 0, 0, "", ()), b""
    except OSError as error:
        return Record(digest, f"cannot be read: {error.strerror or error}", 0, 0, "", ()), b""
    return Record(digest, "", image.width, image.height, image.mode, image.notes), image.pixels.tobytes()


def _write_all(file: FileIO, pixels: bytes) -> None:
    """Write it all: an unbuffered file may take only a part when the disk gets full, and then says why."""
    left = memoryview(pixels)
    while left:
        left = left[file.write(left) :]
