"""What every test of the command line needs."""

from __future__ import annotations

import pytest

from rotogbml.cli import main

TRAIN = ["train", "--sources", "pack", "--out", "run"]


def said_of(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("rotogbml: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    return captured.err
