"""The page for people with photos of their own: its commands and its script do what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rotogbml.cli import main
from rotogbml.evaluation.methods import load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "photos.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the documentation lies beside a checkout only")

ASKED = {"elm": 3, "oak": 4}
"""Photos of each class that nobody labelled."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with five photos a class that are known, and seven that are not."""
    rng = np.random.default_rng(0)
    for label, asked in ASKED.items():
        pattern = rng.integers(40, 216, (3, 3, 3)).repeat(8, axis=0).repeat(8, axis=1)
        known = [tmp_path / "new" / "labelled" / label / f"{i}.png" for i in range(5)]
        for path in [*known, *(tmp_path / "new" / "asked" / "all" / f"{label}-{i}.png" for i in range(asked))]:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pattern + rng.integers(-30, 30, pattern.shape)).astype(np.uint8)).save(path)
    return tmp_path / "new"


@pytest.mark.parametrize("method", [None, "protonet"])
def test_new_photos_get_their_class(
    method: str | None,
    photos: Path,
    tiny: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    monkeypatch.chdir(photos.parent)
    options = [*tiny, "--learner.test_steps", "10", "--steps", "2"]
    if method is not None:  # it has no inner loop
        pairs = zip(tiny[::2], tiny[1::2], strict=True)
        options = [word for pair in pairs if not pair[0].startswith("--learner") for word in pair]
        # Without one the features alone must tell the classes apart, and those of four filters do not.
        options += ["--method", method, "--encoder.width", "16", "--steps", "60"]
    assert main(["train", *options, "--out", "runs/few"]) == 0
    packing = re.search(r"^rotogbml (data pack new .*)$", text, re.M)
    assert packing is not None
    assert main([*shlex.split(packing[1].replace("84", "16"), comments=True), "--workers", "1"]) == 0
    script = re.search(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert script is not None
    capsys.readouterr()
    load.cache_clear()  # the script is a process of its own: no run of another test's may stand in for this one
    exec(compile(script[1], str(PAGE), "exec"), {})
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert len(said) == sum(ASKED.values())
    for file, label, probability in said:
        assert Path(file).stem.split("-")[0] == label
        assert 0.5 <= float(probability) <= 1
