"""What a rival of ω, or a reading of γ, costs beside the step: processor milliseconds of one thread.

python -m benchmarks.readings [--parameters 113000] [--out costs.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from rotogbml.config import HomogenizerConfig, RotateConfig
from rotogbml.errors import UsageError
from rotogbml.homogenizer import Homogenizer, TaskStatistics, create_homogenizer, gramian
from rotogbml.homogenizer.rivals import NAMES

N, N_WAY = 4, 5
SOURCES = tuple("abcdefgh")


def create(config: HomogenizerConfig, m: int) -> Homogenizer:
    """Return a homogenizer of eight sources."""
    return create_homogenizer(config, sources=SOURCES, tasks_per_batch=N, feature_dim=m, n_way=N_WAY)


def median(work: Callable[[int], Any], repeats: int) -> float:
    """Return the median processor milliseconds of ``work``, a first call left out."""
    times = []
    for i in range(repeats + 1):
        began = time.process_time()
        work(i)
        times.append(1e3 * (time.process_time() - began))
    return round(statistics.median(times[1:]), 2)


def rival(name: str, parameters: int) -> float | str:
    """Return the cost of weights, step and memory for N gradients of θ; why not, where it cannot be built."""
    try:
        h = create(HomogenizerConfig(None, None, combine=cast(Any, name), slots="source"), 4)
    except UsageError as error:
        return str(error)
    g = torch.randn(N, parameters, generator=torch.Generator().manual_seed(0))

    def work(i: int) -> None:
        gram = gramian(g) if h.needs_gram else None
        s = TaskStatistics(SOURCES[:N], torch.ones(N), g.norm(dim=1), torch.zeros(N, 4), gram=gram, step=i)
        h.combine([g], h.weights(s), s)
        h.update(s)

    return median(work, 9)


def turn(update: str, compare: str, m: int) -> float:
    """Return the cost of one update of N rotations of m features."""
    config = RotateConfig("shared", 5e-4, 1.0, "source", False, None, cast(Any, update), cast(Any, compare))
    h = create(HomogenizerConfig(None, config), m)
    shape = (N, m) if compare == "mean" else (N, N_WAY, m)
    u = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    s = TaskStatistics(SOURCES[:N], torch.ones(N), torch.ones(N), u)
    return median(lambda i: h.update(s), 3 if update == "gradient" and m > 512 else 7)


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parameters", type=int, default=113_000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    costs: dict[str, Any] = {"parameters": given.parameters}
    costs["rivals"] = {name: rival(name, given.parameters) for name in NAMES}
    costs["turns"] = {
        f"{update} {compare} m={m}": turn(update, compare, m)
        for m in (256, 512, 1600)
        for update, compare in (("plane", "mean"), ("plane", "class"), ("gradient", "mean"))
    }
    text = json.dumps(costs, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
