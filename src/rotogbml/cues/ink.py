"""Where the ink of a drawn image is: the one mask of an object that is known exactly."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rotogbml.errors import UsageError
from rotogbml.sources.glyphs.render import coverage
from rotogbml.sources.glyphs.shapes import drawings
from rotogbml.sources.packed import PackedSource


def is_drawn(source: PackedSource) -> bool:
    """Say whether a source is one of the embedded data's scripts."""
    return source.made.get("generator") == "glyphs"


def ink(source: PackedSource, rows: np.ndarray) -> np.ndarray:
    """Return the ink coverage of some rows of a drawn source, drawn again: float32 [n, side, side] in 0..1.

    Raises:
        UsageError: the source was not drawn.
    """
    if not is_drawn(source):
        raise UsageError(f"'{source.name}' was not drawn, so no mask of its objects is known: take a script of glyphs")
    made = source.made
    whole = _all(source.name, source.classes, made["size"], made["images_per_class"], made["seed"])
    return whole[rows]


@lru_cache(maxsize=8)
def _all(script: str, classes: tuple[str, ...], size: int, per_class: int, seed: int) -> np.ndarray:
    # "U+0E81 ກ": the code point is read, since the character itself may be a blank or a mark that joins its neighbour.
    characters = [chr(int(name.split()[0].removeprefix("U+"), 16)) for name in classes]
    return coverage({c: list(drawings(c)) for c in characters}, script, size, per_class, seed)
