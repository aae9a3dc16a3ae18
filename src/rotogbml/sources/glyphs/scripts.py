"""Which code points belong to which writing system: a small table after the Unicode standard.

Letters are chosen by their *script property* (Unicode, Scripts.txt), never by the first word of their name:
LEFTWARDS or BLACK are no scripts. Signs have the property Common, so each of their blocks (Blocks.txt) counts
as a writing system of its own. Ranges may run over unassigned code points: no font draws those.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

Ranges = tuple[tuple[int, int], ...]


class Script(NamedTuple):
    """A writing system: its Unicode script property (``Zyyy``, Common, for blocks of signs) and its code points."""

    property: str
    ranges: Ranges


TABLE: dict[str, Script] = {
    "arabic": Script(
        "Arab", ((0x0620, 0x063F), (0x0641, 0x064A), (0x066E, 0x066F), (0x0671, 0x06DC), (0x06EE, 0x06FF))
    ),
    "armenian": Script("Armn", ((0x0531, 0x058F),)),
    "arrows": Script("Zyyy", ((0x2190, 0x21FF),)),
    "box-drawing": Script("Zyyy", ((0x2500, 0x257F),)),
    "braille": Script("Brai", ((0x2800, 0x28FF),)),
    "canadian-syllabics": Script("Cans", ((0x1400, 0x167F), (0x18B0, 0x18FF))),
    "cyrillic": Script("Cyrl", ((0x0400, 0x0484), (0x0487, 0x052F), (0xA640, 0xA69F))),
    "dingbats": Script("Zyyy", ((0x2700, 0x27BF),)),
    "dominoes": Script("Zyyy", ((0x1F030, 0x1F09F),)),
    "emoticons": Script("Zyyy", ((0x1F600, 0x1F64F),)),
    "geometric-shapes": Script("Zyyy", ((0x25A0, 0x25FF),)),
    "georgian": Script("Geor", ((0x10A0, 0x10FA), (0x10FC, 0x10FF), (0x2D00, 0x2D2F))),
    "greek": Script("Grek", ((0x0370, 0x0373), (0x0375, 0x037D), (0x0388, 0x03E1), (0x03F0, 0x03FF))),
    "hebrew": Script("Hebr", ((0x0591, 0x05F4), (0xFB1D, 0xFB4F))),
    "lao": Script("Laoo", ((0x0E81, 0x0EDF),)),
    "latin": Script("Latn", ((0x0041, 0x005A), (0x0061, 0x007A), (0x00C0, 0x00D6), (0x00D8, 0x00F6), (0x00F8, 0x02B8))),
    "lisu": Script("Lisu", ((0xA4D0, 0xA4FF),)),
    "math-operators": Script("Zyyy", ((0x2200, 0x22FF),)),
    "math-symbols": Script("Zyyy", ((0x27C0, 0x27EF), (0x2980, 0x29FF))),
    "nko": Script("Nkoo", ((0x07C0, 0x07FF),)),
    "old-italic": Script("Ital", ((0x10300, 0x1032F),)),
    "punctuation": Script("Zyyy", ((0x0021, 0x0040), (0x005B, 0x0060), (0x007B, 0x007E), (0x2010, 0x205E))),
    "supplemental-arrows": Script("Zyyy", ((0x27F0, 0x27FF), (0x2900, 0x297F))),
    "supplemental-math-operators": Script("Zyyy", ((0x2A00, 0x2AFF),)),
    "symbols": Script("Zyyy", ((0x2600, 0x26FF),)),
    "symbols-and-arrows": Script("Zyyy", ((0x2B00, 0x2BFF),)),
    "tai-xuan-jing": Script("Zyyy", ((0x1D300, 0x1D356),)),
    "technical": Script("Zyyy", ((0x2300, 0x23FF),)),
    "tifinagh": Script("Tfng", ((0x2D30, 0x2D7F),)),
    "yijing": Script("Zyyy", ((0x4DC0, 0x4DFF),)),
}

SCRIPTS: tuple[str, ...] = tuple(sorted(TABLE))
"""Names of all sources of ``glyphs``."""

HOLDOUT: tuple[str, ...] = ("armenian", "dominoes", "georgian", "lao", "nko", "tifinagh")
"""Whole scripts kept from training by default; episodes of the test are drawn from all their classes."""


def characters(script: str) -> list[str]:
    """Return the script's letters, digits and signs in code point order, whether or not a font draws them.

    Left out: combining marks, spaces and controls, modifier letters (small copies of letters), and every
    character that decomposes (a letter with an accent, a presentation form) since its parts are there already.
    """
    found = []
    for first, last in TABLE[script].ranges:
        for code in range(first, last + 1):
            category = unicodedata.category(chr(code))
            if category[0] in "LNPS" and category not in ("Lm", "Sk") and not unicodedata.decomposition(chr(code)):
                found.append(chr(code))
    return found
