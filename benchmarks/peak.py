"""What this machine can do at most: float32 convolutions, matrix products and memory: ``python -m benchmarks.peak``.

The peak of convolution is the best of the network's own shapes (batch 75, channels last), forward and both derivatives;
the figures of ``benchmarks.speed`` are shares of it. Memory is a triad, a ← b + s c, as in STREAM: three arrays of
bytes moved, what the cache fetches before it writes not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rotogbml.memory import keep_freed_memory

LAYERS = {"conv1": (3, 64, 84), "conv2": (64, 64, 42), "conv3": (64, 64, 21), "conv4": (64, 64, 10)}
"""Channels in, channels out, side of the map, of conv4-64 at 84 px."""
BATCH = 75

Clock = Callable[[], float]


def fastest(call: Callable[[], object], seconds: float, clock: Clock = time.perf_counter) -> float:
    """Return the least seconds of a call, after one that warms up, of at least three within ``seconds``."""
    call()
    best, began, n = float("inf"), time.perf_counter(), 0
    while n < 3 or time.perf_counter() - began < seconds:
        start = clock()
        call()
        best, n = min(best, clock() - start), n + 1
    return best


def map_of(b: int, c: int, side: int) -> Tensor:
    """Return a map [b, c, side, side] of noise, channels last."""
    return torch.randn(b, c, side, side).to(memory_format=torch.channels_last)


def convolution(layer: str, batch: int) -> tuple[float, dict[str, Callable[[], object]]]:
    """Return the operations of a layer's convolution, and its three kinds of call: each takes so many operations."""
    a, b, side = LAYERS[layer]
    x, y, w = map_of(batch, a, side), map_of(batch, b, side), map_of(b, a, 3)
    backward = torch.ops.aten.convolution_backward.default

    def back(at_x: bool) -> object:
        ones = [1, 1]
        return backward(y, x, w, None, ones, ones, ones, False, [0, 0], 1, [at_x, not at_x, False])

    calls: dict[str, Callable[[], object]] = {
        "forward": lambda: torch.conv2d(x, w, padding=1),
        "at the weights": lambda: back(False),
    }
    if layer != "conv1":  # nothing asks for a gradient at the images
        calls["at the map"] = lambda: back(True)
    return 2.0 * 9 * a * b * side * side * batch, calls


def triad(megabytes: float, seconds: float, clock: Clock = time.perf_counter) -> float:
    """Return GB/s of a ← b + s c over three arrays of so many megabytes together."""
    n = int(megabytes * 1e6 / 12)
    a, b, c = torch.zeros(n), torch.randn(n), torch.randn(n)
    return 12e-9 * n / fastest(lambda: torch.add(b, c, alpha=3.0, out=a), seconds, clock)


def measure(threads: int, seconds: float = 0.4, clock: Clock = time.perf_counter) -> dict[str, Any]:
    """Return GF/s of each convolution and of a matrix product, and GB/s in memory and in the last cache."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = {}
        for layer in LAYERS:
            flops, calls = convolution(layer, BATCH)
            found |= {f"{layer}, {kind}": 1e-9 * flops / fastest(call, seconds, clock) for kind, call in calls.items()}
        best = max(found, key=lambda name: found[name])
        a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
        product = 2e-9 * 2048**3 / fastest(lambda: a @ b, seconds, clock)
        return {
            "threads": threads,
            "convolutions": found,
            "best": best,
            "peak": found[best],
            "product": product,
            "memory": triad(1200, seconds, clock),
            "cache": triad(12, seconds, clock),
        }
    finally:
        torch.set_num_threads(before)


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, nargs="*", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--seconds", type=float, default=0.4, help="for each number")
    parser.add_argument("--busy", action="store_true", help="one thread and processor time")
    given = parser.parse_args()
    clock = time.process_time if given.busy else time.perf_counter
    several = [1] if given.busy else given.threads
    keep_freed_memory()  # a map that is made anew costs its pages, which is none of a convolution's work
    print(json.dumps({str(threads): measure(threads, given.seconds, clock) for threads in several}, indent=1))


if __name__ == "__main__":
    main()
