"""The compiled passes as functions of tensors. Maps are rows [b, h, w, c], float32 or float64, on the CPU.

Images are dealt to as many threads as torch may use; a pass does not depend on how many those are.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rotogbml.native.build import library

_ALONE = 1 << 18
"""With fewer numbers than this, handing half of them to another thread costs more than it saves."""

_P, _N = ctypes.c_void_p, ctypes.c_ssize_t

_ARGUMENTS: dict[str, list[Any]] = {
    "sums": [_P, _P, _P, _N, _N, _N, _N, _P],
    "centre": [_P, _N, _N, _P],
    "centres": [_P, _N, _N, _N, _P],
    "pool": [_P, _P, _P, _N, _N, _N, _N, _N, _N, _P, _P, _P],
    "winners": [_P, _P, _N, _N, _N, _N, _P],
    "dense_and_winners": [_P, _P, _P, _P, _P, _P, _P, _N, _N, _N, _N, _N, _N, _P],
    "isi_density": [_P, _N, _N, _N, _N, _P, _N, _N, ctypes.c_double, ctypes.c_int, _P, _P],
    "isi_kept": [_P, _P, _N, _N, _P],
}


def takes(x: Tensor) -> bool:
    """Say whether there are compiled passes for such a tensor."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and library() is not None


