"""Which characters of a script are classes: no blank ones, and no two that look the same.

Images of a class vary in place and scale, so two characters are compared after both are taken away: each clean
drawing is scaled until its longer side fills a small square. ``o`` and ``O``, or a comma and an apostrophe, are
then the same shape, and only one of them may be a class.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

from rotogbml.errors import RotogbmlError
from rotogbml.seeds import numpy_generator
from rotogbml.sources.glyphs.fonts import FACES, draw
from rotogbml.sources.glyphs.scripts import characters

EM = 96
SIDE = 24
APART = 0.45
"""Somewhere two classes must differ by so much of the ink of a 3 x 3 neighbourhood (see ``alike``)."""
MAX_CLASSES = 60
MIN_CLASSES = 30


def signature(drawing: np.ndarray) -> np.ndarray:
    """Return the drawing free of place and scale: float32 [(SIDE + 2) ** 2], the mean ink of 3 x 3 pixels each."""
    height, width = drawing.shape
    times = SIDE / max(height, width)
    size = (max(1, round(width * times)), max(1, round(height * times)))
    square = np.zeros((SIDE + 4, SIDE + 4), np.float32)
    top, left = 2 + (SIDE - size[1]) // 2, 2 + (SIDE - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = Image.fromarray(drawing).resize(size, Image.Resampling.BOX)
    rows = square[:-2] + square[1:-1] + square[2:]
    return ((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / (9 * 255)).reshape(-1)


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether some signature of [i, d] and some of [j, d] differ by less than ``APART`` everywhere.

    The largest difference counts, not the mean: one pip tells two dominoes apart, and a line moved by half a pixel
    is nothing.
    """
    # Both steps drop only pairs that surely differ; the last one looks at every place of the few that are left.
    squared = (a * a).sum(-1)[:, None] + (b * b).sum(-1)[None] - 2 * (a @ b.T)
    i, j = np.nonzero(squared < a.shape[1] * APART**2)
    for step in (53, 7, 1):
        near = np.abs(a[i, ::step] - b[j, ::step]).max(-1, initial=0) < APART
        i, j = i[near], j[near]
    return len(i) > 0


def drawings(character: str, em: int = EM) -> dict[str, np.ndarray]:
    """Return the clean drawing of a character in every face that truly draws it."""
    found = {face: draw(face, character, em) for face in FACES}
    return {face: drawing for face, drawing in found.items() if drawing is not None}


def distinct(candidates: Iterable[str], most: int = MAX_CLASSES) -> dict[str, list[str]]:
    """Return the first ``most`` candidates that look like none taken before them: character → its faces.

    Every face of one is compared with every face of the other, so that an italic a is no class beside a round one.
    """
    taken: dict[str, list[str]] = {}
    shapes = np.zeros((0, (SIDE + 2) ** 2), np.float32)
    for character in candidates:
        found = drawings(character)
        if not found:
            continue
        new = np.stack([signature(drawing) for drawing in found.values()])
        if alike(new, shapes):
            continue
        taken[character] = list(found)
        shapes = np.concatenate([shapes, new])
        if len(taken) == most:
            break
    return taken


def choose(script: str, seed: int) -> dict[str, list[str]]:
    """Return the classes of a script in code point order, each with the faces that draw it.

    At most ``MAX_CLASSES``, taken in an order drawn from the seed. Raises RotogbmlError where fewer than
    ``MIN_CLASSES`` are left (fonts other than those this was made for).
    """
    known = characters(script)
    order = numpy_generator(seed, "glyphs", script, "classes").permutation(len(known))
    taken = distinct(known[i] for i in order)
    if len(taken) < MIN_CLASSES:
        raise RotogbmlError(
            f"glyphs: matplotlib's fonts draw only {len(taken)} distinct characters of '{script}', "
            f"{MIN_CLASSES} are needed; install a current matplotlib with pip"
        )
    return dict(sorted(taken.items()))
