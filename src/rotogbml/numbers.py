"""Numbers as they are written: for JSON, which knows no NaN, and with the true minus for people."""

from __future__ import annotations

import math
from typing import Any


def defined(tree: Any) -> Any:
    """Return a number, or a tree of dicts and sequences, for JSON: null in place of what is no finite number."""
    if isinstance(tree, dict):
        return {name: defined(inner) for name, inner in tree.items()}
    if isinstance(tree, list | tuple):
        return [defined(inner) for inner in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def decimal(value: float, digits: int) -> str:
    """Return a number with so many digits behind the point, a negative one by the true minus."""
    return f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int) -> str:
    """Return a number with its sign, by the true minus; what rounds to zero has none."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if text.strip("+−0.") else text[1:]
