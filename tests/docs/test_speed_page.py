"""docs/speed.md is what its generator makes of the numbers beside it, word for word."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation lies beside a checkout only")


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "speed_page.py"))


def test_the_page_is_made_of_the_numbers(made: dict[str, Any]) -> None:
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    assert page == made["page"](*made["load"]())


def test_what_was_not_measured_is_left_out(made: dict[str, Any]) -> None:
    page = made["page"]({"conditions": made["load"]()[0]["conditions"]}, {})
    assert "not checked" in page
    assert "| not measured |" in page
    for section in ("## Growth", "## Roofline", "## Where", "### W1"):
        assert section not in page
