"""``rotogbml data list``: every release that is known, and what of it is packed already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rotogbml.errors import UsageError
from rotogbml.releases.registry import RELEASES
from rotogbml.releases.release import Release
from rotogbml.sources.packed import SOURCE_FILE, PackedSource, open_pack
from rotogbml.sources.writer import side_of

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Listing:
    """All releases, and the packs of them that were found."""

    releases: tuple[Release, ...]
    packed: Mapping[str, tuple[PackedSource, ...]]

    def __rich__(self) -> RenderableType:
        """Draw the table."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for title, numbers in (
            ("name", 0),
            ("classes", 1),
            ("images", 1),
            ("84 px", 1),
            ("class split", 0),
            ("groups", 0),
        ):
            table.add_column(title, justify="right" if numbers else "left", no_wrap=True)
        for release in self.releases:
            table.add_row(
                release.name,
                f"{release.classes:,}" if release.classes else "",
                f"{release.images:,}" if release.images else "",
                _gigabytes(release.images, 84),
                " or ".join(release.splits) if release.classes else "",
                release.groups,
            )
        packed = [  # below the table: a path in a column of it would be cut into pieces of a few letters
            f"packed: {release.name}, {len(source.images):,} at {source.size} px: {source.path.parent}"
            for release in self.releases
            for source in self.packed[release.name]
        ]
        lines = [
            f"{release.name}: {release.title}. Publisher: {release.publisher}. Terms: {release.terms}. "
            f"On disk: {release.layout}."
            for release in self.releases
        ]
        paths = (Text(line, no_wrap=True, overflow="ignore") for line in packed)
        return Group(table, *paths, *(Text(line) for line in lines))


def _gigabytes(images: int, size: int) -> str:
    return f"{images * side_of(size, 0.15) ** 2 * 3 / 1e9:.2f} GB" if images else ""


def list_releases(packs: Iterable[str] | None = None) -> Listing:
    """Return every release, and the packs of each.

    Args:
        packs: Packs, or folders of packs; what lies in the working folder where not given.
    """
    folders = [Path.cwd()] if packs is None else [Path(pack) for pack in packs]
    found: dict[str, list[PackedSource]] = defaultdict(list)
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"no folder at {folder}: give packs, or a folder of packs")
        heads = {head.parent for depth in ("", "*/", "*/*/", "*/*/*/") for head in folder.glob(f"{depth}{SOURCE_FILE}")}
        for place in sorted(heads):
            if place.name.startswith(".") or any(part.startswith(".") for part in place.relative_to(folder).parts):
                continue
            try:
                source = next(iter(open_pack(place).values()))
            except UsageError:
                continue  # a damaged one is said where it is used
            release = source.made.get("release")
            if release in RELEASES:
                found[release].append(source)
    return Listing(tuple(RELEASES.values()), {name: tuple(found[name]) for name in RELEASES})
