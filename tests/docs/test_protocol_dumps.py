"""The page of protocol dumps is what the command prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs.protocol_dumps import SHOWN, page

from rotogbml.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    written = (DOCS / "protocol-dumps.md").read_text(encoding="utf-8")
    assert written == page(), "python docs/protocol_dumps.py > docs/protocol-dumps.md"
    for name, target in SHOWN:
        assert main(["protocol", "show", name, "--target", target]) == 0
        assert f"```text\n{capsys.readouterr().out}```\n" in written
