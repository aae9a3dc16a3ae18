"""Fingerprints of pictures: equal for the same picture at another size or of another encoder, unequal for others.

The hash is a pHash: the signs of the 63 lowest frequencies of a 32 x 32 grey picture against their median. Two pictures
whose hashes differ in few bits are alike only if their small grey pictures are: hashes alone would take one X-ray, or
one patch of sea, for another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

SIDE = 32
LOW = 8
BITS = 10
"""Bits of 63 in which the hashes of one picture may differ."""
ALIKE = 0.95
"""Least correlation of the small grey pictures of one picture; X-rays of two chests reach 0.92 (docs/datasets.md)."""
FLAT = 2.0
"""A small picture of less contrast (standard deviation, of 255) is like too many others: only equal bytes tell."""
_CELLS = 1 << 22
"""Pairs that are compared at once."""
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Prints:
    """Fingerprints of n pictures.

    Attributes:
        hashes: uint64 [n].
        small: uint8 [n, 1024], the grey picture of 32 x 32.
    """

    hashes: np.ndarray
    small: np.ndarray

    def __len__(self) -> int:
        return len(self.hashes)


def prints_of(blocks: Iterable[np.ndarray]) -> Prints:
    """Return the fingerprints of blocks of uint8 pictures [b, side, side, 3], in order."""
    hashes, small = [np.empty(0, np.uint64)], [np.empty((0, SIDE * SIDE), np.uint8)]
    for block in blocks:
        grey = np.ascontiguousarray(block).astype(np.float32) @ _GREY
        shrink = _shrink(block.shape[1])
        thumbs = shrink @ grey @ shrink.T
        low = (_cosines() @ thumbs @ _cosines().T).reshape(len(block), -1)[:, 1:]
        bits = low > np.median(low, axis=1, keepdims=True)
        hashes.append(bits.astype(np.uint64) @ (np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64)))
        small.append(np.rint(thumbs).clip(0, 255).astype(np.uint8).reshape(len(block), -1))
    return Prints(np.concatenate(hashes), np.concatenate(small))


def alike(a: Prints, b: Prints | None = None) -> Iterator[tuple[int, int, float]]:
    """Yield (place in a, place in b, correlation) of every two pictures that are one; within a where b is not given."""
    other = a if b is None else b
    step = max(1, _CELLS // max(1, len(other)))
    for start in range(0, len(a), step):
        some = a.hashes[start : start + step, None]
        near = np.bitwise_count(some ^ other.hashes[None]) <= BITS
        left, right = np.nonzero(near)
        left = left + start
        if b is None:
            keep = right > left
            left, right = left[keep], right[keep]
        for cut in range(0, len(left), 65536):
            x, y = left[cut : cut + 65536], right[cut : cut + 65536]
            values = _correlation(a.small[x], other.small[y])
            for i in np.nonzero(values >= ALIKE)[0]:
                yield int(x[i]), int(y[i]), float(values[i])


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the correlation of each two small pictures; 0 where one of them is flat."""
    x, y = a.astype(np.float32), b.astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    contrast = np.minimum(x.std(axis=1), y.std(axis=1))
    scale = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.where(contrast >= FLAT, (x * y).sum(axis=1) / np.maximum(scale, 1e-6), 0.0)


@cache
def _shrink(side: int) -> np.ndarray:
    """Return the matrix that averages ``side`` pixels into 32 cells, float32 [32, side]."""
    edges = np.arange(SIDE + 1) * side / SIDE
    pixels = np.arange(side)
    overlap = np.minimum(edges[1:, None], pixels + 1.0) - np.maximum(edges[:-1, None], pixels)
    return (overlap.clip(0.0) * SIDE / side).astype(np.float32)


@cache
def _cosines() -> np.ndarray:
    """Return the first rows of the cosine transform, float32 [8, 32]."""
    angles = np.pi * np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1) / (2 * SIDE)
    return np.cos(angles).astype(np.float32)
