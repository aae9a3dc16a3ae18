"""The fonts that matplotlib ships: which draw a character truly, and the drawing of one character."""

from __future__ import annotations

import string
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rotogbml.errors import RotogbmlError

# LastResortHE "covers" every code point with one placeholder a block; STIXNonUni and STIXSiz* hold private
# code points and mere enlargements; so the families are named, not excluded.
UNICODE_FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
)
# Computer Modern keeps TeX's own encodings, which agree with Unicode on the plain letters alone.
LETTER_FACES = ("cmb10", "cmmi10", "cmr10", "cmss10", "cmti10", "cmtt10")
FACES = UNICODE_FACES + LETTER_FACES

_UNASSIGNED = "\U0010ffff"
_ENLARGE = (2, 4, 8)


@lru_cache(maxsize=1)
def font_folder() -> Path:
    """Return the folder of matplotlib's fonts. Raises RotogbmlError where a font is missing there."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for face in FACES:
        if not (folder / f"{face}.ttf").is_file():
            raise RotogbmlError(
                f"glyphs: {folder / f'{face}.ttf'} is missing: matplotlib {matplotlib.__version__} is here without "
                "its own fonts; install matplotlib with pip"
            )
    return folder


@lru_cache(maxsize=64)
def coverage(face: str) -> frozenset[str]:
    """Return the characters in a face's character map (for Computer Modern, the letters A-Z and a-z)."""
    from fontTools.ttLib import TTFont

    if face in LETTER_FACES:
        return frozenset(string.ascii_letters)
    with TTFont(font_folder() / f"{face}.ttf", lazy=True) as font:
        return frozenset(map(chr, font.getBestCmap() or ()))


@lru_cache(maxsize=256)
def _font(face: str, em: int) -> ImageFont.FreeTypeFont:
    # The basic layout does no shaping: the result does not depend on whether a shaping library is installed.
    return ImageFont.truetype(str(font_folder() / f"{face}.ttf"), em, layout_engine=ImageFont.Layout.BASIC)


def _ink(face: str, character: str, em: int) -> Image.Image | None:
    font = _font(face, em)
    left, top, right, bottom = font.getbbox(character)
    width, height = int(right - left) + 4, int(bottom - top) + 4
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).text((2 - left, 2 - top), character, font=font, fill=255)
    box = image.getbbox()
    return image.crop(box) if box else None


@lru_cache(maxsize=64)
def _notdef(face: str, em: int) -> bytes:
    image = _ink(face, _UNASSIGNED, em)
    return image.tobytes() if image else b""


@lru_cache(maxsize=2048)
def draw(face: str, character: str, em: int) -> np.ndarray | None:
    """Draw one character cleanly at about ``em`` pixels and cut it out.

    Returns uint8 [height, width] ink coverage without empty border, or None where the face has no such
    character, draws it blank, or draws the box of an unknown character. Signs much smaller than a letter (a full
    stop) are drawn in a larger size, so that the longer side is never far below ``em`` / 2.
    """
    if character not in coverage(face):
        return None
    image = _ink(face, character, em)
    if image is None or image.tobytes() == _notdef(face, em):
        return None
    for times in _ENLARGE:
        if max(image.size) >= em // 2:
            break
        image = _ink(face, character, em * times) or image
    return np.asarray(image)
