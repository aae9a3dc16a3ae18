"""The options of a pack: checked, recorded with what was packed, and told apart from those of an interrupted run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from PIL import __version__ as pillow_version
from PIL import features

from rotogbml._version import __version__
from rotogbml.errors import UsageError
from rotogbml.sources.decode import FILTER, MAX_PIXELS
from rotogbml.sources.examine import CHUNK, CHUNK_BYTES
from rotogbml.sources.overlap import Avoid
from rotogbml.sources.packed import VERSION
from rotogbml.sources.splits import ClassSplit, SplitFile, split_classes
from rotogbml.sources.tree import FoundSource
from rotogbml.sources.writer import side_of


@dataclass(frozen=True)
class PackOptions:
    """Everything but the files that decides what is packed; see ``pack.py`` for each.

    Raises:
        UsageError: One is out of its range.
    """

    size: int
    margin: float
    seed: int
    n_way: int
    file: SplitFile | None
    avoid: Avoid | None = None
    """Packs that this one is to share no image with."""

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 1024:
            raise UsageError(f"size is {self.size}: give 16 to 1024 pixels")
        if not 0.0 <= self.margin <= 1.0:
            raise UsageError(f"margin is {self.margin}: give 0 to 1, a share of size")
        if self.n_way < 2:
            raise UsageError(f"n_way is {self.n_way}: give 2 or more")

    @property
    def side(self) -> int:
        """Side of the stored square, in pixels."""
        return side_of(self.size, self.margin)

    def split(self, source: FoundSource, classes: Collection[str]) -> ClassSplit:
        """Split the kept classes of a source."""
        return split_classes(source, classes, file=self.file, seed=self.seed, n_way=self.n_way)

    def made(self, source: FoundSource) -> dict[str, Any]:
        """Return what is recorded in ``source.json``: options and versions, nothing that differs from run to run."""
        return {
            "by": "rotogbml data pack",
            "size": self.size,
            "margin": self.margin,
            "seed": self.seed,
            "n_way": self.n_way,
            "split": self.file.label if self.file else None,
            "layout": source.layout,
            **source.made,
            **({} if self.avoid is None else {"drop_overlap": self.avoid.made()}),
            "filter": FILTER,
            "max_pixels": MAX_PIXELS,
            "rotogbml": __version__,
            "pillow": pillow_version,
            "codecs": {name: features.version(name) for name in ("libjpeg_turbo", "zlib", "webp", "libtiff")},
        }

    def plan(self, source: FoundSource) -> str:
        """Return a digest of all that decides the outcome for one source: a journal of another one is set aside."""
        given = self.file.splits.get(source.name) if self.file else None
        listed = [list(entry) for entry in source.entries]
        folders = {label: sorted(found) for label, found in source.folder_splits.items()}
        kinds = [container.kind for container in source.containers]
        decides = [VERSION, CHUNK, CHUNK_BYTES, self.made(source), given, kinds, folders, listed, source.keep_copies]
        return hashlib.sha256(json.dumps(decides, default=list).encode()).hexdigest()
