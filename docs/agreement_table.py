"""Print the tables of docs/gradients.md on noise: ``python docs/agreement_table.py [--add GRADIENTS_JSON SEED …]``.

``rotogbml gradients RUN`` writes ``RUN/gradients/CHECKPOINT.json``; ``--add`` takes one up, with its training's seed,
into ``docs/study/agreement.jsonl``, of which the tables are made. Intervals are over tasks; sources and runs are fixed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

KEPT = Path(__file__).resolve().parent / "study" / "agreement.jsonl"
COLUMNS = (
    "held out",
    "step",
    "a task's own share",
    "cosine of two tasks",
    "of two sources",
    "pairs above 0",
    "below 0",
    "toward the held-out one: all alike",
    "best ω in hindsight",
)


def taken_up(path: Path, seed: int) -> dict[str, Any]:
    """Return what is kept of a report: its rooms, rounded, and what names the run."""
    found = json.loads(path.read_text(encoding="utf-8"))
    named = {key: found[key] for key in ("method", "checkpoint", "step", "tasks", "n_query", "training")}
    return {"seed": seed, **named, "rooms": _rounded(found["rooms"])}


def table(lines: Iterable[dict[str, Any]], room: str) -> str:
    """Return the Markdown table of one room, a row a run."""
    out = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for line in lines:
        found = line["rooms"][room]
        shares = [100 * found["sources"][name]["signal"][0] for name in line["training"]]
        cosines = [pair["cosine"] for pair in found["pairs"] if None not in pair["cosine"]]
        above = sum(value > half for value, half in cosines)
        below = sum(value < -half for value, half in cosines)
        (target, toward), *_ = found["targets"].items()
        row = [
            target,
            str(line["step"]),
            f"{sorted(shares)[len(shares) // 2]:.1f} % ({min(shares):.1f} to {max(shares):.1f})",
            _signed(found["single"], 3),
            _pair(found["agreement"]),
            f"{above} of {len(found['pairs'])}",
            str(below),
            _pair(toward["even"]),
            _pair(toward["best"]),
        ]
        out.append("| " + " | ".join(row) + " |")
    return "\n".join(out)


def read() -> list[dict[str, Any]]:
    """Return what is kept."""
    return [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()]


def _pair(value: list[float | None]) -> str:
    mean, half = value
    return "–" if mean is None or half is None else f"{_signed(mean, 2)} ± {half:.2f}"


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _rounded(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _rounded(each) for key, each in tree.items()}
    if isinstance(tree, list):
        return [_rounded(each) for each in tree]
    return float(f"{tree:.5g}") if isinstance(tree, float) else tree


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--add", nargs=2, action="append", default=[], metavar=("GRADIENTS_JSON", "SEED"))
    for path, seed in parser.parse_args().add:
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(json.dumps(taken_up(Path(path), int(seed)), ensure_ascii=False) + "\n")
    for room in ("encoder", "features"):
        print(f"{room}\n\n{table(read(), room)}\n")
