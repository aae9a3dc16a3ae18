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

HUES = ("#0561cd", "#d2390c", "#0ba46f", "#bb6fb3")
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
        "font.size": 11.0,
        "axes.linewidth": 0.7,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
    }
    for name in ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"):
        settings[name] = INK
    return matplotlib.rc_context(settings)


def panel(width: float = 4.7, height: float = 3.1) -> tuple[Any, Any]:
    """Return a figure and its axes; 4.7 inches wide, in a column of 370 px its text is 12 px high."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
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
    # Its own <style> would reach the whole page; ids and fonts are the page's business.
    text = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"font-family: [^;\"]*; ", "", text)
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg {box.group() if box else ""} stroke-linejoin="round" aria-hidden="true" focusable="false">'
    text = re.sub(r"<svg[^>]*>", head, text, count=1)
    text = text.replace("xlink:href", "href").replace(INK, "currentColor")
    own = hashlib.sha256(text.encode()).hexdigest()[:6]
    return re.sub(r'(id="|href="#|url\(#)', rf"\g<1>f{own}-", text)
