"""Print docs/speed.md, made from what was measured: ``python docs/speed_page.py [--write]``.

All its numbers, and the sentences that depend on them, come from ``benchmarks/results``: ``speed.json``, and
``step.json``, ``data.json``, ``evaluation.json`` where they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.ways import OURS, PLAIN  # noqa: E402

from benchmarks import tables, targets  # noqa: E402 (it lies beside the package)

Record = dict[str, Any]
PAGE = ROOT / "docs" / "speed.md"


def load() -> tuple[Record, targets.Others]:
    """Return the record of ``benchmarks.speed`` and those of other benchmarks."""
    results = ROOT / "benchmarks" / "results"
    return json.loads((results / "speed.json").read_text(encoding="utf-8")), targets.read_others(results)


def page(record: Record, others: targets.Others) -> str:
    """Return the page."""
    c = record["conditions"]
    sections = [
        f"""# Speed: one meta-training step on a CPU

`make bench` measures all of this, writes `benchmarks/results/speed.json` and makes this page of it; `python -m
benchmarks.speed --quick` shows the outline in two minutes. Here: {c["processor"]}, {c["cores"]} cores, torch
{c["torch"]}, Python {c["python"]}, {c["date"]}; time is {c["clock"]}.""",
        _how(record),
        f"""## What was to be reached

{targets.table(record, others)}

A ratio says how many times as long as ours the other takes: the median over rounds, and their range.""",
        "## The works",
        *(_work(record, name) for name in record.get("works", {})),
    ]
    if "growth" in record:
        sections.append(f"""## Growth

42 px, one task where tasks do not grow, otherwise as W1. Exponents are slopes of the logarithms, by least squares;
memory is the peak of a step less what the process held before. (`python -m benchmarks.growth`)

{tables.growth_table(record)}""")
    if "peak" in record:
        sections.append(f"""## What the machine can do

Batch 75, channels last, float32, the best of many calls; the triad a ← b + s c moves three arrays. (`python -m
benchmarks.peak`)

{tables.peak_table(record)}""")
    if "roofline" in record:
        sections.append(_roofline(record))
    if "where" in record:
        sections.append(f"""## Where `rotogbml train` spends a step

