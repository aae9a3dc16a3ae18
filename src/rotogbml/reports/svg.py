"""A page's figure as an inline ``<svg>``: palette, style, and the way out of matplotlib.

Axes and text take the page's own colour (``currentColor``); lines take one of four hues that keep a contrast above
3 : 1 on white and on near black and stay apart in the common colour blindnesses, then a dash, so that colour alone
never carries. No global state of matplotlib is left changed, and equal data give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from typing import Any

HUES = ("#0a7bc4", "#d9560a", "#0a9e73", "#c65fa8")
DASHES = ("", "5 2", "1.5 1.8", "7 2 1.5 2")
MUTED = "#808890"
INK = "#010203"  # stands for the page's text colour until the SVG is written


def style() -> Any:
    """Return the context in which a figure is made and written."""
    import matplotlib

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "rotogbml",
        "text.parse_math": False,  # a class may be called $x$
        "font.family": "DejaVu Sans",
        "font.size": 10.5,
        "axes.linewidth": 0.7,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
    }
    for name in ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"):
        settings[name] = INK
    return matplotlib.rc_context(settings)


def panel(height: float = 3.1) -> tuple[Any, Any]:
    """Return a figure 5 inches wide (360 units of its SVG) and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def write(figure: Any) -> str:
    """Return the figure as an ``<svg>`` element that fills its box and shares no id with another figure."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The page's fonts draw the text; that matplotlib's own lacks a glyph does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg {box.group() if box else ""} aria-hidden="true" focusable="false">'
    text = re.sub(r"<svg[^>]*>", head, text, count=1)
    text = text.replace("xlink:href", "href").replace(INK, "currentColor")
    own = hashlib.sha256(text.encode()).hexdigest()[:6]
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>f{own}-", text)
    return re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
