"""``rotogbml demo``: the whole idea on the embedded data, in a few minutes, from one command.

It runs the same verbs a user would, and prints them: train twice from the same seed (with RotoGBML and without),
test both on writing systems that neither has seen, write the report.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from pathlib import Path

from rich.console import Console

from rotogbml.children import cores, environment, python
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.training.progress import clock

# What was chosen and why stands in docs/log.md.
RECIPE = [
    *("--sources", "glyphs"),
    *("--encoder.width", "32"),
    *("--learner.first_order", "true", "--learner.inner_lr", "0.1"),
    *("--learner.inner_steps", "3", "--learner.test_steps", "10"),
    *("--episodes.n_query", "5", "--outer.meta_lr", "0.003"),
    *("--outer.validate_every", "300"),
    *("--threads", "1"),
]
PLAIN = ["--homogenizer", "none", "--isi", "off"]
STEPS = 1200
EPISODES = 100
QUERIES = 15


def demo(out: str = "demo", steps: int = STEPS, episodes: int = EPISODES, seed: int = 0) -> Path:
    """Train on the embedded data with RotoGBML and without, test both on unseen scripts, write the report.

    Args:
        out: Folder for the two runs and the report.
        steps: Meta-training steps of each run.
        episodes: Test episodes for each unseen script.
        seed: Weights, episodes, augmentation and masks of both runs.

    Returns:
        The path of the report.

    Raises:
        UsageError: a number is too small.
        RotogbmlError: one of the two trainings failed; its last words are repeated.
    """
    for name, value, least in (("steps", steps, 1), ("episodes", episodes, 2)):
        if value < least:
            raise UsageError(f"{name} is {value}: give at least {least}, or leave it out")
    began = time.monotonic()
    console = Console(highlight=False, markup=False)
    runs = {"rotogbml": Path(out) / "rotogbml", "plain": Path(out) / "plain"}
    budget = ["--steps", str(steps), "--seed", str(seed)]
    commands = {
        "rotogbml": ["train", *RECIPE, *budget, "--out", str(runs["rotogbml"])],
        "plain": ["train", *RECIPE, *PLAIN, *budget, "--out", str(runs["plain"])],
    }
    _draw(console)
    _train(commands, runs, steps, console)

    from rotogbml.evaluation.verb import evaluate
    from rotogbml.reports.report import report
    from rotogbml.reports.words import outcome

    folders = [str(run) for run in runs.values()]
    _say(console, ["evaluate", *folders, "--episodes", str(episodes), "--n_query", str(QUERIES)])
    results = evaluate(folders, episodes=episodes, n_query=QUERIES)
    for sentence in outcome(list(results.rows.values()), list(results.paired.values())):
        console.print(sentence)
    page = str(Path(out) / "report.html")
    _say(console, ["report", *folders, "--out", page])
    path = report(folders, out=page)
    console.print(f"{clock(time.monotonic() - began)} in all. The report: {path}")
    return path


def _say(console: Console, command: list[str]) -> None:
    """Print a command as one would type it: in one line, so that it can be copied."""
    console.print(f"$ rotogbml {shlex.join(command)}", style="bold", soft_wrap=True)


def _draw(console: Console) -> None:
    """Draw the embedded data once, before two processes want it at the same time."""
    from rotogbml.sources.glyphs import HOLDOUT, SCRIPTS, glyphs

    began = time.monotonic()
    glyphs()
    console.print(
        f"{len(SCRIPTS)} writing systems drawn in {clock(time.monotonic() - began)}; "
        f"{len(HOLDOUT)} are held out: {', '.join(HOLDOUT)}"
    )


def _train(commands: dict[str, list[str]], runs: dict[str, Path], steps: int, console: Console) -> None:
    """Run the trainings side by side, one thread each, and say how they stand."""
    logs = {}
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            _say(console, command)
            runs[name].parent.mkdir(parents=True, exist_ok=True)
            logs[name] = runs[name].parent / f"{name}.log"
            with logs[name].open("wb") as log:
                children[name] = subprocess.Popen(
                    python("-m", "rotogbml", *command),
                    stdout=log,
                    stderr=log,
                    env=environment(OMP_NUM_THREADS="1"),
                )
            if cores() < 2:
                _wait({name: children[name]}, runs, steps, console)
        _wait(children, runs, steps, console)
    finally:
        for child in children.values():
            child.terminate()
            child.wait()
    for name, child in children.items():
        if child.returncode:
            said = logs[name].read_text(errors="replace").strip().splitlines()
            raise RotogbmlError(f"training '{name}' failed ({said[-1] if said else 'no output'}): see {logs[name]}")


def _wait(children: dict[str, subprocess.Popen[bytes]], runs: dict[str, Path], steps: int, console: Console) -> None:
    said = time.monotonic()
    while any(child.poll() is None for child in children.values()):
        time.sleep(0.2)
        if time.monotonic() - said > 15:
            said = time.monotonic()
            console.print("   ".join(_standing(name, runs[name], steps) for name in children))


def _standing(name: str, run: Path, steps: int) -> str:
    """Return where a training stands, from its metrics."""
    try:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    except (OSError, ValueError):  # not there yet, or caught in the middle of a line
        return f"{name}: starting"
    validated = [line for line in lines if line["kind"] == "val"]
    shown = f", validation {validated[-1]['accuracy']:.1%}" if validated else ""
    return f"{name}: step {lines[-1]['step'] if lines else 0}/{steps}{shown}"
