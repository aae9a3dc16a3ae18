"""docs/presets.md is the table of presets.py, word for word."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation lies beside a checkout only")
def test_the_page_holds_the_table_of_the_code() -> None:
    made = runpy.run_path(str(DOCS / "presets_table.py"))
    page = (DOCS / "presets.md").read_text(encoding="utf-8")
    assert made["table"]() in page
    assert made["learners_table"]() in page


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation lies beside a checkout only")
def test_the_methods_page_holds_the_table_of_the_code() -> None:
    made = runpy.run_path(str(DOCS / "presets_table.py"))
    assert made["methods_table"]() in (DOCS / "methods.md").read_text(encoding="utf-8")
