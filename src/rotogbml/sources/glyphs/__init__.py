"""The embedded data: characters of thirty writing systems, a source each, drawn in a few seconds from nothing.

Source = script, class = character. Images of a class vary in typeface, weight, place, scale, slant and rotation;
each source has a look of its own (paper, ink, texture, noise) that says nothing of the class.
"""

from __future__ import annotations

from rotogbml.sources.glyphs.build import glyphs
from rotogbml.sources.glyphs.scripts import HOLDOUT, SCRIPTS

__all__ = ["HOLDOUT", "SCRIPTS", "glyphs"]
