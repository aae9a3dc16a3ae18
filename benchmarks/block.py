"""What the fused block is worth: its processor time over the stock block's, one thread: ``python -m benchmarks.block``.

    block   batch norm, max-pool and ReLU alone: forward and backward; forward, backward and the backward of that
    group   the same of group norm
    task    the meta-gradient of one MAML task, first and second order: W1 and W3 of the literature's sizes, the demo

The ways (for a task also ``bf16``: fused, with convolutions in bfloat16; and stock once more, which says how far to
trust the rest) take turns within a round; a ratio is the median over rounds of (way / stock) within a round. Processor
time, not the clock's: other processes may run beside it.
Writes ``benchmarks/results/block.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders import create_encoder, set_precision
from rotogbml.encoders.fused import norm_pool_relu
from rotogbml.encoders.grouped import group_pool_relu
from rotogbml.encoders.norm import EPS
from rotogbml.episodes import Episode, Examples
from rotogbml.learners import Network, create_head, create_learner
from rotogbml.memory import keep_freed_memory

RESULTS = Path(__file__).parent / "results"
SHAPES = [(25, 64, 84, 84), (75, 64, 42, 42), (75, 64, 10, 10), (5, 64, 84, 84), (5, 64, 10, 10)]
SHAPES += [(5, 32, 32, 32), (5, 32, 4, 4)]
GROUPED = [(80, 64, 84, 84), (80, 64, 42, 42), (80, 64, 21, 21), (80, 32, 28, 28), (80, 32, 14, 14), (16, 32, 28, 28)]
GROUPS = 8
TASKS = {
    "W1: conv4-64, 84 px, 15 queries, 5 steps": (84, 64, 15, 5),
    "W3: conv4-64, 42 px, 15 queries, 5 steps": (42, 64, 15, 5),
    "demo: conv4-32, 32 px, 5 queries, 3 steps": (32, 32, 5, 3),
}
Ways = dict[str, Callable[[], object]]
Row = dict[str, Any]


def stock(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return what conv4 computes after a convolution where nothing is fused."""
    return F.relu(F.max_pool2d(F.batch_norm(y, None, None, weight, bias, training=True), 2))


def stock_groups(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the same of group norm."""
    return F.relu(F.max_pool2d(F.group_norm(y, GROUPS, weight, bias, EPS), 2))


def block(shape: tuple[int, int, int, int], twice: bool, groups: bool = False) -> Ways:
    """Return both ways through one block; ``twice``: on to the second derivative."""
    g = torch.Generator().manual_seed(0)
    y = torch.randn(shape, generator=g).to(memory_format=torch.channels_last).requires_grad_()
    weight = (torch.rand(shape[1], generator=g) + 0.5).requires_grad_()
    bias = torch.randn(shape[1], generator=g).requires_grad_()
    at = (y, weight, bias)

    def through(way: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        z = way(*at)
        back = z.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        first = torch.autograd.grad(z, at, back, create_graph=twice)
        if twice:
            # The shift stands in the first derivative through the sign of z alone.
            torch.autograd.grad(first, (y, weight, back), [p.detach() for p in at])

    def fused(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return group_pool_relu(y, weight, bias, GROUPS) if groups else norm_pool_relu(y, weight, bias, len(y))

    plain = stock_groups if groups else stock
    return {"stock": lambda: through(plain), "fused": lambda: through(fused), "again": lambda: through(plain)}


def task(size: int, width: int, queries: int, steps: int, first_order: bool, encoder_name: str = "conv4") -> Ways:
    """Return the ways to the meta-gradient of one 5-way 1-shot task: stock, fused, in bfloat16, and stock again."""
    encoder = create_encoder(encoder_name, size=size, width=width)
    network = Network(encoder, create_head("linear", encoder.feature_dim, 5))
    network.initialise(0)
    learner = create_learner("maml", network, inner_lr=0.01, inner_steps=steps, first_order=first_order)
    g = torch.Generator().manual_seed(0)
    support, query = (
        Examples(torch.randn(n, 3, size, size, generator=g), torch.arange(n) % 5) for n in (5, 5 * queries)
    )
    episode = Episode(support, query, "made", tuple("abcde"), (np.arange(5), np.arange(5, 5 + 5 * queries)))
    psi = network.psi()

    def through(switch: str, precision: str = "32") -> None:
        os.environ["ROTOGBML_FUSED"] = switch
        set_precision(encoder, precision)
        learner.meta_gradient(psi, learner.prepare(psi, episode))

    return {
        "stock": lambda: through("0"),
        "fused": lambda: through("1"),
        "bf16": lambda: through("1", "bf16-mixed"),
        "again": lambda: through("0"),
    }


def compare(ways: Ways, seconds: float, least: int) -> Row:
    """Return stock's seconds, and each way's ratio with its range, of all rounds in ``seconds``, or of ``least``."""
    for way in ways.values():
        way()
    began, spent = time.process_time(), []
    while len(spent) < least or time.process_time() - began < seconds:
        times = {}
        for name, way in ways.items():
            start = time.process_time()
            way()
            times[name] = time.process_time() - start
        spent.append(times)
    found: Row = {"stock_s": statistics.median(t["stock"] for t in spent), "rounds": len(spent)}
    for name in ways:
        ratios = sorted(t[name] / t["stock"] for t in spent)
        tenth = len(ratios) // 10
        found[name] = {"ratio": statistics.median(ratios), "low": ratios[tenth], "high": ratios[-1 - tenth]}
    return found


def run(rows: dict[str, Callable[[], Ways]], about: str, file: str) -> None:
    """Measure all rows, print the table, write it."""
    arguments = argparse.ArgumentParser(description=about)
    arguments.add_argument("--seconds", type=float, default=10, help="processor seconds a row, at least 5 rounds")
    arguments.add_argument("--only", default="", help="rows whose name holds this; nothing is written then")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    table = {}
    print(f"{'':<66}{'stock ms':>9}   ratio to stock (10-90 %)")
    for name, ways in rows.items():
        if given.only not in name:
            continue
        row = table[name] = compare(ways(), given.seconds, 5)
        said = [
            f"{way} {of['ratio']:.3f} ({of['low']:.3f}-{of['high']:.3f})"
            for way, of in row.items()
            if isinstance(of, dict) and way != "stock"
        ]
        print(f"{name:<66}{1e3 * row['stock_s']:9.2f}   {'  '.join(said)}", flush=True)
    if not given.only:
        RESULTS.mkdir(exist_ok=True)
        record = {"cores": os.cpu_count(), "torch": torch.__version__, "table": table}
        (RESULTS / file).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Run, print the table, write it."""
    rows: dict[str, Callable[[], Ways]] = {}
    for shape in SHAPES:
        for twice, what in ((False, "backward"), (True, "second derivative")):
            rows[f"block {[*shape]}, {what}"] = lambda shape=shape, twice=twice: block(shape, twice)
    for shape in GROUPED:
        for twice, what in ((False, "backward"), (True, "second derivative")):
            rows[f"group {[*shape]}, {what}"] = lambda shape=shape, twice=twice: block(shape, twice, groups=True)
    for name, work in TASKS.items():
        for first_order, what in ((True, "first order"), (False, "second order")):
            rows[f"task {name}, {what}"] = lambda work=work, first=first_order: task(*work, first)
    run(rows, (__doc__ or "").split("\n")[0], "block.json")


if __name__ == "__main__":
    main()
