"""The table of ranges against an independent copy of the Unicode data."""

from __future__ import annotations

import itertools
import unicodedata

import pytest
from fontTools import unicodedata as oracle

from rotogbml.sources.glyphs import HOLDOUT, SCRIPTS
from rotogbml.sources.glyphs.fonts import UNICODE_FACES, coverage
from rotogbml.sources.glyphs.scripts import TABLE, characters

ODD = "ᴦᴧᴨᴩᴪᴫ\ufe73"
"""Phonetic small capitals of Greek and Cyrillic, and a fragment of an Arabic letter."""


def drawn(script: str) -> set[str]:
    return set(characters(script)) & frozenset().union(*(coverage(face) for face in UNICODE_FACES))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_character_has_the_script_property_of_its_table(script: str) -> None:
    assert {oracle.script(c) for c in drawn(script)} == {TABLE[script].property}


@pytest.mark.parametrize("script", [s for s in SCRIPTS if TABLE[s].property != "Zyyy" and s != "latin"])
def test_no_letter_of_the_script_that_the_fonts_draw_is_forgotten(script: str) -> None:
    def wanted(c: str) -> bool:
        return unicodedata.category(c) in ("Ll", "Lo", "Lt", "Lu") and not unicodedata.decomposition(c)

    covered = frozenset().union(*(coverage(face) for face in UNICODE_FACES))
    of_script = {c for c in covered if oracle.script(c) == TABLE[script].property and wanted(c)}
    assert of_script - drawn(script) <= set(ODD)


def test_scripts_share_no_character() -> None:
    for a, b in itertools.combinations(SCRIPTS, 2):
        assert not set(characters(a)) & set(characters(b)), (a, b)


def test_combining_marks_and_accented_letters_are_left_out() -> None:
    assert "\u0eb1" not in characters("lao")
    assert "\u0301" not in "".join(characters("greek"))
    assert "é" not in characters("latin")
    assert {"a", "ø", "ß"} <= set(characters("latin"))


def test_names_are_plain_and_the_held_out_are_known() -> None:
    assert len(SCRIPTS) >= 30
    assert all(s.isascii() and s == s.lower() and " " not in s for s in SCRIPTS)
    assert set(HOLDOUT) < set(SCRIPTS)
    assert 6 <= len(HOLDOUT) <= 8
