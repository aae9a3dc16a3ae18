"""Every learner for the same wall-clock time, from the command line: ``python -m benchmarks.learners glyphs|core``.

    glyphs   eight learners on the embedded data, plain, a minute each; six scripts that none has seen
    core     the paper's five learners, plain and with RotoGBML, on a pack of nine real sources (``--pack``), ``cars``
             and ``eurosat`` held out, ten minutes each

Two runs at a time, one thread each; the two of a pair run side by side. Restartable: a finished run is not trained
again, an unfinished one goes on. Prints the table as Markdown and keeps it beside the runs.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FIRST = ["--learner.first_order", "true"]
STEPS = ["--learner.inner_steps", "3", "--learner.test_steps", "10"]

# λ (1 + δ) = 24, as in iMAML's code; fewer steps, for time.
IMAML = [
    *("--learner.inner_lr", "0.1", "--learner.inner_steps", "4", "--learner.lam", "1", "--learner.cg_damping", "23"),
    *("--learner.cg_steps", "2", "--learner.cg_tolerance", "0.1"),
]

GLYPHS: dict[str, list[str]] = {
    "maml": [*FIRST, *STEPS, "--learner.inner_lr", "0.1"],
    "anil": ["--learner.inner_lr", "0.1", "--learner.inner_steps", "5", "--learner.test_steps", "10"],
    "boil": [*FIRST, *STEPS, "--learner.inner_lr", "0.5"],
    "meta-sgd": [*FIRST, *STEPS, "--learner.inner_lr", "0.1"],
    "maml++": ["--learner.inner_lr", "0.1", "--learner.inner_steps", "3"],
    "protomaml": [*FIRST, "--learner.inner_lr", "0.1", "--learner.inner_steps", "3"],
    "reptile": ["--learner.inner_optimizer", "sgd", "--learner.inner_lr", "0.05", "--learner.test_steps", "20"],
    "imaml": [*IMAML],
}
CORE: dict[str, list[str]] = {
    "maml": [*FIRST, *STEPS, "--learner.inner_lr", "0.05"],
    "anil": ["--learner.inner_lr", "0.05", "--learner.inner_steps", "5", "--learner.test_steps", "10"],
    "maml++": ["--learner.inner_lr", "0.05", "--learner.inner_steps", "3"],
    "reptile": ["--learner.inner_optimizer", "sgd", "--learner.inner_lr", "0.05", "--learner.test_steps", "20"],
    "imaml": [*IMAML],
}
PLAIN = ["--homogenizer", "none", "--isi", "off"]


def commands(suite: str, out: Path, pack: str, minutes: float, seed: int) -> dict[str, list[str]]:
    """Return the training command of each cell, by the name of its run folder."""
    shared = ["--minutes", f"{minutes:g}", "--seed", str(seed), "--threads", "1", "--episodes.n_query", "5"]
    cells: dict[str, list[str]] = {}
    for name, options in (GLYPHS if suite == "glyphs" else CORE).items():
        if suite == "glyphs":
            data, lr, width = ["--sources", "glyphs"], "0.003", "32"
            variants = {"plain": PLAIN}
        else:
            data, lr, width = ["--sources", pack, "--holdout", "cars", "eurosat"], "0.001", "64"
            variants = {"rotogbml": [], "plain": PLAIN}
        rate = [] if name == "reptile" else ["--outer.meta_lr", lr]
        for variant, more in variants.items():
            own = [*data, "--learner", name, *options, *rate, "--encoder.width", width, *shared, *more]
            cells[f"{name}/{variant}"] = ["train", *own, "--out", str(out / name / variant)]
    return cells


def run(arguments: list[str], log: Path) -> None:
    """Run ``rotogbml ARGUMENTS``; what it prints goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        done = subprocess.run([sys.executable, "-m", "rotogbml", *arguments], stdout=file, stderr=file, check=False)
    if done.returncode:
        print(f"failed ({done.returncode}): rotogbml {' '.join(arguments)}; see {log}", flush=True)


def evaluated(out: Path, suite: str, episodes: int) -> list[dict[str, Any]]:
    """Evaluate every learner's runs on all targets; return one line for each learner and target."""
    lines: list[dict[str, Any]] = []
    names = GLYPHS if suite == "glyphs" else CORE
    for name in names:
        runs = [out / name / variant for variant in ("rotogbml", "plain")]
        runs = [each for each in runs if (each / "checkpoints" / "best.pt").exists()]
        if not runs:
            continue
        where = out / name / "evaluation"
        chosen = ["--episodes", str(episodes), "--n_query", "15", "--out", str(where)]
        if not (where / "results.json").exists():
            run(["evaluate", *map(str, runs), *chosen], out / name / "evaluation.log")
        tree = json.loads((where / "results.json").read_text(encoding="utf-8"))
        lines += [{**row, "learner": name} for row in tree["rows"]]
        lines += [{**pair, "learner": name, "method": "difference"} for pair in tree["paired"]]
    return lines


def table(lines: list[dict[str, Any]]) -> str:
    """Return the Markdown table: a row for each method and learner, a column for each target, and their mean."""
    targets = [t for t in dict.fromkeys(line["target"] for line in lines) if not t.startswith("mean")]
    said = ["| learner | row | steps | norm | " + " | ".join([*targets, "mean"]) + " |"]
    said.append("|---" * (5 + len(targets)) + "|")
    rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for line in lines:
        rows.setdefault((line["learner"], line["method"]), {})[line["target"]] = line
    for (learner, method), found in rows.items():
        if method == "nearest prototype on pixels" and learner != lines[0]["learner"]:
            continue  # the same for every learner
        difference = method == "difference"
        middles = [found[t]["difference" if difference else "mean"] for t in targets]
        halves = [found[t]["ci95"] for t in targets]
        # Targets are fixed, episodes vary.
        mean = (sum(middles) / len(targets), math.sqrt(sum(h * h for h in halves)) / len(targets))
        sign = "+" if difference else ""
        cells = [f"{100 * m:{sign}.2f} ± {100 * h:.2f}" for m, h in [*zip(middles, halves, strict=True), mean]]
        first = found[targets[0]]
        about = [learner, method, str(first.get("steps", "")), str(first.get("norm", ""))]
        said.append("| " + " | ".join([*about, *cells]) + " |")
    return "\n".join(said)


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("suite", choices=["glyphs", "core"])
    parser.add_argument("--pack", default="core42", help="pack of nine sources at 42 px, for core")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--episodes", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=None, help="these learners alone")
    given = parser.parse_args()
    out = given.out or Path("runs") / f"learners-{given.suite}"
    minutes = given.minutes or (1.0 if given.suite == "glyphs" else 10.0)
    cells = commands(given.suite, out, given.pack, minutes, given.seed)
    if given.only:
        cells = {name: command for name, command in cells.items() if name.split("/")[0] in given.only}
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(run, command, out / f"{name}.log") for name, command in cells.items()]
        for name, future in zip(cells, futures, strict=True):
            future.result()
            print(f"trained {name}", flush=True)
    lines = evaluated(out, given.suite, given.episodes or (100 if given.suite == "glyphs" else 600))
    text = table(lines)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
