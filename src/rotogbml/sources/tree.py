"""The folder trees people have, read as sources and classes.

``ROOT/<source>/<class>/*``, ``ROOT/<source>/{train,val,test}/<class>/*``, ``ROOT/<class>/*`` and
``ROOT/{train,val,test}/<class>/*`` (one source alone, named after ROOT); ROOT may be an archive of any of these,
or a folder of such archives, one a source. The layout that explains the most images wins, and the images that it
does not explain are skipped and said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rotogbml.errors import UsageError
from rotogbml.sources.containers import ARCHIVE_SUFFIXES, Container, FoundFile, Skip, container_at, hidden, shown

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
EXPECTED = "ROOT/<source>/<class>/*.jpg (or ROOT/<class>/*.jpg for one source, or a .tar or .zip of either)"


@dataclass(frozen=True)
class ClassSplit:
    """Class names under ``train``, ``val`` and ``test``, or under ``all``; each sorted."""

    splits: dict[str, list[str]]
    rule: str
    """One sentence: how the classes were split."""
    notes: tuple[str, ...] = ()
    """What the user should know about it."""


class Entry(NamedTuple):
    """An image that is to be read."""

    path: str
    """Relative to ROOT, as it is shown and recorded."""
    label: str
    """Its class."""
    key: str | int
    size: int
    stamp: int
    """What the container reads it by, its bytes, and when it was changed (for a zip, a checksum)."""
    place: int = 0
    """Which of its source's containers it lies in."""
    group: str = ""
    """What else shows the same lesion, leaf or patient; empty where nothing is known to."""


