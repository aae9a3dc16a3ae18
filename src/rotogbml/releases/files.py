"""The files of a release, wherever they lie: in a folder, in an archive, or in several archives in a folder.

Nothing is unpacked. A file is named by its path; in an archive that lies in a folder, the archive's name comes first.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from rotogbml.errors import UsageError
from rotogbml.sources.containers import ARCHIVE_SUFFIXES, Container, FoundFile, Reader, Skip, container_at
from rotogbml.sources.tree import IMAGE_SUFFIXES

LABEL_BYTES = 1 << 30
"""A label file above 1 GiB is refused unread,"""
TABLE_BYTES = 1 << 28
"""a table or list above 256 MiB, which takes several times as much to part into lines and columns,"""
BOMB = 100
"""and one of an archive above a quarter of that which is so many times the whole archive."""
LINE_BYTES = 1 << 20
"""A line of a table above 1 MiB is refused before it is parted into columns."""
KEPT = 1 << 24
PARTIAL = (".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp")


class Place(NamedTuple):
    """Where a file lies."""

    container: int
    file: FoundFile


@dataclass
class Files:
    """All files of a release."""

    root: Path
    containers: tuple[Container, ...]
    found: dict[str, Place]
    skips: list[Skip] = field(default_factory=list)
    """What may not be read: links, names out of the archive, ..."""
    kept: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Small label files that were read: in a packed archive each costs a pass over it."""
    remarks: list[str] = field(default_factory=list)
    """What was seen in label files that the user should know."""

    @cached_property
    def images(self) -> list[str]:
        """Paths with the ending of an image, sorted."""
        return sorted(path for path in self.found if is_image(path))

    def named(self, *patterns: str) -> list[str]:
        """Return the paths whose last part is one of the patterns (``*`` for any text), whatever its case."""
        wanted = [pattern.casefold() for pattern in patterns]
        return sorted(
            (path for path in self.others if any(fnmatchcase(base(path).casefold(), one) for one in wanted)),
            key=lambda path: (path.count("/"), path),
        )

    def one(self, *patterns: str) -> str | None:
        """Return the path of the one file so named, the least deep of equal copies; ``None`` where there is none.

        Raises:
            UsageError: There are several that differ: two releases lie in one place.
        """
        paths = self.named(*patterns)
        if len(paths) > 1:
            first = self.read(paths[0])
            for other in paths[1:]:
                if self.read(other) == first:
                    continue
                if base(other).casefold() == base(paths[0]).casefold():
                    raise UsageError(
                        f"{self.root} holds two releases: '{paths[0]}' and '{other}' differ: give the folder of one"
                    )
                self.remarks.append(f"'{paths[0]}' is read, and '{other}', which differs from it, is not")
        return paths[0] if paths else None

    def read(self, path: str) -> bytes:
        """Return the bytes of a label file.

        Raises:
            UsageError: They cannot be read, or are too many.
        """
        if path in self.kept:
            return self.kept[path]
        place = self.found[path]
        size, container = place.file.size, self.containers[place.container]
        most = LABEL_BYTES if path.casefold().endswith((".json", ".mat")) else TABLE_BYTES
        if container.kind != "folder":
            most = min(most, max(TABLE_BYTES // 4, BOMB * container.path.stat().st_size))
        if size > most:
            raise UsageError(f"'{path}' in {self.root} has {size:,} bytes: no label file is so large")
        data = self._by(path, lambda reader: reader.read(place.file.key, size, most))
        if len(data) <= KEPT:
            self.kept[path] = data
        return data

    def _by(self, path: str, take: Callable[[Reader], bytes]) -> bytes:
        reader = Reader(self.containers[self.found[path].container])
        try:
            return take(reader)
        except OSError as error:
            raise UsageError(
                f"'{path}' in {self.root} cannot be read ({error.strerror or error}): fetch it again"
            ) from None
        finally:
            reader.close()

    def text(self, path: str) -> str:
        """Return a label file as text: UTF-8 or UTF-16 by its mark, else UTF-8, else Latin-1; with line feeds alone."""
        return _decoded(self.read(path))

    def first_line(self, path: str) -> str:
        """Return the first line of a label file that is not empty; little more than that is read.

        Raises:
            UsageError: It cannot be read, or is too long for a line of a table.
        """
        file = self.found[path].file
        start = self.kept.get(path)
        if start is None:
            start = self._by(path, lambda reader: reader.start(file.key, min(file.size, LINE_BYTES)))
        if len(start) < file.size:
            start = start[: max(start.rfind(b"\n"), start.rfind(b"\r")) + 1]  # no character is cut in two
        line = _decoded(start).lstrip("\n").partition("\n")[0]
        if len(line) > LINE_BYTES or (len(start) < file.size and not line.strip()):
            raise self.too_long(path, 1)
        return line

    def too_long(self, path: str, line: int) -> UsageError:
        """Return the refusal of a line."""
        return UsageError(
            f"'{path}' in {self.root}, line {line:,}: above {LINE_BYTES >> 20} MiB, no line of a table is so long: "
            "fetch the file again, or move it elsewhere where it is not of the release"
        )

    @cached_property
    def others(self) -> list[str]:
        """Paths of all other files."""
        return [path for path in self.found if not is_image(path)]


def is_image(path: str) -> bool:
    """Return whether a path has the ending of an image file."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def _decoded(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", errors="replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def base(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]


def stem(path: str) -> str:
    """Return the last part of a path without its ending."""
    name = base(path)
    return name.rpartition(".")[0] or name


def list_files(path: Path) -> Files:
    """List a folder or an archive, with the archives that lie in the folder."""
    outer = container_at(path)
    assert outer is not None
    listed, skips = outer.files()
    found: dict[str, Place] = {file.path: Place(0, file) for file in listed}
    containers = [outer]
    if outer.kind == "folder":
        loose = set(found)
        inner = [file for file in listed if file.path.lower().endswith(ARCHIVE_SUFFIXES)]
        halves = [file for file in listed if file.path.lower().endswith(PARTIAL)]
        skips += [Skip(file.path, "a download that is not finished") for file in halves]
        for file in inner:
            container = container_at(path / str(file.key))
            if container is None:
                continue
            more, refused = container.files()
            skips += [skip._replace(path=f"{file.path}/{skip.path}") for skip in refused]
            new = list(_unless_unpacked(more, loose, file.path))
            if not new:
                continue
            del found[file.path]
            found |= {f"{file.path}/{each.path}": Place(len(containers), each) for each in new}
            containers.append(container)
    return Files(path, tuple(containers), found, skips)


def _unless_unpacked(files: list[FoundFile], loose: set[str], archive: str) -> Iterator[FoundFile]:
    """Yield the files of an archive that do not also lie unpacked beside it."""
    folder = archive.rpartition("/")[0]
    name = base(archive)
    bare = name[: -len(max((s for s in ARCHIVE_SUFFIXES if name.lower().endswith(s)), key=len))]
    starts = [f"{start}/" if start else "" for start in (folder, f"{folder}/{bare}".lstrip("/"))]
    for file in files:
        tail = file.path.partition("/")[2]
        if not any(start + one in loose for start in starts for one in (file.path, tail) if one):
            yield file
