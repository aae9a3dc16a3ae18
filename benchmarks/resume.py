"""Kill -9 at random moments of a run, go on, compare digests: ``python -m benchmarks.resume [--kills 10]``.

Every run is the same 200 steps of RotoGBML on the embedded data (small network). The digest covers weights, Adam, ω,
γ and every byte of ``metrics.jsonl``.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = [
    *(sys.executable, "-m", "rotogbml", "train", "--sources", "glyphs", "--steps", "200", "--threads", "1"),
    *("--encoder.width", "8", "--learner.first_order", "true", "--learner.inner_steps", "2"),
    *("--episodes.n_query", "3", "--outer.log_every", "20", "--outer.validate_every", "50"),
    *("--outer.validation_episodes", "24", "--outer.checkpoint_seconds", "1"),
]


def finish(out: Path) -> str:
    """Run to the end and return the digest that the command prints."""
    done = subprocess.run([*TRAIN, "--out", str(out)], capture_output=True, text=True, check=True)
    found = re.search(r"digest ([0-9a-f]+)", done.stdout)
    if found is None:
        raise SystemExit(f"no digest in: {done.stdout}")
    return found.group(1)


def kill_after(out: Path, seconds: float) -> bool:
    """Start the run and kill it; return whether it was still running."""
    with subprocess.Popen([*TRAIN, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            return True
    return False


def main() -> None:
    """Print a line for each kill and whether all digests agree."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--kills", type=int, default=10)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        reference = finish(Path(folder) / "reference")
        whole = time.monotonic() - began
        print(f"uninterrupted: {reference} in {whole:.1f} s", flush=True)
        equal = 0
        for i in range(given.kills):
            out = Path(folder) / str(i)
            moment = rng.uniform(0.3, 0.95) * whole
            killed = kill_after(out, moment)
            digest = finish(out)
            equal += digest == reference
            print(f"kill {i}: {'killed' if killed else 'was done'} after {moment:.1f} s, resumed: {digest}", flush=True)
    print(f"{equal} of {given.kills} digests equal the uninterrupted one")
    if equal != given.kills:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