@dataclass(frozen=True)
class FoundSource:
    """The images of one distribution, in the order in which they would be packed."""

    name: str
    container: Container
    entries: tuple[Entry, ...]
    """Sorted by class, then by path."""
    folder_splits: dict[str, frozenset[str]]
    """Class to the splits in whose folders it lies; empty where there are no such folders."""
    layout: str
    others: tuple[Container, ...] = ()
    """More containers: a release may come in several archives."""
    given: ClassSplit | None = None
    """A split that belongs to the images themselves, as that of a published data set does."""
    made: Mapping[str, Any] = field(default_factory=dict)
    """What is recorded of where it comes from."""
    keep_copies: bool = False
    """Whether images of equal bytes are all kept, as one group, rather than the first alone."""

    @property
    def containers(self) -> tuple[Container, ...]:
        """Every container; ``Entry.place`` counts them."""
        return (self.container, *self.others)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, sorted."""
        return tuple(sorted({entry.label for entry in self.entries}))


@dataclass(frozen=True)
class Tree:
    """All that was found under ROOT."""

    root: Path
    sources: tuple[FoundSource, ...]
    skips: tuple[Skip, ...]


def find_sources(root: str | Path) -> Tree:
    """List the sources under ``root``, sorted by name; no image is opened.

    Raises:
        UsageError: There is no such place, nothing in it has one of the layouts, an archive is damaged, or
            two sources have the same name.
    """
    root = Path(root)
    if not root.exists():
        raise UsageError(f"no folder or archive at {root}: give the place of the images, {EXPECTED}")
    outer = container_at(root)
    if outer is None:
        kinds = ", ".join(ARCHIVE_SUFFIXES)
        raise UsageError(f"{root} is neither a folder nor an archive ({kinds}): give the place of the images")
    sources: list[FoundSource] = []
    skips: list[Skip] = []
    archives = _archives(outer)
    for container, prefix in [(outer, ""), *((inner, f"{inner.path.name}/") for inner in archives)]:
        found, left = _read(container, prefix)
        sources += found
        skips += [skip for skip in left if not (container is outer and skip.path in {a.path.name for a in archives})]
        if prefix and not found:
            skips.append(Skip(prefix[:-1], "an archive without images in class folders"))
    if not sources:
        strays = [skip for skip in skips if not skip.ignored]
        seen = f" ({len(strays)} files lie elsewhere, such as '{strays[0].path}': {strays[0].reason})" if strays else ""
        raise UsageError(f"no images under {root}{seen}: expected {EXPECTED}")
    names = Counter(source.name for source in sources)
    for name, count in names.items():
        if count > 1:
            places = " and ".join(str(s.container.path) for s in sources if s.name == name)
            raise UsageError(f"two sources are named '{name}', in {places}: rename or remove one")
    return Tree(root, tuple(sorted(sources, key=lambda source: source.name)), tuple(sorted(skips)))


def _archives(outer: Container) -> list[Container]:
    """Return the archives that lie at the top of a folder."""
    if outer.kind != "folder":
        return []
    paths = sorted(p for p in outer.path.iterdir() if p.is_file() and not p.is_symlink() and not hidden(p.name))
    return [inner for inner in map(container_at, paths) if inner is not None]


class _Placed(NamedTuple):
    file: FoundFile
    source: str
    split: str | None
    label: str
    layout: str


def _read(container: Container, prefix: str) -> tuple[list[FoundSource], list[Skip]]:
    """Return the sources in one container, and what is not taken; ``prefix`` starts every path that is shown."""
    files, skips = container.files()
    images: list[FoundFile] = []
    for file in files:
        suffix = _suffix(file.path)
        if suffix in IMAGE_SUFFIXES:
            images.append(file)
        else:
            skips.append(Skip(file.path, f"not an image file ({suffix or 'no extension'})", ignored=True))
    own_name = _own_name(container)
    placed, strays = _place(images, own_name)
    skips += strays
    groups: dict[str, list[_Placed]] = defaultdict(list)
    for item in placed:
        groups[item.source].append(item)
    if prefix and len(groups) == 1:
        groups = {own_name: next(iter(groups.values()))}
    sources = [_source(name, container, items, prefix) for name, items in groups.items()]
    return sources, [skip._replace(path=prefix + skip.path) for skip in skips]


def _suffix(path: str) -> str:
    """Return what follows the last dot of a file name, in small letters, with the dot."""
    stem, dot, suffix = path.rpartition("/")[2].rpartition(".")
    return dot + suffix.lower() if stem else ""


def _own_name(container: Container) -> str:
    name = container.path.resolve().name
    if container.kind != "folder":
        suffix = max((s for s in ARCHIVE_SUFFIXES if name.lower().endswith(s)), key=len)
        name = name[: -len(suffix)]
    return shown(name).lstrip(".") or "images"


def _source(name: str, container: Container, items: list[_Placed], prefix: str) -> FoundSource:
    entries = [Entry(prefix + i.file.path, i.label, i.file.key, i.file.size, i.file.stamp) for i in items]
    splits: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.split is not None:
            splits[item.label].add(item.split)
    return FoundSource(
        name=name,
        container=container,
        entries=tuple(sorted(entries, key=lambda entry: (entry.label, entry.path))),
        folder_splits={label: frozenset(found) for label, found in sorted(splits.items())},
        layout=items[0].layout,
    )


def _place(images: list[FoundFile], own_name: str) -> tuple[list[_Placed], list[Skip]]:
    """Give each image its source, split and class, by the layout that explains the most images."""
    folders = [tuple(image.path.split("/")[:-1]) for image in images]
    while _wrapped(folders):
        folders = [f[1:] for f in folders]
    layouts = [_layout(f) for f in folders]
    counts = Counter(layouts)
    single = counts["class"] + counts["split/class"]
    several = counts["source/class"] + counts["source/split/class"]
    if single >= several:
        best = "class" if counts["class"] >= counts["split/class"] else "split/class"
        chosen = [best] * len(images)
    else:
        chosen = _per_source(folders, layouts)
    placed: list[_Placed] = []
    skips: list[Skip] = []
    for image, parts, layout, wanted in zip(images, folders, layouts, chosen, strict=True):
        if layout != wanted:
            skips.append(Skip(image.path, f"does not lie in ROOT/{_spelled(wanted)}/"))
            continue
        source = parts[0] if layout.startswith("source") else own_name
        split = SPLIT_FOLDERS[parts[-2].lower()] if "split" in layout else None
        placed.append(_Placed(image, source, split, parts[-1], f"ROOT/{_spelled(layout)}/*"))
    return placed, skips


def _wrapped(folders: list[tuple[str, ...]]) -> bool:
    """Return whether all lie in one folder that is none of the layout's: a zip of a folder often holds that folder."""
    deeper = sum(_layout(f) == "deeper" for f in folders)
    return 2 * deeper > len(folders) and len({f[:1] for f in folders}) == 1


def _per_source(folders: list[tuple[str, ...]], layouts: list[str]) -> list[str]:
    """Return for each image the layout of its source: with split folders, or without, by the number of images."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for parts, layout in zip(folders, layouts, strict=True):
        if layout.startswith("source"):
            counts[parts[0]][layout] += 1
    best = {
        name: "source/class" if c["source/class"] >= c["source/split/class"] else "source/split/class"
        for name, c in counts.items()
    }
    return [best.get(parts[0] if parts else "", "source/class") for parts in folders]


def _layout(folders: tuple[str, ...]) -> str:
    depth = len(folders)
    if depth == 1:
        return "class"
    if depth == 2:
        return "split/class" if folders[0].lower() in SPLIT_FOLDERS else "source/class"
    if depth == 3 and folders[1].lower() in SPLIT_FOLDERS:
        return "source/split/class"
    return "deeper" if depth > 2 else "loose"


def _spelled(layout: str) -> str:
    return "/".join({"split": "{train,val,test}"}.get(part, f"<{part}>") for part in layout.split("/"))


def count_reasons(skips: Iterable[Skip]) -> dict[str, int]:
    """Return how many files share each reason, the most frequent first; details after a colon are not told apart."""
    counts = Counter(skip.reason.split(":")[0] for skip in skips)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
