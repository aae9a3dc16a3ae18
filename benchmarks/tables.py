"""The record of ``benchmarks.speed`` as Markdown tables, for the terminal and for docs/speed.md."""

from __future__ import annotations

from typing import Any

from benchmarks.growth import AXES
from benchmarks.ways import OURS, PLAIN

Record = dict[str, Any]


def work_table(record: Record, name: str) -> str:
    """Return the rows of one work: times as ratios to ours, share of the peak, memory."""
    work = record["works"][name]
    lines = [
        "| way | s a step | × ours | range | processor s | GF/s | % of peak | peak memory MB | of it before a step |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for way, row in work["rows"].items():
        rate = 1e-9 * work["flops"] / row["seconds"]
        peak = record.get("peak", {}).get(str(row["cores"]), {}).get("peak")
        spread = "" if way == OURS else f"{row['ratio_low']:.2f}–{row['ratio_high']:.2f}"
        share = "" if peak is None else f"{100 * rate / peak:.0f}"
        lines.append(
            f"| {way} | {row['seconds']:.3f} | {row['ratio']:.2f} | {spread} | {row['cpu']:.2f} | {rate:.0f} | {share} "
            f"| {row['peak_mb']:,.0f} | {row['base_mb']:,.0f} |"
        )
    lines += [f"| {way} | not measured: {why} | | | | | | | |" for way, why in work["skipped"].items()]
    return "\n".join(lines)


def growth_table(record: Record) -> str:
    """Return the exponents, and the ends of each course."""
    lines = [
        "| grows with | from … to | ours: seconds | exponent | memory | plain loop: seconds | exponent | memory |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for axis, ways in record["growth"].items():
        cells = []
        for way in (OURS, PLAIN):
            seconds = list(ways[way]["seconds"].values())
            exponents = [f"{ways[way][key]:.2f}" for key in ("exponent", "memory_exponent")]
            cells += [f"{seconds[0]:.2f} … {seconds[-1]:.2f}", *exponents]
        points = ", ".join(ways[OURS]["seconds"])
        lines.append(f"| {axis} | {points} | {' | '.join(cells)} |")
    assert set(record["growth"]) <= set(AXES)
    return "\n".join(lines)


def where_table(record: Record) -> str:
    """Return seconds a step by family, run by run."""
    runs = record["where"]
    families = [f for f in next(iter(runs.values()))["seconds"] if f not in ("validation", "saving")]
    lines = ["| family | " + " | ".join(f"{name}: s | %" for name in runs) + " |", "|---|" + "---:|---:|" * len(runs)]
    whole = {name: sum(run["seconds"][f] for f in families) for name, run in runs.items()}
    for family in families:
        values = {name: run["seconds"][family] for name, run in runs.items()}
        if any(values.values()):
            cells = [f"{s:.3f} | {100 * s / whole[name]:.1f}" for name, s in values.items()]
            lines.append(f"| {family} | {' | '.join(cells)} |")
    lines.append("| a step | " + " | ".join(f"{s:.3f} | 100" for s in whole.values()) + " |")
    return "\n".join(lines)


def roofline_table(record: Record) -> str:
    """Return each layer's phases in a step of W1: operations, what bounds them, what they take."""
    lines = [
        "| layer | images | phase | GF | F/byte | convolution: least ms | ms | reached | rest: least ms | block ms |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in record["roofline"]["rows"]:
        least, took = row["conv_limit"], row["conv"]
        lines.append(
            f"| {row['layer']} | {row['images']} | {row['phase']} | {row['gflop']:.1f} | {row['intensity']:.0f} "
            f"| {1e3 * least:.0f} | {1e3 * took:.0f} | {100 * least / took:.0f} % | {1e3 * row['rest_limit']:.1f} "
            f"| {1e3 * row['block']:.0f} |"
        )
    return "\n".join(lines)


def peak_table(record: Record) -> str:
    """Return what the machine can do, by threads."""
    peaks = record["peak"]
    lines = ["| | " + " | ".join(f"{n} thread{'s' * (n != '1')}" for n in peaks) + " |", "|---|" + "---:|" * len(peaks)]
    kinds = next(iter(peaks.values()))["convolutions"]
    for kind in kinds:
        lines.append(f"| {kind}, GF/s | " + " | ".join(f"{p['convolutions'][kind]:.0f}" for p in peaks.values()) + " |")
    for key, said in (
        ("peak", "**peak of f32 convolution**, GF/s"),
        ("product", "product of matrices 2048², GF/s"),
        ("memory", "triad in memory, GB/s"),
        ("cache", "triad of 12 MB, GB/s"),
    ):
        lines.append(f"| {said} | " + " | ".join(f"{p[key]:.0f}" for p in peaks.values()) + " |")
    return "\n".join(lines)
