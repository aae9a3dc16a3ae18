"""Images whose shape says one class and whose texture says another (cue conflict, after Geirhos et al. 2019).

A support set must first teach both cues; a query then takes the shape of class a and the texture of class b ≠ a.
Decisions for a are by shape, for b by texture, all others say nothing. Three ways to make the queries:

``look``      Drawn sources. Within a script the look (paper, ink, texture, noise) says nothing of the class, so each
              class of the episode is given the look of another script, on the support too: character and look then
              say the class alike. A query is the ink of class a in the look of class b. Both cues are exact.
``spectrum``  Photos. Phases of the Fourier transform from an image of a, amplitudes from an image of b, channel by
              channel: where things are comes from a, colour and the statistics of texture from b. Phases alone also
              hold fine texture that is locked to its place, and amplitudes know of coarse outlines.
``patches``   Photos. The background is the image of b with its tiles shuffled, and a's outlines are laid over it: what
              a's luminance has above a low-pass. The grid of the tiles makes edges of its own.

The last two mix photos, of which nobody knows what is object and what is ground, and the support is of plain photos:
their shares rank runs, and say nothing absolute. By chance shape and texture are named equally often: a share of ½.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rotogbml.cues import ink
from rotogbml.cues.images import low_pass, luminance, shuffled
from rotogbml.episodes import Episode
from rotogbml.seeds import numpy_generator
from rotogbml.sources.glyphs import SCRIPTS
from rotogbml.sources.glyphs.look import look, paint
from rotogbml.sources.packed import PackedSource

Mix = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
SIGMA = 0.08
"""Of the low-pass whose rest is a's outlines, in shares of the side."""


def spectrum(shape: np.ndarray, texture: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Return phases of ``shape`` with amplitudes of ``texture``: [n, 3, s, s] each, in 0..1."""
    phase = np.angle(np.fft.fft2(shape))
    mixed = np.fft.ifft2(np.abs(np.fft.fft2(texture)) * np.exp(1j * phase)).real
    return np.clip(mixed, 0, 1).astype(np.float32)


def patches(shape: np.ndarray, texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return outlines of ``shape`` over shuffled tiles of ``texture``: [n, 3, s, s] each, in 0..1."""
    y = luminance(shape)
    outlines = y - low_pass(y, SIGMA * y.shape[-1])
    return np.clip(shuffled(texture, rng) + outlines[:, None], 0, 1).astype(np.float32)


MIXES: dict[str, Mix] = {"spectrum": spectrum, "patches": patches}


def kinds(source: PackedSource) -> list[str]:
    """Return the names of the ways that suit a source."""
    return ["look"] if ink.is_drawn(source) else list(MIXES)


def textures(y: np.ndarray, n_way: int, rng: np.random.Generator) -> np.ndarray:
    """Return the class whose texture each query is given: another than its own, all others equally likely."""
    return (y + rng.integers(1, n_way, len(y))) % n_way


def looks(
    source: PackedSource, episode: Episode, worn: np.ndarray, seed: int, index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Repaint an episode of a drawn source, each class in the look of a script of its own.

    Args:
        source: the script.
        episode: whose rows are repainted.
        worn: the class whose look each query wears, [q].
        seed: of the test.
        index: of the episode in it.

    Returns:
        Support and query images, float32 [n, 3, side, side] in 0..1.
    """
    rng = numpy_generator(seed, "shape", "look", source.name, index)
    others = [script for script in SCRIPTS if script != source.name]
    chosen = [others[i] for i in rng.permutation(len(others))[: episode.n_way]]
    rows = np.concatenate(episode.indices)
    wears = np.concatenate([episode.support.y.numpy(), worn])
    drawn = ink.ink(source, rows)
    out = np.empty((*drawn.shape, 3), np.float32)
    for label, script in enumerate(chosen):
        here = wears == label
        if here.any():
            out[here] = paint(drawn[here], look(script, source.made["seed"]), rng) / np.float32(255)
    out = out.transpose(0, 3, 1, 2)
    n = len(episode.support.y)
    return out[:n], out[n:]
