"""The runs behind Figures 2 and 8, trained where they are not there yet: one command draws each figure from nothing.

They have the demo's settings (``demonstration.py``) and fewer steps, and the paper's mix: each task of a step is of
another source, so that any two of them meet. A run that was cut off goes on; one that is whole is taken as it is.
"""

from __future__ import annotations

from pathlib import Path

import rotogbml
from rotogbml.cli import main
from rotogbml.demonstration import RECIPE

RUNS = Path("runs/figures")
"""Where they are kept."""
SCRIPTS = ("arabic", "cyrillic", "greek", "hebrew", "latin", "math-operators")
"""Of Figure 2: six drawn sources that are unlike."""
CORNERS = ("arabic", "greek", "math-operators")
"""Of its triangle."""
TARGETS = ("lao", "tifinagh")
"""Of Figure 8: held-out scripts."""
STEPS = {"conflict": 300, "plain": 400, "isi": 400}


def conflict_run() -> Path:
    """Return a run with ω and γ by default on six drawn sources."""
    pack = rotogbml.glyphs(RUNS / "six", scripts=SCRIPTS)
    return _trained("conflict", pack, "--isi", "off", "--outer.log_every", "10")


def isi_runs() -> tuple[Path, Path]:
    """Return two runs on the drawn sources, without ω and γ: without ISI and with."""
    plain = _trained("plain", "glyphs", "--homogenizer", "none", "--isi", "off")
    return plain, _trained("isi", "glyphs", "--homogenizer", "none")


def _trained(name: str, sources: str | Path, *options: str) -> Path:
    out = RUNS / name
    more = ["--episodes.mix", "one-source-per-task", "--steps", str(STEPS[name]), "--out", str(out)]
    code = main(["train", *RECIPE, "--sources", str(sources), *options, *more])  # the last word on sources counts
    if code:
        raise SystemExit(code)  # what is wrong was said
    return out
