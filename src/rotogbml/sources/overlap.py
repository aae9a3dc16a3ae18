"""Images that stand in several sources, as CUB's do in ImageNet: found by bytes and by what they show."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rotogbml.errors import UsageError
from rotogbml.files import write_atomic
from rotogbml.sources.packed import PackedSource, inputs_of, open_pack, open_source
from rotogbml.sources.prints import Prints, alike, prints_of
from rotogbml.sources.progress import progress
from rotogbml.sources.writer import BLOCK

if TYPE_CHECKING:
    from rich.console import RenderableType

BYTES = "same bytes"
PICTURE = "same picture"


class Pair(NamedTuple):
    """Two images that are one."""

    a: str
    path_a: str
    b: str
    path_b: str
    how: str
    """``same bytes``, or ``same picture`` at another size or encoded anew."""
    correlation: float
    """Of the small grey pictures; 1 for equal bytes."""


@dataclass(frozen=True)
class Known:
    """A source with the fingerprints of its images."""

    source: PackedSource
    paths: list[str]
    digests: list[str]
    prints: Prints

    @classmethod
    def of(cls, source: PackedSource, advance: object = None) -> Known:
        """Fingerprint a source; ``advance`` is told how many images are done.

        Raises:
            UsageError: The list of its files is damaged.
        """
        inputs = inputs_of(source) or [(f"row {row}", "") for row in range(len(source.images))]  # drawn, not read

        def blocks() -> Iterator[np.ndarray]:
            for start in range(0, len(source.images), BLOCK):
                block = source.images[start : start + BLOCK]
                yield block
                if callable(advance):
                    advance(len(block))

        return cls(source, [path for path, _ in inputs], [digest for _, digest in inputs], prints_of(blocks()))


@dataclass(frozen=True)
class OverlapReport:
    """Every pair that was found, and how many images each source has."""

    images: dict[str, int]
    pairs: tuple[Pair, ...]

    def write(self, path: str | Path) -> None:
        """Write all pairs as CSV."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(Pair._fields)
        writer.writerows(self.pairs)
        write_atomic(Path(path), buffer.getvalue())

    def table(self, limit: int = 20) -> RenderableType:
        """Draw the first pairs of each two sources, and counts."""
        from rich.console import Group
        from rich.text import Text

        names = " and ".join(f"{name} ({count:,} images)" for name, count in self.images.items())
        lines = [f"compared: {names}"]
        for two in dict.fromkeys((pair.a, pair.b) for pair in self.pairs):
            found = [pair for pair in self.pairs if (pair.a, pair.b) == two]
            by_bytes = sum(pair.how == BYTES for pair in found)
            lines.append(f"{two[0]} and {two[1]}: {len(found):,} pairs, {by_bytes:,} of them of equal bytes")
            lines += [f"  {pair.path_a} = {pair.path_b} ({pair.how})" for pair in found[:limit]]
            if len(found) > limit:
                lines.append(f"  and {len(found) - limit:,} more (--out FILE.csv holds all)")
        lines.append(f"{len(self.pairs):,} pairs in all" if self.pairs else "no image stands in two of them")
        return Group(*map(Text, lines))


def overlap(packs: Sequence[str | Path], *, within: bool = False, show: bool = False) -> OverlapReport:
    """Compare every source of some packs with every other.

    Args:
        packs: Packs.
        within: Whether the images inside each source are compared too.
        show: Whether progress is shown.

    Raises:
        UsageError: A place is no pack, or there is but one source and ``within`` is off.
    """
    sources = _sources(packs)
    if len(sources) < 2 and not within:
        raise UsageError(
            f"only '{next(iter(sources))}' to compare: name another pack, or compare it with itself (--within)"
        )
    with progress("comparing", sum(len(source.images) for source in sources.values()), show) as advance:
        known = [Known.of(source, advance) for source in sources.values()]
    pairs = [pair for a, b in combinations(known, 2) for pair in _pairs(a, b)]
    if within:
        pairs += [pair for each in known for pair in _pairs(each, None)]
    return OverlapReport({name: len(source.images) for name, source in sources.items()}, tuple(pairs))


