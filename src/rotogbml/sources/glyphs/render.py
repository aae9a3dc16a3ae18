"""Images of the classes of one script: clean drawings, moved and bent, then painted with the source's look."""

from __future__ import annotations

import numpy as np
from PIL import Image

from rotogbml.seeds import numpy_generator
from rotogbml.sources.glyphs.fonts import draw
from rotogbml.sources.glyphs.look import look, paint

_FINER = 2
"""Shapes are drawn so many times finer than the image, then averaged down."""
_EXTENT = (0.6, 0.85)
"""Longer side of the character in shares of the image."""
_TURN = np.deg2rad(8)
_SLANT = 0.15
_STRETCH = 0.1
_PLACE = 0.18
"""Largest shift of the middle, in shares of the image."""
_FREE = 1.0
"""Pixels of the image that no ink reaches, at every border."""


def images(classes: dict[str, list[str]], script: str, size: int, per_class: int, seed: int) -> np.ndarray:
    """Draw ``per_class`` images of each class: uint8 [len(classes) * per_class, size, size, 3], class by class.

    ``classes`` maps a character to the faces that draw it (``shapes.choose``); the faces are dealt out evenly.
    """
    drawn = coverage(classes, script, size, per_class, seed)
    return paint(drawn, look(script, seed), numpy_generator(seed, "glyphs", script, "paint"))


def coverage(classes: dict[str, list[str]], script: str, size: int, per_class: int, seed: int) -> np.ndarray:
    """Return where the ink of those same images is: float32 [len(classes) * per_class, size, size] in 0..1."""
    rng = numpy_generator(seed, "glyphs", script, "shapes")
    drawn = np.concatenate(
        [_class_coverage(character, faces, size, per_class, rng) for character, faces in classes.items()]
    )
    return _shrunk(_thickened(drawn, rng.random((len(drawn), 1, 1), dtype=np.float32)))


def _class_coverage(
    character: str, faces: list[str], size: int, per_class: int, rng: np.random.Generator
) -> np.ndarray:
    """Return ink coverage uint8 [per_class, 2 * size, 2 * size], moved and bent."""
    rounds = -(-per_class // len(faces))
    dealt = np.concatenate([rng.permutation(len(faces)) for _ in range(rounds)])[:per_class]
    drawn = {int(i): _drawing(faces[i], character, 3 * size) for i in set(dealt)}
    fine = _FINER * size
    shape = np.array([drawn[int(i)].shape for i in dealt], dtype=float)
    coefficients = _placements(shape, fine, rng)
    out = np.empty((per_class, fine, fine), np.uint8)
    for row, (face, numbers) in enumerate(zip(dealt, coefficients, strict=True)):
        source = Image.fromarray(drawn[int(face)])
        moved = source.transform((fine, fine), Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR)
        out[row] = np.asarray(moved)
    return out


def _drawing(face: str, character: str, em: int) -> np.ndarray:
    drawing = draw(face, character, em)
    if drawing is None:
        raise ValueError(f"{face} does not draw U+{ord(character):04X}")
    return np.pad(drawing, 2)


def _placements(shape: np.ndarray, side: int, rng: np.random.Generator) -> list[tuple[float, ...]]:
    """Draw scale, stretch, slant, rotation and place for drawings [n, (height, width)] on a square of ``side``.

    Returns Pillow's six affine coefficients (output to input) for each. Nothing is cut off: the scale gives way
    where the turned drawing would not fit, and the place is drawn among those where it does.
    """
    n = len(shape)
    turn, slant = rng.uniform(-_TURN, _TURN, n), rng.uniform(-_SLANT, _SLANT, n)
    stretch = np.exp(rng.uniform(-_STRETCH, _STRETCH, n))
    cos, sin = np.cos(turn), np.sin(turn)
    # Rotation @ slant @ stretch, on (x, y).
    xx, xy = cos * stretch, cos * slant / stretch - sin / stretch
    yx, yy = sin * stretch, sin * slant / stretch + cos / stretch
    height, width = shape.T
    half = np.stack([np.abs(xx) * width + np.abs(xy) * height, np.abs(yx) * width + np.abs(yy) * height], -1) / 2
    room = side / 2 - _FINER * _FREE
    scale = np.minimum(rng.uniform(*_EXTENT, n) * side / shape.max(-1), room / half.max(-1))
    slack = np.minimum(room - half * scale[:, None], _PLACE * side)
    middle = side / 2 + rng.uniform(-1, 1, (n, 2)) * slack
    # The determinant of rotation @ slant @ stretch is 1.
    a, b, d, e = yy / scale, -xy / scale, -yx / scale, xx / scale
    c = width / 2 - a * middle[:, 0] - b * middle[:, 1]
    f = height / 2 - d * middle[:, 0] - e * middle[:, 1]
    return [tuple(row) for row in np.stack([a, b, c, d, e, f], -1).tolist()]


def _thickened(coverage: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Blend each drawing [n, s, s] with itself widened by a pixel: float32 in 0..1. Thin lines never vanish."""
    wide = coverage.copy()
    np.maximum(wide[:, 1:], coverage[:, :-1], out=wide[:, 1:])
    np.maximum(wide[:, :-1], coverage[:, 1:], out=wide[:, :-1])
    np.maximum(wide[:, :, 1:], coverage[:, :, :-1], out=wide[:, :, 1:])
    np.maximum(wide[:, :, :-1], coverage[:, :, 1:], out=wide[:, :, :-1])
    return (coverage + weight * (wide.astype(np.float32) - coverage)) / 255


def _shrunk(fine: np.ndarray) -> np.ndarray:
    n, side = len(fine), fine.shape[1] // _FINER
    return fine.reshape(n, side, _FINER, side, _FINER).mean((2, 4), dtype=np.float32)
