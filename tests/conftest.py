"""Fixtures that every area shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images beside the checkout; skip where it is absent."""
    root = Path(os.environ.get("ROTOGBML_SHARED", ROOT.parent / "shared")) / "data"
    if not root.is_dir():
        pytest.skip(f"no real images at {root}; set ROTOGBML_SHARED to the folder that holds data/")
    return root
