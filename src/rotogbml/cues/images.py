"""Test images that lack one cue: shuffled, edges alone, blurred, recoloured, noisy.

Each takes images float32 [n, 3, s, s] in 0..1 and a generator, and returns the like. Severities are fixed and named in
``DISTORTIONS``, so that a column of a table always means the same; lengths are in shares of the image's side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Distort = Callable[[np.ndarray, np.random.Generator], np.ndarray]

TILES = 4
SIGMA_BLUR = 0.05
SIGMA_NOISE = 0.15
GAIN = (0.5, 1.5)
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


class Distortion(NamedTuple):
    """An alteration and how strong it is, in words."""

    act: Distort
    severity: str
    leaves: str
    """The cue that is left."""


def shuffled(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut each image into a grid of ``TILES`` × ``TILES`` and deal the tiles out anew: local texture stays.

    A rim of s mod ``TILES`` pixels, right and below, stays where it is.
    """
    out = x.copy()
    edge = x.shape[-1] // TILES
    for one in out:
        tiles = [one[:, r * edge : (r + 1) * edge, c * edge : (c + 1) * edge].copy() for r, c in _grid()]
        for place, (r, c) in zip(rng.permutation(TILES**2), _grid(), strict=True):
            one[:, r * edge : (r + 1) * edge, c * edge : (c + 1) * edge] = tiles[place]
    return out


def edges(x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Return Sobel's gradient magnitude of the luminance, of largest value 1, as a grey image: outlines stay."""
    y = np.pad(luminance(x), ((0, 0), (1, 1), (1, 1)), mode="edge")
    down = y[:, :-2] + 2 * y[:, 1:-1] + y[:, 2:]
    along = down[:, :, 2:] - down[:, :, :-2]
    right = y[:, :, :-2] + 2 * y[:, :, 1:-1] + y[:, :, 2:]
    across = right[:, 2:] - right[:, :-2]
    size = np.hypot(along, across)
    size /= np.maximum(size.max((1, 2), keepdims=True), 1e-6)
    return np.repeat(size[:, None], 3, axis=1).astype(np.float32)


def blurred(x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Convolve with a Gaussian of ``SIGMA_BLUR`` of the side: coarse shape stays, texture goes."""
    return low_pass(x, SIGMA_BLUR * x.shape[-1])


def recoloured(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Permute the channels of each image and stretch each by a factor from ``GAIN`` about its mean."""
    n = len(x)
    order = np.stack([rng.permutation(3) for _ in range(n)])
    moved = np.take_along_axis(x, order[:, :, None, None], axis=1)
    gain = rng.uniform(*GAIN, (n, 3, 1, 1)).astype(np.float32)
    middle = moved.mean((2, 3), keepdims=True)
    return np.clip(middle + gain * (moved - middle), 0, 1)


def noisy(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise of deviation ``SIGMA_NOISE``, drawn for each channel; cut off at 0 and 1."""
    return np.clip(x + np.float32(SIGMA_NOISE) * rng.standard_normal(x.shape, dtype=np.float32), 0, 1)


def low_pass(x: np.ndarray, sigma: float) -> np.ndarray:
    """Return x [..., h, w] convolved with a Gaussian of ``sigma`` pixels, edges continued, cut off at 3 sigma."""
    reach = max(1, round(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in (-2, -1):
        widths = [(0, 0)] * x.ndim
        widths[axis] = (reach, reach)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, widths, mode="edge"), len(kernel), axis=axis)
        x = windows @ kernel
    return x


def luminance(x: np.ndarray) -> np.ndarray:
    """Return the luminance of [n, 3, s, s]: [n, s, s]."""
    return np.einsum("nchw,c->nhw", x, LUMINANCE)


def unchanged(x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Return the images as they are."""
    return x


def _grid() -> list[tuple[int, int]]:
    return [(r, c) for r in range(TILES) for c in range(TILES)]


DISTORTIONS: dict[str, Distortion] = {
    "clean": Distortion(unchanged, "as they are", "all"),
    "patch-shuffled": Distortion(shuffled, f"{TILES} × {TILES} tiles dealt out anew", "texture"),
    "edge-only": Distortion(edges, "Sobel magnitude, grey", "shape"),
    "blurred": Distortion(blurred, f"Gaussian, σ = {SIGMA_BLUR:g} of the side", "shape"),
    "recoloured": Distortion(recoloured, f"channels permuted, gains {GAIN[0]:g} to {GAIN[1]:g}", "shape, texture"),
    "noisy": Distortion(noisy, f"Gaussian, σ = {SIGMA_NOISE:g} of the range", "shape"),
}