def pool(rows: Tensor, sign: Tensor, given: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pool y · sign by 2×2 and measure y, in one pass.

    Args:
        rows: y.
        sign: [c].
        given: so many first images are measured.

    Returns:
        y at the winners [b, h/2, w/2, c]; their place in the window, 0 … 3, uint8 of that shape; mean and biased
        variance, [c] each.
    """
    rows = rows.contiguous()
    _, h, w, c = rows.shape
    centre = rows.new_empty(c)  # near the mean: squares of what is left do not cancel
    _function("centre", rows)(rows.data_ptr(), given * h * w, c, centre.data_ptr())
    best, where, moments = _pooled(rows, sign, centre, given)
    first, second = moments.sum(0) / (given * h * w)
    return best, where, (centre + first).to(rows.dtype), (second - first.square()).clamp_min_(0).to(rows.dtype)


def pool_each(rows: Tensor, sign: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pool as ``pool`` does, and measure each image by itself: mean and biased variance are float64, [b, c]."""
    rows = rows.contiguous()
    b, h, w, c = rows.shape
    centre = rows.new_empty(b, c)
    _function("centres", rows)(rows.data_ptr(), b, h * w, c, centre.data_ptr())
    best, where, moments = _pooled(rows, sign, centre, b)
    first, second = moments.div_(h * w).unbind(1)
    return best, where, centre + first, (second - first.square()).clamp_min_(0)


def _pooled(rows: Tensor, sign: Tensor, centre: Tensor, given: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return y at the winners, their places, and sums [given, 2, c] about the centre, of all [c] or of each [b, c]."""
    b, h, w, c = rows.shape
    best = rows.new_empty(b, h // 2, w // 2, c)
    where = torch.empty(best.shape, dtype=torch.uint8)
    moments = torch.empty(given, 2, c, dtype=torch.float64)
    call = _function("pool", rows)
    apart = _apart(centre)

    def some(first: int, last: int) -> None:
        seen = max(0, min(given, last) - first)
        data = (
            (rows[first:], sign, _of(centre, first)),
            (best[first:], where[first:], moments[min(first, given) :]),
        )
        call(*_at(data[0]), apart, seen, last - first, h, w, c, *_at(data[1]))

    _deal(b, rows.numel(), some)
    return best, where, moments


def winners(rows: Tensor, where: Tensor) -> Tensor:
    """Return what stands at the winners: [b, h, w, c] → [b, h/2, w/2, c]."""
    rows = rows.contiguous()
    b, h, w, c = rows.shape
    out = rows.new_empty(where.shape)
    call = _function("winners", rows)

    def some(first: int, last: int) -> None:
        call(*_at((rows[first:], where[first:])), last - first, h, w, c, out[first:].data_ptr())

    _deal(b, rows.numel(), some)
    return out


def sums(d: Tensor, x: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ d and Σ d (x − centre) over all rows, float64 [c] each."""
    d, x = d.contiguous(), x.contiguous()
    b, h, w, c = x.shape
    out = torch.empty(b, 2, c, dtype=torch.float64)
    call = _function("sums", x)

    def some(first: int, last: int) -> None:
        call(*_at((d[first:], x[first:], centre)), last - first, h, w, c, out[first:].data_ptr())

    _deal(b, x.numel(), some)
    plain, along = out.sum(0)
    return plain, along


def dense_and_winners(
    rows: Tensor,
    given: int,
    slope: Tensor,
    level: Tensor,
    at_winners: Tensor,
    where: Tensor,
    more: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Return slope · y + level (+ along · u) in the first ``given`` images, 0 in the others, more at the winners.

    ``slope``, ``level`` and ``along`` are [c], or [b, 1, 1, c] where each image has its own.
    """
    rows, at_winners = rows.contiguous(), at_winners.contiguous()
    b, h, w, c = rows.shape
    out = torch.empty_like(rows)
    u, along = (None, None) if more is None else (more[0].contiguous(), more[1].contiguous())
    slope, level = slope.contiguous(), level.contiguous()
    call = _function("dense_and_winners", rows)
    apart = _apart(slope)

    def some(first: int, last: int) -> None:
        seen = max(0, min(given, last) - first)
        others = (_of(slope, first), _of(level, first), None if along is None else _of(along, first))
        data = (rows[first:], None if u is None else u[first:], *others, at_winners[first:], where[first:])
        call(*_at(data), apart, seen, last - first, h, w, c, out[first:].data_ptr())

    _deal(b, rows.numel(), some)
    return out


def density(x: Tensor, patch: int, radius: int, bandwidth: float, mean: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return q [b, h, w] and the mean distance of each image, float64 [b], of maps x [b, c, h, w] of any layout.

    Args:
        x: the maps.
        patch: side of a patch, odd.
        radius: C ≥ 1.
        bandwidth: h.
        mean: what distances are divided by, float64 [b]; None: by the mean of each image.

    Raises:
        MemoryError: there was none for the work space.
    """
    b, c, h, w = x.shape
    q = x.new_empty(b, h, w)
    by = torch.empty(b, dtype=torch.float64) if mean is None else mean.contiguous()
    strides = (_N * 4)(*x.stride())
    call = _function("isi_density", x)
    failed = []

    def some(first: int, last: int) -> None:
        shape = (last - first, c, h, w, ctypes.addressof(strides), patch // 2, radius, bandwidth, mean is not None)
        if call(x[first:].data_ptr(), *shape, *_at((by[first:], q[first:]))):
            failed.append(first)

    _deal(b, 16 * x.numel(), some)
    if failed:
        raise MemoryError("not enough memory for ISI's distances")
    return q, by


def kept(fates: Tensor, threshold: Tensor, like: Tensor) -> Tensor:
    """Return 1 where a fate is at or above its position's threshold, else 0: [b, c, h, w], channels last.

    Args:
        fates: [b, h, w, c], uint16.
        threshold: [b, h, w], int32, 0 … 65536.
        like: gives the type.
    """
    b, h, w, c = fates.shape
    out = torch.empty(b, h, w, c, dtype=like.dtype)
    call = _function("isi_kept", like)

    def some(first: int, last: int) -> None:
        call(*_at((fates[first:], threshold[first:])), (last - first) * h * w, c, out[first:].data_ptr())

    _deal(b, fates.numel(), some)
    return out.permute(0, 3, 1, 2)


def _function(name: str, like: Tensor) -> Callable[..., int]:
    return _functions(name, like.dtype == torch.float64)


@lru_cache(maxsize=64)
def _functions(name: str, double: bool) -> Callable[..., int]:
    function = getattr(library(), f"{name}_{'f64' if double else 'f32'}")
    function.argtypes = _ARGUMENTS[name]
    return function


def _apart(numbers: Tensor) -> int:
    """Return how far on the next image's numbers lie: 0 where all images have the same."""
    return 0 if numbers.ndim == 1 else numbers.shape[-1]


def _of(numbers: Tensor, first: int) -> Tensor:
    """Return the numbers from an image on, where each has its own."""
    return numbers if numbers.ndim == 1 else numbers[first:]


def _at(tensors: tuple[Tensor | None, ...]) -> list[int | None]:
    return [None if each is None else each.data_ptr() for each in tensors]


def _deal(images: int, numbers: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(first, last)`` so that every image is done once."""
    threads = torch.get_num_threads() if numbers >= _ALONE else 1
    if threads == 1 or images == 1:
        work(0, images)
        return
    bounds = [images * i // threads for i in range(threads + 1)]
    pieces = [(a, b) for a, b in itertools.pairwise(bounds) if a < b]
    waiting = [_pool(threads).submit(work, *piece) for piece in pieces[1:]]
    work(*pieces[0])
    for each in waiting:
        each.result()


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="rotogbml-native")