W1 on a made pack of five sources with the default augmentation, as `rotogbml train --profile` tells: the mean of three
steps, the profiler's own cost in it. Each operator counts for itself alone, so the families add up. (`python -m
benchmarks.where`)

{tables.where_table(record)}{_disturbed(record["where"])}""")
    return "\n\n".join(section for section in sections if section) + "\n"


def _how(record: Record) -> str:
    errors = [error for kind in record.get("agreement", {}).values() for error in kind.values()]
    agreed = (
        f"Before anything is timed, each way's meta-gradient is held against the plain loop's in\nfloat64, tensor by "
        f"tensor, on {len(record['agreement'])} kinds of work: the largest relative difference is {max(errors):.0e}."
        if errors
        else "The agreement of the ways was not checked in this record."
    )
    return f"""## How it is measured

Each way lives in a process of its own, is warmed up, and takes the same step in turn with the others; what is compared
is compared within a round, in changing order. Every way has the same network (no convolution has a bias), weights,
tasks of noise and Adam. {agreed}

- **ours**: the step of `rotogbml train` on tasks that are handed in, its allocator setting on, no ω, γ or ISI.
- **ours, 2 processes × 1 thread**: two such processes that take half of the tasks each; their time is the later one's.
  Their gradients are not summed here: 0.1 million numbers, well below a thousandth of the step.
- **ours, bf16**: the same with `--encoder.precision bf16-mixed`, convolutions in bfloat16; it has no float64 to be held
  against the plain loop's.
- **plain loop**: stock `F.conv2d`, `F.batch_norm`, `F.relu`, `F.max_pool2d` in torch's default layout and
  `torch.autograd.grad`; once with the default allocator, as people have it, and once with our setting.
- **higher**, **torchopt**: their released packages, as their examples use them. **learn2learn's algorithm**: cloned
  modules whose tensors are replaced step by step, written out here, since its package does not install everywhere.

Operations are counted by torch's flop counter on the plain loop, the same for all ways; *% of peak* is of this
machine's own best f32 convolution on as many threads. Memory is the resident peak of a step, all processes together."""


def _work(record: Record, name: str) -> str:
    work = record["works"][name]
    rounds = f"{work['rounds']} round{'s' * (work['rounds'] > 1)}"
    return f"""### {name}

{work["said"]}: {1e-9 * work["flops"]:.1f} GF a step, {rounds}.

{tables.work_table(record, name)}"""


def _roofline(record: Record) -> str:
    roof = record["roofline"]
    rows, peak = roof["rows"], roof["peak"]
    gflop = sum(row["gflop"] for row in rows)
    least, took, rest, block = (sum(row[key] for row in rows) for key in ("conv_limit", "conv", "rest_limit", "block"))
    conv1 = [row for row in rows if row["layer"] == "conv1"]
    balance = peak["peak"] / peak["memory"]
    below = sorted({row["layer"] for row in rows if row["intensity"] < balance})
    bound = f"below it, and so bound by memory, {'lies' if len(below) == 1 else 'lie'} {' and '.join(below)} alone"
    said = f"""## Roofline of W1

Each block of conv4 as a step runs it: the support's forward pass, first derivative, and what the outer backward sends
through both; the query's forward and first derivative. Milliseconds are of a whole step, {peak["threads"]}
thread{"s" * (peak["threads"] > 1)}. *Least* is max(operations / peak, bytes / bandwidth), every map counted once;
*convolution* is the library's own kernel alone, *block* is ours with it. (`python -m benchmarks.roofline`)

{tables.roofline_table(record)}

The peak of {peak["peak"]:.0f} GF/s and {peak["memory"]:.0f} GB/s of memory balance at {balance:.0f} operations a byte:
{bound if below else "no convolution lies below it"}. Norm, pooling and ReLU have a few operations a byte and are
bound by memory everywhere.

| up to here | s a step | % of peak |
|---|---:|---:|"""
    steps = [
        ("all operations at the peak", gflop / peak["peak"]),
        ("convolutions at their roofline", least),
        ("… and the rest of each block at its own", least + rest),
        ("convolutions as the library runs them", took),
        ("blocks as ours runs them", block),
    ]
    ours = record.get("works", {}).get("W1", {}).get("rows", {}).get(OURS)
    if ours:
        steps.append(("the whole step, ours", ours["seconds"]))
    lines = [f"| {name} | {s:.2f} | {100 * gflop / peak['peak'] / s:.0f} |" for name, s in steps]
    share = sum(row["block"] for row in conv1) / block
    operations = sum(row["gflop"] for row in conv1) / gflop
    if block < took or (ours and ours["seconds"] < block):
        # A part that took longer than the whole says nothing of what is left.
        return "\n".join([said, *lines, "", _UNTRUE])
    tail = f"""What remains: the library's convolutions stay {took - least:.2f} s above their roofline; our blocks, with
norm, pooling and ReLU, take {block - took:+.2f} s beside those alone, where {rest:.2f} s would be the least; conv1 is
{100 * share:.0f} % of the blocks' time for {100 * operations:.0f} % of the operations."""
    if ours:
        tail += f""" Heads, inner updates, Adam and Python take {ours["seconds"] - block:.2f} s more."""
        plain = record["works"]["W1"]["rows"].get(PLAIN)
        if plain:
            most, now = plain["ratio"] * ours["seconds"] / took, plain["ratio"]
            tail += f"""
Were all but the library's convolutions free, the step would be {most:.1f} times as fast as the plain loop; it is
{now:.1f} times."""
    return "\n".join([said, *lines, "", tail])


_UNTRUE = """\
Not to be read as it stands: one by one, parts took longer than the whole step that holds them, so something else must
have been on the machine while they were timed, and what remains beside them cannot be told. A phase is the difference
of two readings: one that was disturbed is too much in its own row and too little in the next (a time below 0), and
only the sum over the phases of a layer's support, or query, is a reading of its own."""


def _disturbed(runs: Record) -> str:
    """Return what is to be said where the run that does least took longest."""
    plain, *others = (sum(run["seconds"].values()) for run in runs.values())
    if plain <= min(others, default=plain):
        return ""
    return """

The plain run does less than the others and took longer, so something else was on the machine: neither its seconds nor
its shares are to be held against theirs."""


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write docs/speed.md")
    made = page(*load())
    if parser.parse_args().write:
        PAGE.write_text(made, encoding="utf-8")
    else:
        print(made, end="")


if __name__ == "__main__":
    main()
