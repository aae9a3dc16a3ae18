"""Where a release begins, given any place in it, above it or beside its labels; what is a stranger's is left alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from rotogbml.errors import UsageError
from rotogbml.releases.files import PARTIAL, Files, base, is_image, list_files
from rotogbml.sources.containers import ARCHIVE_SUFFIXES, container_at
from rotogbml.sources.tree import SPLIT_FOLDERS

CLIMB = 4
"""How far above the place that was given the rest of a release is looked for."""


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
    files = list_files(path) if container_at(path) is not None else None
    if anywhere:
        if files and _holds(files, marks):
            return files
        for above in marked_above(path, marks, levels=1 if files and _parted(files, folders) else CLIMB):
            return list_files(above)
        if files and _holds(files, folders, only_folders=True):
            whole = _whole(path.resolve())
            return files if whole == path.resolve() else list_files(whole)
        for above in marked_above(path, folders, only_folders=True):
            if _within(path.resolve(), above, folders):
                return list_files(_whole(above))
        for above in beside(path, marks):
            return list_files(above)
    if files is None:
        kinds = ", ".join(ARCHIVE_SUFFIXES)
        raise UsageError(f"{path} is neither a folder nor an archive ({kinds}): give the place of the release")
    return files


def open_above(files: Files, marks: Sequence[str]) -> Iterator[Files]:
    """Yield what lies in the folders above that have a label file or its folder, the nearest first."""
    for above in (*marked_above(files.root, marks), *beside(files.root, marks)):
        yield list_files(above)


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
    if path.is_file():
        return container_at(path) is None  # an archive is a release of its own, or none
    return way.casefold() in SPLIT_FOLDERS or way in {item.name for item in (*telling, *short)}


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
