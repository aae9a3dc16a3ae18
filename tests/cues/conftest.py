"""A small pack of drawn scripts, and runs of a few steps on it and on made-up photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from rotogbml.cli import main
from rotogbml.sources.glyphs import glyphs

DRAWN = ("lao", "nko", "tifinagh")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pack of three scripts of 16 px."""
    return glyphs(tmp_path_factory.mktemp("drawn") / "glyphs", size=16, images_per_class=6, scripts=DRAWN, workers=1)


@pytest.fixture(scope="session")
def runs(tiny: list[str], drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a run on drawn scripts with ISI, one without, one with plain dropout, and one on made-up photos."""
    root = tmp_path_factory.mktemp("runs")
    on_drawn = ["--sources", str(drawn), "--holdout", "lao", "--episodes.tasks_per_batch", "2"]
    more = {
        "isi": on_drawn,
        "plain": [*on_drawn, "--isi", "off"],
        "dropout": [*on_drawn, "--isi.T", "inf"],
        "photos": [],
    }
    for name, options in more.items():
        given = ["train", *tiny, *options, "--homogenizer", "none", "--steps", "4", "--out", str(root / name)]
        assert main(given) == 0
    return {name: str(root / name) for name in more}
