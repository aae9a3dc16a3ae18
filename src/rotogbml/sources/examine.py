"""Reading and decoding many images on all cores: the work that a scan and a pack have in common."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rotogbml.errors import RotogbmlError
from rotogbml.sources.containers import Container, Reader
from rotogbml.sources.decode import BadImageError, decode
from rotogbml.sources.tree import FoundSource

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
    entries = list(enumerate(source.entries))
    if source.container.kind in ("tar", "tar.gz"):
        entries.sort(key=lambda item: int(item[1].key))
    files = [(position, entry.key, entry.size) for position, entry in entries]
    groups: list[list[tuple[int, str | int, int]]] = []
    weight = 0
    for file in files:
        if not groups or len(groups[-1]) == CHUNK or weight + file[2] > CHUNK_BYTES:
            groups.append([])
            weight = 0
        groups[-1].append(file)
        weight += file[2]
    return [
        Chunk(source.name, index, source.container, tuple(group), side, slots) for index, group in enumerate(groups)
    ]


def workers_for(chunks: Sequence[Chunk]) -> int:
    """Return how many processes the work is worth: starting one takes as long as a few chunks."""
    return min(cores(), max(1, len(chunks) // 4))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def examine_all(chunks: Iterable[Chunk], workers: int) -> Iterator[tuple[Chunk, Examined]]:
    """Yield each chunk with what was found in it, as they get ready, at most a few a core ahead.

    Raises:
        RotogbmlError: A worker process died.
        OSError: The pixels could not be written.
    """
    if workers == 1:
        try:
            for chunk in chunks:
                yield chunk, examine(chunk)
        finally:
            _release()
        return
    # Spawned, not forked: a fork of a process that has threads (torch, a progress bar) may never wake up.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    waiting = iter(chunks)
    running: dict[Future[Examined], Chunk] = {}
    try:
        while True:
            for chunk in islice(waiting, 2 * workers + 2 - len(running)):
                running[pool.submit(examine, chunk)] = chunk
            if not running:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                chunk = running.pop(done)
                yield chunk, done.result()
    except BrokenProcessPool:
        raise RotogbmlError(
            "a worker process died (killed, or out of memory): the same command goes on where this one stopped, "
            "with workers=1 in the least memory; in a script, call it under `if __name__ == '__main__':`"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def examine(chunk: Chunk) -> Examined:
    """Read and decode the files of one chunk, and write the pixels of the good ones to their slots."""
    reader = _reader(chunk.container)
    records: list[Record] = []
    checksum = 0
    written = None if chunk.slots is None else chunk.slots.open("r+b", buffering=0)
    try:
        for position, key, size in chunk.files:
            digest = ""
            try:
                data = reader.read(key, size)
                digest = hashlib.sha256(data).hexdigest()
                image = decode(data, chunk.side)
            except BadImageError as error:
                records.append(Record(digest, str(error), 0, 0, "", ()))
                continue
            except OSError as error:
                records.append(Record(digest, f"cannot be read: {error.strerror or error}", 0, 0, "", ()))
                continue
            records.append(Record(digest, "", image.width, image.height, image.mode, image.notes))
            if written is not None:
                pixels = image.pixels.tobytes()
                written.seek(position * len(pixels))
                _write_all(written, pixels)
                checksum = zlib.crc32(pixels, checksum)
    finally:
        if written is not None:
            written.close()
    return Examined(records, checksum)


def _write_all(file: FileIO, pixels: bytes) -> None:
    """Write it all: an unbuffered file may take only a part when the disk gets full, and then says why."""
    left = memoryview(pixels)
    while left:
        left = left[file.write(left) :]


_current: Reader | None = None


def _reader(container: Container) -> Reader:
    """Return this process's reader of a container; what it keeps open makes the next chunk cheap."""
    global _current
    if _current is None or _current.container != container:
        _release()
        _current = Reader(container)
    return _current


def _release() -> None:
    global _current
    if _current is not None:
        _current.close()
    _current = None


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it, even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
