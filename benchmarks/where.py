"""Where a step of ``rotogbml train`` spends its time, as its ``--profile`` tells: ``python -m benchmarks.where``.

W1 on a pack of five made sources of noise at 84 px, with the default augmentation: once the plain learner, once with
ω, γ and ISI as they are by default.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.worker import ROOT
from rotogbml.sources.writer import side_of, write_source
from rotogbml.training.families import seconds_by_family
from rotogbml.training.profile import STEPS, WARM_UP, autograd_functions

RUNS = {
    "plain": ("--homogenizer", "off", "--isi", "off"),
    "ω + γ": ("--isi", "off"),
    "ω + γ + ISI": (),
}
CLASSES, IMAGES = 6, 20


def write_pack(root: Path, size: int) -> None:
    """Write five sources of noise."""
    rng, side = np.random.default_rng(0), side_of(size, 0.15)
    for name in ("alpha", "beta", "gamma", "delta", "epsilon"):
        classes = [f"class{c}" for c in range(CLASSES)]
        write_source(
            root / name,
            name=name,
            size=size,
            images=rng.integers(0, 256, (CLASSES * IMAGES, side, side, 3), dtype=np.uint8),
            classes=classes,
            offsets=np.arange(0, CLASSES * IMAGES + 1, IMAGES),
            splits={"all": classes},
            split_rule="none",
            inputs=[],
            made={},
        )


def profiled(pack: Path, out: Path, options: Sequence[str], threads: int | None) -> dict[str, Any]:
    """Train a few steps in a process of its own and return its seconds by family and its memory."""
    command = [sys.executable, "-m", "rotogbml", "train", "--sources", str(pack), "--steps", str(WARM_UP + STEPS)]
    command += ["--out", str(out), "--profile", *options, *([] if threads is None else ["--threads", str(threads)])]
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": path}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE)
    trace = json.loads(gzip.decompress((out / "profile/trace.json.gz").read_bytes()))
    told = re.search(r"memory: ([\d,]+) MB between steps, ([\d,]+) MB", (out / "profile/table.md").read_text())
    memory = [float(n.replace(",", "")) for n in told.groups()] if told else []
    return {"seconds": seconds_by_family(trace["traceEvents"], autograd_functions()), "memory_mb": memory}


def where(threads: int | None = None, size: int = 84) -> dict[str, Any]:
    """Return seconds a step by family for each of ``RUNS``."""
    import rotogbml.encoders  # noqa: F401 (its autograd functions are told by name)

    with tempfile.TemporaryDirectory() as folder:
        pack = Path(folder) / "pack"
        write_pack(pack, size)
        return {
            name: profiled(pack, Path(folder) / f"run{i}", options, threads)
            for i, (name, options) in enumerate(RUNS.items())
        }


def main() -> None:
    """Print seconds by family."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int)
    print(json.dumps(where(parser.parse_args().threads), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
