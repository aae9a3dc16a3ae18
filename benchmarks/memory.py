"""Peak memory of one task's meta-gradient against inner steps: ``python -m benchmarks.memory``.

Each number comes from a process of its own: conv4-32, 42 px, 5-way 5-shot, 5 queries a class, one thread; the highest
resident memory during prepare and meta_gradient, less what was resident before. Writes
``benchmarks/results/memory.json`` and ``docs/memory.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# glibc raises this threshold by itself and then keeps what is freed: fixed, what is resident is what is alive.
LIVE = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
HERE = Path(__file__).resolve().parent
STEPS = (1, 2, 4, 8, 16, 32, 64)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "MAML, second order": ("maml", {}),
    "MAML, second order, checkpointed": ("maml", {"checkpoint": True}),
    "MAML, first order": ("maml", {"first_order": True}),
    "ANIL, second order": ("anil", {}),
    "iMAML, 5 steps of conjugate gradient": ("imaml", {"cg_tolerance": 0.0}),
    "Reptile": ("reptile", {}),
}


def measure(variant: str, steps: int) -> float:
    """Return the peak in MiB, in this process."""
    import resource

    import numpy as np
    import torch

    from rotogbml.encoders import create_encoder
    from rotogbml.episodes import Episode, Examples
    from rotogbml.learners import Network, create_head, create_learner

    torch.set_num_threads(1)
    name, options = VARIANTS[variant]
    encoder = create_encoder("conv4", size=42, width=32)
    network = Network(encoder, create_head("linear", encoder.feature_dim, 5))
    network.initialise(0)
    g = torch.Generator().manual_seed(0)

    def examples(n: int) -> Examples:
        return Examples(torch.randn(n, 3, 42, 42, generator=g), torch.arange(n) % 5)

    episode = Episode(examples(25), examples(25), "made", tuple("abcde"), (np.arange(25), np.arange(25, 50)))
    psi = network.psi()
    # What the first pass of any kind loads and reserves is not the learner's.
    warm = create_learner("maml", network, inner_lr=0.01, inner_steps=0)
    warm.meta_gradient(psi, warm.prepare(psi, episode))
    before = Path("/proc/self/statm").read_text().split()
    resident = int(before[1]) * resource.getpagesize()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    learner = create_learner(name, network, inner_lr=0.01, inner_steps=steps, **options)
    learner.meta_gradient(psi, learner.prepare(psi, episode))
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return (peak - resident) / 2**20


def main() -> None:
    """Measure every variant, print the table, write the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "STEPS"), help="measure here and print the number")
    given = parser.parse_args()
    if given.one:
        print(measure(given.one[0], int(given.one[1])))
        return
    found: dict[str, dict[str, float]] = {}
    print("| MiB at τ = | " + " | ".join(map(str, STEPS)) + " |\n|---" + "|---" * len(STEPS) + "|")
    for variant in VARIANTS:
        for steps in STEPS:
            command = [sys.executable, "-m", "benchmarks.memory", "--one", variant, str(steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parent, env=LIVE)
            found.setdefault(variant, {})[str(steps)] = round(float(done.stdout), 1)
        print(f"| {variant} | " + " | ".join(f"{value:.0f}" for value in found[variant].values()) + " |", flush=True)
    (HERE / "results" / "memory.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(found)


def draw(found: dict[str, dict[str, float]]) -> None:
    """Write the figure."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for marker, (variant, values) in zip("osd^vx", found.items(), strict=True):
        axes.plot(list(map(int, values)), list(values.values()), marker=marker, label=variant)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(STEPS, list(map(str, STEPS)))
    axes.set_xlabel("inner steps τ")
    axes.set_ylabel("peak memory of one task, MiB")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(HERE.parent / "docs" / "memory.png", dpi=120)


if __name__ == "__main__":
    main()
