"""Packs whose list of files is damaged: whoever compares images says so in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.cli import main
from rotogbml.errors import UsageError
from rotogbml.sources.overlap import overlap

PAIR = ["a.jpg", "0" * 64]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (None, "inputs that are no list for 24 images"),
        ({}, "inputs that are no list for 24 images"),
        ("a.jpg", "inputs that are no list for 24 images"),
        ([PAIR] * 23, "23 inputs for 24 images"),
        ([PAIR] * 25, "25 inputs for 24 images"),
        ([PAIR, 5, *[PAIR] * 22], "input 1 is 5, not a path and a digest"),
        ([PAIR, None, *[PAIR] * 22], "input 1 is null, not a path"),
        ([*[PAIR] * 23, ["a.jpg"]], 'input 23 is ["a.jpg"], not a path'),
        ([*[PAIR] * 23, ["a.jpg", 5]], 'input 23 is ["a.jpg", 5], not a path'),
        (["ab"] * 24, 'input 0 is "ab", not a path'),
    ],
)
def test_damaged_inputs(
    write_pack: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], inputs: object, said: str
) -> None:
    root = write_pack(tmp_path / "pack", ["one", "two"], images=(12, 12), splits={"all": range(2)})
    file = root / "two" / "source.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"inputs": inputs}))
    assert main(["data", "overlap", str(root)]) == 2
    err = capsys.readouterr().err
    assert f"{file} is damaged ({said}" in err
    assert "pack the source again" in err


def test_without_inputs_images_were_drawn(write_pack: Callable[..., Path], tmp_path: Path) -> None:
    root = write_pack(tmp_path / "pack", ["one", "two"], images=(12, 12), splits={"all": range(2)})
    file = root / "two" / "source.json"
    head = json.loads(file.read_text())
    del head["inputs"]
    file.write_text(json.dumps(head))
    assert overlap([root]).images == {"one": 24, "two": 24}
    file.write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        overlap([root])
