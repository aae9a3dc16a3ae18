"""Fonts and shapes: no placeholder, no blank, no two classes that look the same."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from rotogbml.errors import RotogbmlError
from rotogbml.sources.glyphs import SCRIPTS, fonts, shapes
from rotogbml.sources.glyphs.fonts import FACES, draw, font_folder


def test_the_placeholder_font_is_not_used() -> None:
    assert not [face for face in FACES if "LastResort" in face]
    assert all((font_folder() / f"{face}.ttf").is_file() for face in FACES)


def test_a_blank_character_is_not_drawn() -> None:
    assert "\u00a0" in fonts.coverage("DejaVuSans")
    assert draw("DejaVuSans", "\u00a0", 96) is None
    assert shapes.distinct(["\u00a0", "a"]).keys() == {"a"}


def test_the_box_of_unknown_characters_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = "\u0e01"  # Thai: none of the fonts has it
    assert draw("DejaVuSans", unknown, 96) is None
    monkeypatch.setattr(fonts, "coverage", lambda face: frozenset([unknown, "a"]))
    draw.cache_clear()
    assert draw("DejaVuSans", unknown, 96) is None
    assert draw("DejaVuSans", "a", 96) is not None
    draw.cache_clear()


def test_computer_modern_draws_letters_only() -> None:
    assert draw("cmmi10", "A", 96) is not None
    assert draw("cmmi10", "1", 96) is None


@pytest.mark.parametrize("character", [".", "'", "a", "W", "\u2801"])
def test_small_signs_are_drawn_large_and_cut_out(character: str) -> None:
    drawing = draw("DejaVuSans", character, 96)
    assert drawing is not None
    assert max(drawing.shape) >= 48
    for edge in (drawing[0], drawing[-1], drawing[:, 0], drawing[:, -1]):
        assert edge.any()


@pytest.mark.parametrize("times", [2, 3])
def test_a_signature_forgets_scale(times: int) -> None:
    for character in "aBgÆ8":
        small, large = draw("DejaVuSerif", character, 96), draw("DejaVuSerif", character, 96 * times)
        assert small is not None
        assert large is not None
        assert shapes.alike(shapes.signature(small)[None], shapes.signature(large)[None])


@pytest.mark.parametrize(
    ("one", "other"), [("o", "O"), ("x", "X"), ("A", "\u0391"), (",", "\u2019"), ("\u2801", "\u2804")]
)
def test_characters_that_differ_in_scale_and_place_only_are_one_class(one: str, other: str) -> None:
    assert list(shapes.distinct([one, other])) == [one]


@pytest.mark.parametrize(("one", "other"), [("O", "Q"), ("\U0001f031", "\U0001f032"), ("\u0628", "\u062a"), ("←", "→")])
def test_characters_of_other_shape_are_two(one: str, other: str) -> None:
    assert list(shapes.distinct([one, other])) == [one, other]


def test_alike_is_the_plain_definition() -> None:
    rng = np.random.default_rng(0)
    base = rng.random((1, 676), dtype=np.float32)
    answers = set()
    for spread in np.linspace(0.2, 0.6, 60):
        a = base + rng.uniform(-spread, spread, (3, 676)).astype(np.float32) / 2
        b = base + rng.uniform(-spread, spread, (4, 676)).astype(np.float32) / 2
        plain = bool((np.abs(a[:, None] - b[None]).max(-1) < shapes.APART).any())
        assert shapes.alike(a, b) == plain
        answers.add(plain)
    assert answers == {True, False}


def test_too_few_classes_are_an_error_that_names_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "MIN_CLASSES", 10_000)
    with pytest.raises(RotogbmlError, match="'lao'"):
        shapes.choose("lao", 0)


def thumbnail(face: str, character: str) -> np.ndarray:
    """Another way to a drawing free of place and scale: 18 x 18, smoothly resized, the aspect kept."""
    font = ImageFont.truetype(str(font_folder() / f"{face}.ttf"), 150, layout_engine=ImageFont.Layout.BASIC)
    image = Image.new("L", (500, 500))
    ImageDraw.Draw(image).text((150, 150), character, font=font, fill=255)
    image = image.crop(image.getbbox())
    side = max(image.size)
    square = Image.new("L", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(square.resize((18, 18), Image.Resampling.LANCZOS), dtype=float).ravel() / 255


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_has_classes_enough_and_no_two_look_the_same(script: str) -> None:
    chosen = shapes.choose(script, seed=0)
    assert shapes.MIN_CLASSES <= len(chosen) <= shapes.MAX_CLASSES
    assert list(chosen) == sorted(chosen)
    assert all(chosen.values())
    for face in {faces[0] for faces in chosen.values()}:
        drawn = np.stack([thumbnail(face, c) for c, faces in chosen.items() if face in faces])
        apart = np.abs(drawn[:, None] - drawn[None]).max(-1)
        np.fill_diagonal(apart, 1)
        assert apart.min() > 0.2
        assert drawn.max(-1).min() > 0.5
