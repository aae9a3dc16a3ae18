from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from rotogbml.reports import svg
from rotogbml.reports.figures import KEPT, POINTS, Series, dots, heat_map, lines, styles, thin


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """Return the contrast ratio of WCAG 2."""
    high, low = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


SIGHT = {  # Machado et al. 2009, severity 1
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("page", ["#ffffff", "#14171c"])
@pytest.mark.parametrize("colour", [*svg.HUES, svg.MUTED])
def test_every_colour_is_legible_on_light_and_dark(colour: str, page: str) -> None:
    assert contrast(colour, page) >= 3


@pytest.mark.parametrize("sight", SIGHT)
def test_hues_stay_apart_for_every_kind_of_sight(sight: str) -> None:
    seen = [lab(np.asarray(SIGHT[sight]) @ linear(hue)) for hue in svg.HUES]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) > 25


def figure() -> str:
    series = [Series("a", [1, 2, 3], [0.1, None, 0.3], band=[0.1, None, 0.1], marks=True)]
    return lines("T", series, "y", level=0.2).svg


def test_svg_is_wellformed_takes_the_pages_colour_and_draws_equal_bytes() -> None:
    text = figure()
    root = ElementTree.fromstring(text)
    assert root.get("viewBox")
    assert root.get("width") is None
    assert "currentColor" in text
    assert svg.INK not in text
    assert not re.search(r"https?:|<script|<metadata|<style|font-family", text)
    assert text == figure()


def test_two_figures_share_no_id() -> None:
    a, b = figure(), lines("T", [Series("a", [1, 2, 3], [0.1, 0.2, 0.4])], "y").svg
    ids = [set(re.findall(r'id="([^"]+)"', text)) for text in (a, b)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for text, own in zip((a, b), ids, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= own


def test_matplotlib_is_left_as_it_was() -> None:
    before = dict(mpl.rcParams)
    figure()
    assert dict(mpl.rcParams) == before


def test_names_are_text_whatever_they_hold() -> None:
    names = ["<b>&", "$\\frac{1}$", "ქართული 漢字"]
    text = heat_map("T", names, np.full((3, 3), 0.5), 1.0).svg
    found = [node.text for node in ElementTree.fromstring(text).iter() if node.tag.endswith("text")]
    assert names[0] in found
    assert names[1] in found
    assert names[2] in found


def test_a_heat_map_says_mean_and_extremes_and_leaves_unknown_pairs_blank() -> None:
    values = np.full((3, 3), np.nan)
    values[1, 0], values[2, 0] = 0.25, -0.75
    plot = heat_map("Encoder", ["a", "b", "c"], values, 0.75)
    assert plot.alt == "Encoder: mean −0.250 over 2 pairs; lowest −0.750 (a, c); highest +0.250 (a, b)"
    assert plot.svg.count(svg.HUES[1]) == 1
    assert plot.svg.count(svg.HUES[0]) == 1
    assert ">−0.75<" in plot.svg
    assert heat_map("E", ["a", "b"], np.full((2, 2), np.nan), 0.0).alt == "E: no pair was measured"


def test_many_sources_keep_the_extremes_in_colour() -> None:
    ends = {f"s{i:02d}": float(i) for i in range(24)}
    chosen = styles(ends)
    coloured = [name for name, style in chosen.items() if not style.muted]
    assert sorted(coloured) == ["s00", "s01", "s02", "s03", "s20", "s21", "s22", "s23"]
    assert len({(chosen[name].colour, chosen[name].dashes) for name in coloured}) == KEPT
    plot = lines("T", [Series(name, [1, 2], [1.0, end], chosen[name]) for name, end in ends.items()], "y")
    assert len(plot.legend) == KEPT
    assert plot.more == "16 more in grey"


def test_thinning_keeps_the_mean_and_the_gaps() -> None:
    steps, values = thin(range(3000), [float(i) for i in range(3000)])
    assert len(steps) == len(values) == POINTS
    assert values.mean() == pytest.approx(2999 / 2)
    assert np.isnan(thin([1, 2], [None, 1.0])[1][0])


def test_results_as_dots_are_said_in_words() -> None:
    plot = dots("5-way 1-shot", {"ours": {"lao": (0.78, 0.01)}, "maml": {"lao": (0.5, None)}})
    assert plot.alt == "5-way 1-shot: ours on lao 78.0 %; maml on lao 50.0 %"
    assert [label for label, _ in plot.legend] == ["ours", "maml"]
    assert len({style.shape for _, style in plot.legend}) == 2
