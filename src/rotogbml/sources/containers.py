"""What may hold images: a folder, a .tar (plain, .gz or .bz2) or a .zip. Listed and read in place, never unpacked.

No listed file can lie outside its container: absolute names, ``..``, links and device files are refused.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import os
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rotogbml.errors import UsageError

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".zip")
MAX_BYTES = 1 << 29
"""A file above half a GiB is no photo: it is refused unread."""

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error, ValueError, NotImplementedError)


class FoundFile(NamedTuple):
    """A regular file: its path as shown ('/' between the parts), and what its container reads it by."""

    path: str
    key: str | int
    size: int
    stamp: int


class Skip(NamedTuple):
    """A file that is not taken, and why. ``ignored`` where nobody would expect it to be an image."""

    path: str
    reason: str
    ignored: bool = False


@dataclass(frozen=True)
class Container:
    """A place that holds files."""

    kind: Literal["folder", "tar", "tar.gz", "tar.bz2", "zip"]
    path: Path

    def files(self) -> tuple[list[FoundFile], list[Skip]]:
        """List its regular files and what was refused, each sorted by path.

        Raises:
            UsageError: An archive is damaged, or a folder cannot be listed.
        """
        found: dict[str, FoundFile] = {}
        skips: list[Skip] = []
        try:
            for item in _LISTS[self.kind](self.path):
                if isinstance(item, Skip):
                    skips.append(item)
                    continue
                if item.path in found:
                    skips.append(Skip(item.path, "stands twice in the archive: the last one counts"))
                found[item.path] = item
        except PermissionError as error:
            raise UsageError(f"{self.path} may not be read ({error.strerror}): check its permissions") from None
        except _DAMAGED as error:
            raise UsageError(f"{self.path} is damaged or no {self.kind} ({error}): fetch or make it again") from None
        return [found[path] for path in sorted(found)], sorted(skips)


def container_at(path: Path) -> Container | None:
    """Return the container at ``path``: a folder, or a file named like an archive; otherwise ``None``."""
    if path.is_dir():
        return Container("folder", path)
    name = path.name.lower()
    if not name.endswith(ARCHIVE_SUFFIXES) or not path.is_file():
        return None
    if name.endswith(".zip"):
        return Container("zip", path)
    with path.open("rb") as file:
        start = file.read(3)
    kind = "tar.gz" if start[:2] == b"\x1f\x8b" else "tar.bz2" if start == b"BZh" else "tar"
    return Container(kind, path)


class Reader:
    """Reads files of one container; it holds at most one open handle, and goes fastest in the order of ``key``."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._handle: Any = None

    def read(self, key: str | int, size: int, limit: int = MAX_BYTES) -> bytes:
        """Return the bytes of a listed file.

        Raises:
            OSError: They cannot be read, or are too many; the text says why.
        """
        if size > limit:
            raise OSError(f"larger than {limit >> 20} MiB")
        if self.container.kind == "folder":
            return (self.container.path / str(key)).read_bytes()
        try:
            if self._handle is None:
                self._handle = self._open()
            if self.container.kind == "zip":
                with self._handle.open(str(key)) as file:
                    return file.read(size)
            self._handle.seek(int(key))
            data = self._handle.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
            raise OSError(f"the archive is damaged here: {error}") from None
        if len(data) != size:
            raise OSError("the archive ends inside this file")
        return data

    def start(self, key: str | int, count: int) -> bytes:
        """Return the first bytes of a listed file that has as many.

        Raises:
            OSError: They cannot be read; the text says why.
        """
        if self.container.kind != "folder":
            return self.read(key, count)
        with (self.container.path / str(key)).open("rb") as file:
            return file.read(count)

    def close(self) -> None:
        """Let go of the open handle."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _open(self) -> Any:
        path = self.container.path
        if self.container.kind == "zip":
            return zipfile.ZipFile(path)
        if self.container.kind == "tar.bz2":
            return bz2.open(path)
        return gzip.open(path) if self.container.kind == "tar.gz" else path.open("rb")


def shown(name: str) -> str:
    """Return a name that can be printed and stored: control characters and undecodable bytes are spelled out."""
    if name.isprintable():
        return name
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) == "Cc" else c for c in text)


def hidden(part: str) -> bool:
    """Return whether a part of a path is one that no one put there by hand."""
    return part.startswith(".") or part == "__MACOSX"


def _list_folder(root: Path) -> Iterator[FoundFile | Skip]:
    base = root.resolve()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            with os.scandir(base / prefix) as items:
                for item in items:
                    path = f"{prefix}{item.name}"
                    if hidden(item.name):
                        yield Skip(shown(path), "hidden", ignored=True)
                    elif item.is_symlink():
                        yield from _resolve_link(base, path)
                    elif item.is_dir():
                        waiting.append(f"{path}/")
                    elif item.is_file():
                        status = item.stat()
                        yield FoundFile(shown(path), path, status.st_size, status.st_mtime_ns)
                    else:
                        yield Skip(shown(path), "neither a file nor a folder")
        except PermissionError:
            if not prefix:
                raise
            yield Skip(shown(prefix), "the folder may not be read")


def _resolve_link(base: Path, path: str) -> Iterator[FoundFile | Skip]:
    try:
        target = (base / path).resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        target = base / path
    if not target.is_relative_to(base):
        yield Skip(shown(path), "symbolic link out of the tree")
    elif target.is_symlink() or not target.exists():
        yield Skip(shown(path), "broken symbolic link")
    elif not target.is_file():
        yield Skip(shown(path), "symbolic link to a folder")
    else:
        status = target.stat()
        yield FoundFile(shown(path), path, status.st_size, status.st_mtime_ns)


def _list_tar(path: Path, mode: Literal["r:", "r:gz", "r:bz2"] = "r:") -> Iterator[FoundFile | Skip]:
    # The mode is named: tarfile would also list what is packed in a way that the reader does not undo.
    with tarfile.open(path, mode) as archive:
        tar: Any = archive
        while (member := tar.next()) is not None:
            tar.members = []  # it would keep every header
            if member.size < 0:  # what follows it would be looked for before it, again and again
                raise tarfile.ReadError(f"'{shown(member.name)}' has a size of {member.size:,} bytes")
            name = _inside(member.name)
            if member.isdir():
                continue
            if name is None:
                yield Skip(shown(member.name), "would lie outside the archive's folder")
            elif any(map(hidden, name.split("/"))):
                yield Skip(shown(name), "hidden", ignored=True)
            elif member.issym() or member.islnk():
                yield Skip(shown(name), "link in an archive")
            elif not member.isreg() or member.issparse():
                yield Skip(shown(name), "not a plain file")
            else:
                yield FoundFile(shown(name), member.offset_data, member.size, int(member.mtime))
        # tarfile takes a damaged header for the end, and so it takes a file that was cut off between two members;
        # a true end is a block of zeros.
        stream = tar.fileobj
        stream.seek(tar.offset)
        end = stream.read(tarfile.BLOCKSIZE)
        if end.strip(b"\0"):
            raise tarfile.ReadError(f"no header where one should be, at byte {tar.offset}")
        if len(end) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"cut off at byte {tar.offset}, without the zeros that end a tar")


def _list_tar_gz(path: Path) -> Iterator[FoundFile | Skip]:
    return _list_tar(path, "r:gz")


def _list_tar_bz2(path: Path) -> Iterator[FoundFile | Skip]:
    return _list_tar(path, "r:bz2")


def _list_zip(path: Path) -> Iterator[FoundFile | Skip]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            raw = info.filename.replace("\\", "/")
            if not info.flag_bits & 0x800:
                # Many tools write UTF-8 without saying so; zipfile then reads it as code page 437.
                with contextlib.suppress(UnicodeError):
                    raw = raw.encode("cp437").decode("utf-8")
            name = _inside(raw)
            if info.is_dir() or raw.endswith("/"):
                continue
            if name is None:
                yield Skip(shown(raw), "would lie outside the archive's folder")
            elif any(map(hidden, name.split("/"))):
                yield Skip(shown(name), "hidden", ignored=True)
            elif stat.S_ISLNK(info.external_attr >> 16):
                yield Skip(shown(name), "link in an archive")
            elif info.flag_bits & 0x1:
                yield Skip(shown(name), "encrypted")
            else:
                yield FoundFile(shown(name), info.filename, info.file_size, info.CRC)


def _inside(name: str) -> str | None:
    """Return the name without ``.`` parts, or ``None`` where it points out of the archive's folder."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    escapes = name.startswith("/") or ".." in parts or (parts and len(parts[0]) == 2 and parts[0][1] == ":")
    return None if escapes or not parts else "/".join(parts)


_LISTS = {
    "folder": _list_folder,
    "tar": _list_tar,
    "tar.gz": _list_tar_gz,
    "tar.bz2": _list_tar_bz2,
    "zip": _list_zip,
}
