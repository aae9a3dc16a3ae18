"""What 600 test episodes cost against the loop that people write.

    python -m benchmarks.evaluation [--quick] [--rounds N]

The naive loop is that of learn2learn's and higher's examples: one process with torch's own number of threads and the
system's allocator, images [b, 3, size, size] as torch lays them out, stock convolution, batch norm, ReLU and max-pool,
one episode after the other, ``autograd.grad(create_graph=True)`` in every inner step as ``learner.adapt`` has it. A
kinder one keeps no graph and no gradient of the queries. Both take weights, episodes and images from where ``rotogbml
evaluate`` does, so that accuracies can be compared, and run in a process of their own, warm before the clock starts;
ours is the whole of what the command does after loading, its processes' start included.

    MAML   conv4-64, 5-way 1-shot, 15 queries a class, 10 inner steps at test, 84 and 42 px
    ANIL   the same at 84 px; the naive loop, too, computes the support's features once an episode
    kept   ANIL under group norm: the target has 800 images, which the episodes see again and again

A round runs each in turn; a ratio is the median over rounds of seconds an episode, naive over ours, within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import made
from rotogbml.children import cores
from rotogbml.evaluation.dealing import accuracies
from rotogbml.evaluation.methods import Spec
from rotogbml.evaluation.work import Test
from rotogbml.learners import accuracy
from rotogbml.sources.packed import open_pack
from rotogbml.training import checkpoint

RESULTS = Path(__file__).parent / "results"
STEPS, LR = 10, 0.01


class Work(NamedTuple):
    """What is tested."""

    learner: str
    norm: str
    size: int
    naive: int
    """Episodes of a naive loop in a round."""
    ours: int


WORKS = {
    "MAML, 84 px": Work("maml", "batch", 84, 6, 48),
    "MAML, 42 px": Work("maml", "batch", 42, 20, 128),
    "ANIL, 84 px": Work("anil", "batch", 84, 10, 96),
    "ANIL, group norm, 84 px": Work("anil", "group", 84, 10, 600),
}
QUICK = {name: work._replace(naive=work.naive // 2, ours=work.ours // 2) for name, work in WORKS.items()}
NAIVE = ("graph", "kinder")


def fixed(pack: Path) -> Test:
    """Return the test that all are put to."""
    return Test(open_pack(pack)["b"], "all", 5, 1, 15, 0)


def naive(run: Path, pack: Path, work: Work, kinder: bool) -> dict[str, object]:
    """Return seconds an episode, processor seconds, and the accuracies of the naive loop."""
    state = checkpoint.load(run / "checkpoints" / "best.pt")
    theta = {name: p.contiguous().requires_grad_() for name, p in state["theta"].items()}
    phi = {name: p.contiguous().requires_grad_() for name, p in state["phi"].items()}

    def features(p: dict[str, Tensor], x: Tensor) -> Tensor:
        for i in range(4):
            x = F.conv2d(x, p[f"blocks.{i}.conv.weight"], padding=1)
            scale, shift = p[f"blocks.{i}.weight"], p[f"blocks.{i}.bias"]
            if work.norm == "batch":
                x = F.batch_norm(x, None, None, scale, shift, training=True)
            else:
                x = F.group_norm(x, 8, scale, shift)
            x = F.max_pool2d(F.relu(x), 2)
        return x.flatten(1)

    def step(loss: Tensor, p: dict[str, Tensor]) -> dict[str, Tensor]:
        gradients = torch.autograd.grad(loss, list(p.values()), create_graph=not kinder)
        return {name: q - LR * g for (name, q), g in zip(p.items(), gradients, strict=True)}

    def scores(p: dict[str, Tensor], z: Tensor) -> Tensor:
        return F.linear(z, p["weight"], p["bias"])

    def episode(index: int) -> float:
        one = sampler.batch(index)[0]
        sx, qx = one.support.x.contiguous(), one.query.x.contiguous()
        if work.learner == "anil":
            with torch.set_grad_enabled(not kinder):
                z = features(theta, sx)
            head = phi
            for _ in range(STEPS):
                head = step(F.cross_entropy(scores(head, z), one.support.y), head)
            with torch.set_grad_enabled(not kinder):
                return accuracy(scores(head, features(theta, qx)), one.query.y)
        both = {**theta, **phi}
        for _ in range(STEPS):
            both = step(F.cross_entropy(scores(both, features(both, sx)), one.support.y), both)
        with torch.set_grad_enabled(not kinder):
            return accuracy(scores(both, features(both, qx)), one.query.y)

    sampler = fixed(pack).sampler()
    episode(0)  # warm
    began, processor = time.perf_counter(), time.process_time()
    values = [episode(i) for i in range(work.naive)]
    seconds, cpu = time.perf_counter() - began, time.process_time() - processor
    return {"seconds": seconds / work.naive, "cpu": cpu / work.naive, "accuracies": values}


def elsewhere(run: str, pack: Path, work: Work, kinder: bool) -> dict[str, object]:
    """Run the naive loop in a process of its own, as it comes: allocator, threads and all."""
    given = json.dumps([run, str(pack), list(work), kinder])
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "benchmarks.evaluation", "--naive", given]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return json.loads(said.splitlines()[-1])


def ours(run: str, pack: Path, work: Work) -> tuple[float, float, np.ndarray]:
    """Return seconds and processor seconds an episode and the accuracies, on all cores, processes' start included."""
    from rotogbml.evaluation.methods import load

    load.cache_clear()
    spec, test = Spec("run", run, test_steps=STEPS), fixed(pack)
    load(spec, work.size)
    began, processor = time.perf_counter(), of_all_processes()
    values = accuracies([spec], [test], work.ours, cores(), lambda _: None)[spec, "b"]
    return (time.perf_counter() - began) / work.ours, (of_all_processes() - processor) / work.ours, values


