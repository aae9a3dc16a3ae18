"""The look of a source: paper, ink, background texture, blur and noise, drawn once for each script.

An image departs a little from its source's look (light, tint, place of the texture), by draws that know nothing
of its class. So sources differ in distribution, while the class can be read from shape alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rotogbml.seeds import numpy_generator

Field = Callable[[int, int, "Look", np.random.Generator], np.ndarray]

_LUMINANCE = np.array([0.299, 0.587, 0.114])
_CONTRAST = 0.5
_LIGHT_JITTER = 0.08
_TINT_JITTER = 0.02


@dataclass(frozen=True)
class Look:
    """Colours are red, green, blue in 0..1; ``period`` is in shares of the image side, ``angle`` in radians."""

    paper: tuple[float, float, float]
    ink: tuple[float, float, float]
    texture: str
    tint: tuple[float, float, float]
    """What the texture adds to the paper where it is strongest."""
    period: float
    angle: float
    fade: float
    """Share of the ink missing where the ink is patchiest."""
    blur: float
    """Share of each pixel taken from its 3 x 3 neighbourhood."""
    noise: float
    """Standard deviation of the sensor noise."""
    coloured: bool
    """Noise drawn for each channel rather than for the pixel."""


def look(script: str, seed: int) -> Look:
    """Draw the look of a source from the seed. Ink and paper always differ by ``_CONTRAST`` in luminance."""
    rng = numpy_generator(seed, "glyphs", script, "look")
    while True:
        paper, ink = rng.uniform(0.06, 0.94, 3), rng.uniform(0.0, 1.0, 3)
        if abs((paper - ink) @ _LUMINANCE) >= _CONTRAST:
            break
    tint = rng.normal(size=3)
    tint *= rng.uniform(0.03, 0.1) / np.abs(tint).max()
    return Look(
        paper=_triple(paper),
        ink=_triple(ink),
        texture=sorted(TEXTURES)[rng.integers(len(TEXTURES))],
        tint=_triple(tint),
        period=float(rng.uniform(0.12, 0.4)),
        angle=float(rng.uniform(0, np.pi)),
        fade=float(rng.uniform(0.0, 0.25)),
        blur=float(rng.uniform(0.0, 0.5)),
        noise=float(rng.uniform(0.01, 0.035)),
        coloured=bool(rng.integers(2)),
    )


def paint(coverage: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Paint ink coverage [n, side, side] in 0..1 with a look, an image at a time its own jitter.

    Returns uint8 [n, side, side, 3]. The draws depend on the number of images only, never on what is on them.
    """
    n, side = coverage.shape[:2]
    texture = TEXTURES[look.texture](n, side, look, rng).astype(np.float32)[..., None]
    paper = _jittered(look.paper, n, rng) + texture * np.asarray(look.tint, np.float32)
    ink = _jittered(look.ink, n, rng)
    patches = (_blotches(n, side, look, rng).astype(np.float32) + 1) / 2
    image = paper + (coverage.astype(np.float32) * (1 - np.float32(look.fade) * patches))[..., None] * (ink - paper)
    image += np.float32(look.blur) * (_neighbourhood(image) - image)
    channels = 3 if look.coloured else 1
    image += np.float32(look.noise) * rng.standard_normal((n, side, side, channels), dtype=np.float32)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _triple(colour: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in colour)
    return red, green, blue


def _jittered(colour: tuple[float, float, float], n: int, rng: np.random.Generator) -> np.ndarray:
    light = rng.normal(scale=_LIGHT_JITTER, size=(n, 1, 1, 1))
    tint = rng.normal(scale=_TINT_JITTER, size=(n, 1, 1, 3))
    return (np.array(colour) + light + tint).astype(np.float32)


def _neighbourhood(image: np.ndarray) -> np.ndarray:
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9


def _grid(n: int, side: int, angle: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates along and across a direction, in image sides: two arrays that broadcast to [n, s, s]."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    cos, sin = (f(np.broadcast_to(angle, (n,)))[:, None, None] for f in (np.cos, np.sin))
    return cos * x + sin * y, cos * y - sin * x


def _phase(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0, 2 * np.pi, size=(n, 1, 1))


def _gradient(n: int, side: int, look: Look, rng: np.random.Generator) -> np.ndarray:
    return 1.6 * _grid(n, side, rng.normal(look.angle, 0.4, n))[0]


def _stripes(n: int, side: int, look: Look, rng: np.random.Generator) -> np.ndarray:
    along, _ = _grid(n, side, rng.normal(look.angle, 0.08, n))
    return np.sin(2 * np.pi / look.period * along + _phase(n, rng))


def _weave(n: int, side: int, look: Look, rng: np.random.Generator) -> np.ndarray:
    along, across = _grid(n, side, rng.normal(look.angle, 0.08, n))
    wave = 2 * np.pi / look.period
    return np.sign(np.sin(wave * along + _phase(n, rng)) * np.sin(wave * across + _phase(n, rng)))


def _dots(n: int, side: int, look: Look, rng: np.random.Generator) -> np.ndarray:
    along, across = _grid(n, side, rng.normal(look.angle, 0.08, n))
    wave = 2 * np.pi / look.period
    return np.clip(2 * (np.cos(wave * along + _phase(n, rng)) + np.cos(wave * across + _phase(n, rng))) - 2, -1, 1)


def _rings(n: int, side: int, look: Look, rng: np.random.Generator) -> np.ndarray:
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    centre = rng.uniform(-0.5, 1.5, size=(2, n, 1, 1))
    return np.sin(2 * np.pi / look.period * np.hypot(x - centre[0], y - centre[1]))


def _blotches(n: int, side: int, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Smooth random hills: a coarse random grid, drawn out linearly, a place of its own for each image."""
    knots = max(3, round(1 / look.period) + 1)
    heights = rng.uniform(-1, 1, size=(n, knots, knots))
    at = np.linspace(0, knots - 1, side)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(knots)))
    return np.einsum("yi,nij,xj->nyx", weights, heights, weights, optimize=True)


def _fibres(n: int, side: int, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Fine grain drawn out along rows or columns."""
    grain = rng.uniform(-1, 1, size=(n, side + 6, side))
    drawn = sum(grain[:, i : i + side] for i in range(7)) / np.sqrt(7)
    return drawn if look.angle < np.pi / 2 else drawn.transpose(0, 2, 1)


def _speckle(n: int, side: int, look: Look, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random((n, side, side)) < 0.06 + 0.3 * look.period, 1.0, -0.2)


def _plain(n: int, side: int, look: Look, rng: np.random.Generator) -> np.ndarray:
    return np.zeros((n, side, side))


TEXTURES: dict[str, Field] = {
    "blotches": _blotches,
    "dots": _dots,
    "fibres": _fibres,
    "gradient": _gradient,
    "plain": _plain,
    "rings": _rings,
    "speckle": _speckle,
    "stripes": _stripes,
    "weave": _weave,
}
"""Each returns [n, side, side] in about -1..1 with a mean near 0."""
