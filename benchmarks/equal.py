"""Are 1, 2 and 4 processes the same run? ``python -m benchmarks.equal`` prints and keeps the table.

Three steps of five tasks (so that no number of processes divides them), conv4-8, 28 px, 5-way 1-shot, by every learner,
without a homogenizer and with slots by source, by position and of the minibatch. The processes are played by threads on
a wire of shared memory; ``tests/training/test_processes.py`` starts real ones. A cell is the largest difference of a
number of ψ, α, Adam, ω or γ from that of one process, as a share of its tensor's largest: 0 is equality to the bit.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.step import SOURCES, configuration, minibatch
from benchmarks.wires import played
from rotogbml.config import HomogenizerConfig, LearnerConfig, ReweightConfig, RotateConfig, Slots
from rotogbml.encoders.isi import Isi
from rotogbml.homogenizer import create_homogenizer
from rotogbml.learners import list_learners
from rotogbml.training.assemble import Parts, build_learner
from rotogbml.training.outer import create_optimizer
from rotogbml.training.ranks import Ranks
from rotogbml.training.resolve import resolve
from rotogbml.training.step import meta_step
from rotogbml.training.validation import Validation

RESULTS = Path(__file__).parent / "results"
TASKS, SIZE, STEPS = 5, 28, 3


def run(ranks: Ranks, learner: str, slots: Slots | None, dtype: torch.dtype) -> list[Tensor]:
    """Take the steps in one process and return all numbers that they moved."""
    h = None
    if slots is not None:
        h = HomogenizerConfig(
            ReweightConfig(slots=slots, lr=0.1), RotateConfig(slots=slots, rotate_support=slots != "minibatch", lr=0.1)
        )
    base = configuration(h, None)
    config = resolve(
        replace(
            base,
            encoder=replace(base.encoder, width=8, norm=None),
            learner=LearnerConfig(learner, inner_steps=2),
            episodes=replace(base.episodes, tasks_per_batch=TASKS),
            outer=replace(base.outer, meta_lr=None, optimizer=None, schedule=None, clamp=None, keep_best=None),
            head=None,
        )
    )
    made = build_learner(config, SIZE)
    made.network.to(dtype)
    for p in made.alpha.values():
        p.data = p.data.to(dtype)
    m = made.network.feature_dim
    homogenizer = create_homogenizer(config.homogenizer, sources=SOURCES, tasks_per_batch=TASKS, feature_dim=m, n_way=5)
    parts = Parts(
        config, {}, None, made, homogenizer, None if config.isi is None else Isi(config.isi),  # type: ignore[arg-type]
        Validation({}, 0), torch.device("cpu"), ranks,
    )  # fmt: skip
    psi = made.network.psi()
    optimizer = create_optimizer(config.outer, made, psi)
    for step in range(STEPS):
        drawn = [*minibatch(SIZE, 2 * step), minibatch(SIZE, 2 * step + 1)[0]]
        meta_step(parts, psi, optimizer, [e.to(torch.device("cpu"), dtype) for e in drawn], step)
    groups = made.learned().values()
    state: Any = [[p.detach().clone() for group in groups for p in group.values()], optimizer.state_dict()["state"]]
    return list(_tensors([*state, homogenizer.state_dict()]))


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree.double()]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def apart(a: list[Tensor], b: list[Tensor]) -> float:
    """Return the largest difference of two numbers, as a share of the largest of their tensor."""
    return max(
        ((x - y).abs().max() / x.abs().max().clamp_min(1e-300)).item() for x, y in zip(a, b, strict=True) if x.numel()
    )


def main() -> None:
    """Print the table, write ``benchmarks/results/equal.json``."""
    torch.set_num_threads(1)
    rows = []
    print("| learner | slots | float64: 2 | 4 | float32: 2 | 4 |\n|---|---|---|---|---|---|")
    for learner in list_learners():
        for slots in (None, "source", "position", "minibatch"):
            row: dict[str, Any] = {"learner": learner, "slots": slots or "off"}
            for dtype in (torch.float64, torch.float32):
                (alone,) = played(1, lambda ranks, how=(learner, slots, dtype): run(ranks, *how))
                for world in (2, 4):
                    ends = played(world, lambda ranks, how=(learner, slots, dtype): run(ranks, *how))
                    row[f"{str(dtype)[6:]} {world}"] = max(apart(alone, end) for end in ends)
            rows.append(row)
            print(f"| {' | '.join(f'{x:.0e}' if isinstance(x, float) and x else str(x) for x in row.values())} |")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "equal.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
