"""Print the table of photos in docs/shape.md: ``python docs/shape_table.py [--add SHAPE_JSON SEED …]``.

``rotogbml shape ISI PLAIN DROPOUT --out DIR`` writes a ``shape.json`` for each held-out source and seed; ``--add``
takes one up into ``docs/study/shape-photos.jsonl``, of which the table is made. Intervals are over episodes; sources
and seeds are fixed.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

KEPT = Path(__file__).resolve().parent / "study" / "shape-photos.jsonl"
COLUMNS = ("ISI", "plain", "plain dropout", "ISI − plain", "ISI − plain dropout")


def taken_up(path: Path, seed: int) -> dict[str, Any]:
    """Return what is kept of a ``shape.json``: each measure's values of the three runs, and the two differences."""
    found = json.loads(path.read_text(encoding="utf-8"))
    (target,) = found["targets"]
    if len(found["runs"]) != 3:
        raise SystemExit(f"{path} has {len(found['runs'])} runs: give ISI, plain and plain dropout, in this order")
    measures = {
        line["measure"]: [
            [round(x, 6) for x in pair] for part in ("values", "differences") for pair in line[part].values()
        ]
        for line in found["lines"]
    }
    return {"target": target, "seed": seed, "episodes": found["episodes"], "measures": measures}


def table(lines: Iterable[dict[str, Any]]) -> str:
    """Return the Markdown table: means over targets and seeds, each counting alike."""
    lines = list(lines)
    out = ["| measure | " + " | ".join(COLUMNS) + " |", "|---" * 6 + "|"]
    for measure in lines[0]["measures"]:
        cells = []
        for column in range(len(COLUMNS)):
            pairs = [line["measures"][measure][column] for line in lines]
            mean = 100 * sum(m for m, _ in pairs) / len(pairs)
            half = 100 * math.sqrt(sum(h * h for _, h in pairs)) / len(pairs)
            cells.append((f"{mean:.1f}" if column < 3 else f"{mean:+.1f}".replace("-", "−")) + f" ± {half:.1f}")
        out.append(f"| {measure} | " + " | ".join(cells) + " |")
    return "\n".join(out)


def read() -> list[dict[str, Any]]:
    """Return what is kept."""
    return [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--add", nargs=2, action="append", default=[], metavar=("SHAPE_JSON", "SEED"))
    for path, seed in parser.parse_args().add:
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(json.dumps(taken_up(Path(path), int(seed))) + "\n")
    print(table(read()))
