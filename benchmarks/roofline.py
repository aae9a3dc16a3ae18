"""What bounds W1, layer by layer: ``python -m benchmarks.roofline``.

Every block of conv4 is measured as a step of W1 runs it (support: forward, first derivative with a graph, and what the
outer backward sends through both; query: forward and first derivative), whole and its convolution alone. An operation
that takes F operations and moves B bytes cannot be faster than max(F / peak, B / bandwidth). B is the least there is:
each map that goes in or out counted once, weights too, at the memory's bandwidth, or the cache's where all of it fits.

    convolution   x, y: forward x + y; first x + ∂x + ∂y; outer 3 x + 3 y (conv1, with no gradient at x: x + y, x + 2 y)
    the rest      y, z = y / 4: forward y + z; first 2 y + z; outer 3 y + 2 z
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peak import LAYERS, Clock, fastest, map_of, measure
from benchmarks.work import N_WAY, W1
from rotogbml.encoders import create_encoder
from rotogbml.memory import keep_freed_memory

Call = Callable[..., Tensor]
PHASES = ("forward", "first", "outer")
CACHED_MB = 12.0
"""Operations that move no more than the cached triad did are held against its bandwidth."""


def sequence(call: Call, x: Tensor, weights: Sequence[Tensor], phase: str) -> Callable[[], object]:
    """Return a call that goes through a layer as far as a phase."""
    at = [*([x] if x.requires_grad else []), *weights]
    with torch.no_grad():
        back = torch.randn_like(call(x))
    returned = [torch.randn_like(p) for p in at]
    twice = back.clone().requires_grad_()

    def run() -> object:
        z = call(x)
        if phase == "forward":
            return z
        if phase == "first alone":
            return torch.autograd.grad(z, at, back)
        first = torch.autograd.grad(z, at, twice, create_graph=True)
        return first if phase == "first" else torch.autograd.grad([z, *first], [*at, twice], [back, *returned])

    return run


def spent(
    call: Call, x: Tensor, weights: Sequence[Tensor], query: bool, seconds: float, clock: Clock
) -> dict[str, float]:
    """Return seconds of each phase alone, by differences of sequences that go further and further."""
    return _apart({name: fastest(sequence(call, x, weights, name), seconds, clock) for name in _sequences(query)})


def counted(call: Call, x: Tensor, weights: Sequence[Tensor], query: bool) -> dict[str, float]:
    """Return operations of each phase alone; two a multiplication."""
    found = {}
    for name in _sequences(query):
        run = sequence(call, x, weights, name)
        with FlopCounterMode(display=False) as counter:
            run()
        found[name] = float(counter.get_total_flops())
    return _apart(found)


def _sequences(query: bool) -> tuple[str, ...]:
    return ("forward", "first alone") if query else PHASES


def _apart(totals: dict[str, float]) -> dict[str, float]:
    before = [0.0, *totals.values()]
    return {name.split()[0]: value - before[i] for i, (name, value) in enumerate(totals.items())}


def least_bytes(layer: str, batch: int) -> dict[str, dict[str, float]]:
    """Return the least bytes that the convolution and the rest of a layer move in each phase."""
    a, b, side = LAYERS[layer]
    x, y, w = (4.0 * n for n in (batch * a * side * side, batch * b * side * side, 9 * a * b))
    z = y / 4
    first, outer = (x + y, x + 2 * y) if layer == "conv1" else (2 * x + y, 3 * x + 3 * y)
    return {
        "convolution": {"forward": x + y + w, "first": first + 2 * w, "outer": outer + 4 * w},
        "rest": {"forward": y + z, "first": 2 * y + z, "outer": 3 * y + 2 * z},
    }


def layer_rows(layer: str, peak: dict[str, Any], seconds: float, clock: Clock) -> list[dict[str, Any]]:
    """Return what each phase of a layer takes in a step of W1, and what bounds it."""
    a, _, side = LAYERS[layer]
    encoder = cast(nn.Module, create_encoder("conv4", size=W1.size, width=W1.width))
    block = cast(nn.Module, encoder.get_submodule("blocks")[int(layer[-1]) - 1])  # ty: ignore[not-subscriptable]
    weights, filters = list(block.parameters()), cast(Tensor, block.get_parameter("conv.weight"))

    def convolve(x: Tensor) -> Tensor:
        return F.conv2d(x, filters, padding=1)

    rows = []
    for side_of, batch, times in (
        ("support", N_WAY * W1.k_shot, W1.tasks * W1.steps),
        ("query", N_WAY * W1.n_query, W1.tasks),
    ):
        x = map_of(batch, a, side).requires_grad_(layer != "conv1")
        whole = spent(block, x, weights, side_of == "query", seconds, clock)
        alone = spent(convolve, x, [filters], side_of == "query", seconds, clock)
        operations = counted(convolve, x, [filters], side_of == "query")
        moved = least_bytes(layer, batch)
        for phase in whole:
            flops = operations[phase]
            bytes_of = {part: moved[part][phase] for part in moved}
            rows.append(
                {
                    "layer": layer,
                    "images": side_of,
                    "phase": phase,
                    "gflop": 1e-9 * flops * times,
                    "intensity": flops / bytes_of["convolution"],
                    "conv_limit": times * limit(flops, bytes_of["convolution"], peak),
                    "conv": times * alone[phase],
                    "rest_limit": times * limit(0.0, bytes_of["rest"], peak),
                    "block": times * whole[phase],
                }
            )
    return rows


def limit(flops: float, moved: float, peak: dict[str, Any]) -> float:
    """Return the least seconds of an operation."""
    bandwidth = peak["cache"] if moved <= CACHED_MB * 1e6 else peak["memory"]
    return max(1e-9 * flops / peak["peak"], 1e-9 * moved / bandwidth)


def roofline(threads: int, seconds: float = 0.4, clock: Clock = time.perf_counter) -> dict[str, Any]:
    """Return the rows of every layer, and the peak and bandwidth that they are held against."""
    peak = measure(threads, seconds, clock)
    torch.set_num_threads(threads)
    rows = [row for layer in LAYERS for row in layer_rows(layer, peak, seconds, clock)]
    return {"peak": peak, "rows": rows}


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--busy", action="store_true", help="one thread and processor time")
    given = parser.parse_args()
    keep_freed_memory()
    clock = time.process_time if given.busy else time.perf_counter
    print(json.dumps(roofline(1 if given.busy else given.threads, clock=clock), indent=1))


if __name__ == "__main__":
    main()
