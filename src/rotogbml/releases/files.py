"""The files of a release, wherever they lie: in a folder, in an archive, or in several archives in a folder.

Nothing is unpacked. A file is named by its path; in an archive that lies in a folder, the archive's name comes first.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from rotogbml.errors import UsageError
from rotogbml.sources.containers import ARCHIVE_SUFFIXES, Container, FoundFile, Reader, Skip, container_at
from rotogbml.sources.tree import IMAGE_SUFFIXES, SPLIT_FOLDERS

LABEL_BYTES = 1 << 30
"""A label file above 1 GiB is refused unread."""
LINE_BYTES = 1 << 20
"""A line of a table above 1 MiB is refused before it is parted into columns."""
KEPT = 1 << 24
CLIMB = 4
"""How far above the place that was given the rest of a release is looked for."""
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
        if place.file.size > LABEL_BYTES:
            raise UsageError(f"'{path}' in {self.root} has {place.file.size:,} bytes: no label file is so large")
        data = self._by(path, lambda reader: reader.read(place.file.key, place.file.size, LABEL_BYTES))
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


def open_files(
    path: str | Path, marks: Sequence[str] = (), folders: Sequence[str] = (), anywhere: bool = True
) -> Files:
    """List a release, given any place in it.

    Label files lead: where none lies at or below ``path``, the nearest folder above that has one is the root. Where
    there are none at all, folders of the release's names do the same.

    Args:
        path: A folder or archive: the release, what it lies in, or something within it.
        marks: Names of label files, with ``*`` for any text.
        folders: Names of folders, likewise.
        anywhere: Whether to look above ``path`` at all.

    Raises:
        UsageError: There is no such place, or an archive is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"no folder or archive at {path}: give the place of the release")
    if path.name.lower().endswith(PARTIAL):
        raise UsageError(f"{path} is a download that is not finished: fetch the rest of it")
    files = _list(path) if container_at(path) is not None else None
    if anywhere:
        if files and _holds(files, marks):
            return files
        for above in marked_above(path, marks, levels=1 if files and _parted(files, folders) else CLIMB):
            return _list(above)
        if files and _holds(files, folders, only_folders=True):
            whole = _whole(path.resolve())
            return files if whole == path.resolve() else _list(whole)
        for above in marked_above(path, folders, only_folders=True):
            if _within(path.resolve(), above, folders):
                return _list(_whole(above))
        for above in beside(path, marks):
            return _list(above)
    if files is None:
        kinds = ", ".join(ARCHIVE_SUFFIXES)
        raise UsageError(f"{path} is neither a folder nor an archive ({kinds}): give the place of the release")
    return files


def open_above(files: Files, marks: Sequence[str]) -> Iterator[Files]:
    """Yield what lies in the folders above that have a label file or its folder, the nearest first."""
    for above in (*marked_above(files.root, marks), *beside(files.root, marks)):
        yield _list(above)


def marked_above(
    path: Path, patterns: Sequence[str], only_folders: bool = False, levels: int = CLIMB
) -> Iterator[Path]:
    """Yield the folders above a place that directly hold something of one of the names, the nearest first."""
    folded = [pattern.casefold() for pattern in patterns]
    for above in list(path.resolve().parents)[:levels]:
        if above in (Path(above.anchor), Path.home()):
            return
        if _marked((item.name for item in _items(above) if not only_folders or item.is_dir()), folded):
            yield above


def beside(path: Path, marks: Sequence[str]) -> Iterator[Path]:
    """Yield the folder above a place where a label file lies among nothing but files, as in labels/ beside images/.

    A folder that holds images too is another release.
    """
    above = path.resolve().parent
    if above in (Path(above.anchor), Path.home()):
        return
    folded = [mark.casefold() for mark in marks]
    for folder in _items(above):
        items = list(_items(folder)) if folder.is_dir() else []
        alone = not any(item.is_dir() or is_image(item.name) for item in items)
        if alone and _marked((item.name for item in items), folded):
            yield above
            return


def _within(path: Path, above: Path, patterns: Sequence[str]) -> bool:
    """Return whether a place lies in a structure of the named folders, and not just in a folder beside them.

    Folders are called a, b or 1 for many reasons: of such names there must be two, and ``a`` must hold ``airfield``.
    """
    folded = [pattern.casefold() for pattern in patterns]
    there = [item for item in _items(above) if item.is_dir() and _marked([item.name], folded)]
    telling = [item for item in there if len(item.name) > 3]
    short = [item for item in there if len(item.name) <= 3 and (item.name.isdigit() or _lettered(item))]
    if not telling and len(short) < 2:
        return False
    way = path.relative_to(above).parts[0]
    return way.casefold() in SPLIT_FOLDERS or way in {item.name for item in (*telling, *short)} or path.is_file()


def _lettered(folder: Path) -> bool:
    first = folder.name[:1].casefold()
    return any(item.is_dir() and item.name[:1].casefold() == first for item in _items(folder))


def _holds(files: Files, patterns: Sequence[str], only_folders: bool = False) -> bool:
    """Return whether a folder, or a file that is no image, has one of the names."""
    names = {folder for place in {path.rpartition("/")[0] for path in files.found} for folder in place.split("/")}
    if not only_folders:
        names |= {base(path) for path in files.others}
    return _marked(names, [pattern.casefold() for pattern in patterns])


def _parted(files: Files, patterns: Sequence[str]) -> bool:
    """Return whether folders of the names lie in several of train, val and test: that is nearly all of a release.

    A label file far above may then be of anything: train.csv is a common name.
    """
    folded = [pattern.casefold() for pattern in patterns]
    ends = {tuple(place.casefold().split("/")[-2:]) for place in {path.rpartition("/")[0] for path in files.found}}
    parts = {SPLIT_FOLDERS.get(end[0]) for end in ends if len(end) == 2 and _marked(end[1:], folded)}
    return len(parts - {None}) > 1


def _whole(folder: Path) -> Path:
    """Return the folder above one that is named train, val or test: the others lie beside it."""
    return folder.parent if folder.is_dir() and folder.name.casefold() in SPLIT_FOLDERS else folder


def _items(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:
        return


def _marked(names: Iterable[str], patterns: list[str]) -> bool:
    return any(fnmatchcase(name.casefold(), pattern) for name in names for pattern in patterns)


def _list(path: Path) -> Files:
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
