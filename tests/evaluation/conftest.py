"""Two runs of a few steps, and evaluations that take no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rotogbml
from rotogbml.cli import main
from rotogbml.evaluation.results import Results

Evaluate = Callable[..., Results]


@pytest.fixture(scope="session")
def runs(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a run with RotoGBML and one without, trained for a few steps."""
    root = tmp_path_factory.mktemp("runs")
    for name, more in (("roto", []), ("plain", ["--homogenizer", "none", "--isi", "off"])):
        assert main(["train", *tiny, *more, "--steps", "6", "--out", str(root / name)]) == 0
    return {name: str(root / name) for name in ("roto", "plain")}


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """Return ``rotogbml.evaluate`` with few episodes, in this process, its files under ``tmp_path``."""

    def call(*runs: str, **changes: Any) -> Results:
        given = {"episodes": 8, "workers": 1, "format": "json", "out": str(tmp_path / "evaluation")} | changes
        return rotogbml.evaluate(list(runs), **given)

    return call