def of_all_processes() -> float:
    """Return processor seconds of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def agree(naive: list[float], ours: np.ndarray) -> float:
    """Return the share of episodes whose accuracy is the same; the others may differ by a few queries of 75.

    Raises:
        AssertionError: they differ by more than rounding explains.
    """
    difference = np.abs(np.array(naive) - ours[: len(naive)])
    same = float((difference < 1e-9).mean())
    assert same > 0.5, f"only {same:.0%} of the episodes agree: {difference}"
    assert difference.max() <= 4 / 75 + 1e-9, f"an episode differs by {75 * difference.max():.0f} queries of 75"
    return same


def measure(name: str, work: Work, rounds: int, root: Path) -> dict[str, object]:
    """Return the row of one work."""
    pack = made.pack(root / "pack", "ab", work.size, work.size, 40)
    run = made.run(root / "run", pack, work.learner, work.norm, STEPS)
    ratios: dict[str, list[float]] = {kind: [] for kind in NAIVE}
    spent: dict[str, list[float]] = {kind: [] for kind in (*NAIVE, "ours")}
    processor: dict[str, list[float]] = {kind: [] for kind in (*NAIVE, "ours")}
    same, values = 1.0, np.empty(0)
    for i in range(rounds):
        seconds, cpu, values = ours(run, pack, work)
        spent["ours"].append(seconds)
        processor["ours"].append(cpu)
        for kind in NAIVE:
            other = elsewhere(run, pack, work, kind == "kinder")
            same = min(same, agree(other["accuracies"], values))  # type: ignore[arg-type]
            spent[kind].append(float(other["seconds"]))  # type: ignore[arg-type]
            processor[kind].append(float(other["cpu"]))  # type: ignore[arg-type]
            ratios[kind].append(spent[kind][-1] / seconds)
        print(f"{name}: round {i + 1}/{rounds}", flush=True)
    row: dict[str, object] = {f"{kind} s": statistics.median(found) for kind, found in spent.items()}
    row |= {f"{kind} cpu": statistics.median(found) for kind, found in processor.items()}
    for kind, found in ratios.items():
        row[kind] = {"ratio": statistics.median(found), "low": min(found), "high": max(found)}
    return {**row, "episodes": work.ours, "agree": same, "accuracy": float(values.mean())}


def main() -> None:
    """Run, print the table, write ``benchmarks/results/evaluation.json``."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--quick", action="store_true", help="one round of fewer episodes")
    arguments.add_argument("--only", default="", help="works whose name holds this")
    arguments.add_argument("--naive", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.naive:
        run, pack, work, kinder = json.loads(given.naive)
        print(json.dumps(naive(Path(run), Path(pack), Work(*work), kinder)))
        return
    works, rounds = (QUICK, 1) if given.quick else (WORKS, given.rounds)
    table = {}
    for name, work in works.items():
        if given.only in name:
            with tempfile.TemporaryDirectory() as folder:
                table[name] = measure(name, work, rounds, Path(folder))
    print(
        f"\nseconds (processor seconds) an episode, {cores()} cores; ratio of the clock's, range over {rounds} rounds"
    )
    print(f"{'':<24}{'ours':>15}{'naive':>15}{'ratio':>7}{'':14}{'kinder':>15}{'ratio':>7}{'':14}{'the same':>9}")
    for name, row in table.items():
        cells = f"{row['ours s']:7.3f} ({row['ours cpu']:.3f})"
        for kind in NAIVE:
            ratio = row[kind]
            assert isinstance(ratio, dict)
            span = f" {ratio['low']:.2f} - {ratio['high']:.2f}"
            cells += f"{row[f'{kind} s']:7.3f} ({row[f'{kind} cpu']:.3f}){ratio['ratio']:7.2f}{span:14}"
        print(f"{name:<24}{cells}{row['agree']:9.0%}")
    if given.only:
        return
    RESULTS.mkdir(exist_ok=True)
    record = {"rounds": rounds, "cores": cores(), "torch": torch.__version__, "table": table}
    name = "evaluation-quick.json" if given.quick else "evaluation.json"
    (RESULTS / name).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