def _sources(packs: Iterable[str | Path]) -> dict[str, PackedSource]:
    found: dict[str, PackedSource] = {}
    for pack in packs:
        for name, source in open_pack(pack).items():
            if name in found:
                name = str(source.path)
            found[name] = source
    return found


def _pairs(a: Known, b: Known | None) -> Iterator[Pair]:
    other = a if b is None else b
    done: set[tuple[int, int]] = set()
    rows: dict[str, list[int]] = {}
    for row, digest in enumerate(other.digests):
        if digest:
            rows.setdefault(digest, []).append(row)
    for i, digest in enumerate(a.digests):
        for j in rows.get(digest, ()) if digest else ():
            if b is not None or j > i:
                done.add((i, j))
                yield Pair(a.source.name, a.paths[i], other.source.name, other.paths[j], BYTES, 1.0)
    for i, j, value in alike(a.prints, None if b is None else b.prints):
        if (i, j) not in done:
            yield Pair(a.source.name, a.paths[i], other.source.name, other.paths[j], PICTURE, round(value, 4))


def without(sources: Mapping[str, PackedSource], held: Sequence[PackedSource]) -> dict[str, PackedSource]:
    """Return sources without the images that also stand in others that are held out."""
    found = _standing(tuple(map(_named, sources.values())), tuple(map(_named, held)))
    return {
        name: replace(source, left_out=source.left_out | rows)
        for (name, source), rows in zip(sources.items(), found, strict=True)
    }


def _named(source: PackedSource) -> tuple[Path, str]:
    return source.path.resolve(), source.digest


@lru_cache(maxsize=64)
def _standing(sources: tuple[tuple[Path, str], ...], held: tuple[tuple[Path, str], ...]) -> tuple[frozenset[int], ...]:
    """Return the rows of each source that stand in a held-out one too.

    It takes minutes of large sources; who builds many runs at once, as a study does that checks its cells, asks for the
    same again and again.

    Args:
        sources: folder and digest of each.
        held: likewise.
    """
    others = Avoid(tuple(Known.of(open_source(path)) for path, _ in held))
    known = (Known.of(open_source(path)) for path, _ in sources)
    return tuple(frozenset(others.where(each.prints, each.digests)) for each in known)


@dataclass(frozen=True)
class Avoid:
    """What a pack that is being made is to share no image with."""

    known: tuple[Known, ...]

    @classmethod
    def of(cls, packs: Iterable[str | Path]) -> Avoid:
        """Fingerprint some packs.

        Raises:
            UsageError: A place is no pack.
        """
        return cls(tuple(Known.of(source) for source in _sources(packs).values()))

    def made(self) -> list[str]:
        """Return what names these packs in another one's record."""
        return [f"{each.source.name} {each.source.digest[:16]}" for each in self.known]

    def matches(self, blocks: Iterable[np.ndarray], digests: Sequence[str]) -> dict[int, str]:
        """Return where an image stands already, for each that does.

        Args:
            blocks: The images, uint8 [b, side, side, 3] at a time.
            digests: SHA-256 of the bytes of each.
        """
        return self.where(prints_of(blocks), digests)

    def where(self, prints: Prints, digests: Sequence[str]) -> dict[int, str]:
        """Return the same for images whose fingerprints are known."""
        found: dict[int, str] = {}
        for each in self.known:
            where = {digest: path for digest, path in zip(each.digests, each.paths, strict=True) if digest}
            for row, digest in enumerate(digests):
                if digest in where:
                    found.setdefault(row, f"{each.source.name}, {where[digest]}")
            for row, other, _ in alike(prints, each.prints):
                found.setdefault(row, f"{each.source.name}, {each.paths[other]}")
        return found
