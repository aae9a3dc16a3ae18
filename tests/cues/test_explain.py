"""SmoothGrad against four lines of our own, and the page."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import rotogbml
from rotogbml.cli import main
from rotogbml.cues.explain import Share, _overall
from rotogbml.cues.saliency import scores_of, share_inside, smooth_grad, strength
from rotogbml.errors import UsageError
from rotogbml.evaluation import work
from rotogbml.evaluation.methods import Spec, load
from rotogbml.seeds import derive
from rotogbml.sources.packed import open_pack

pytest.importorskip("captum")


def by_hand(score, x: Tensor, label: int, samples: int, sigma: float, seed: int) -> Tensor:
    """Return eq. 14 as it is written."""
    torch.manual_seed(derive(seed, "smoothgrad"))
    σ = torch.tensor(sigma).repeat(x.shape)  # drawn as captum draws
    noisy = [(x + torch.normal(0, σ))[None].requires_grad_() for _ in range(samples)]
    gradients = [torch.autograd.grad(score(one)[0, label], one)[0][0] for one in noisy]
    return torch.stack(gradients).mean(0)


def score(x: Tensor) -> Tensor:
    """Return something whose gradient changes from place to place: [b, 3, h, w] → [b, 2]."""
    flat = x.flatten(1)
    return torch.stack([(flat**3).sum(1), torch.sin(3 * flat).sum(1)], dim=1)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("label", [0, 1])
def test_captums_smooth_grad_is_equation_14(sigma: float, label: int) -> None:
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = torch.get_rng_state()
    found = smooth_grad(score, x, label, 7, sigma, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(found, by_hand(score, x, label, 7, sigma, seed=2))
    if sigma == 0:
        torch.testing.assert_close(found, 3 * x**2 if label == 0 else 3 * torch.cos(3 * x))


def test_the_scores_that_are_explained_are_those_that_are_tested(runs: dict[str, str], drawn: Path) -> None:
    test = work.Test(open_pack(drawn)["lao"], "all", 2, 1, 3, 0)
    method = load(Spec("run", runs["isi"]), 16)
    episode = test.episode(0)
    of = scores_of(method, episode)
    expected = method.scores(episode)
    for i in range(len(expected)):
        torch.testing.assert_close(of(i)(episode.query.x[i : i + 1])[0], expected[i])


def test_shares_are_of_the_whole_map() -> None:
    strong = strength(torch.tensor([[[1.0, -3.0]], [[0.0, 0.0]], [[-1.0, 1.0]]]))
    assert strong.tolist() == [[2, 4]]
    assert share_inside(strong, np.array([[True, False]])) == pytest.approx(1 / 3)
    assert np.isnan(share_inside(0 * strong, np.array([[True, False]])))


def test_the_page_stands_alone_and_says_its_number(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    few = ["--shown", "3", "--images", "5", "--samples", "2", "--out", str(page)]
    assert main(["explain", runs["plain"], runs["isi"], "--target", "lao", *few]) == 0
    said = capsys.readouterr().out
    text = page.read_text()
    assert text.count("<img ") == 3 * 3
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    for number in json.loads(page.with_suffix(".json").read_text())["shares"]:
        assert f"{100 * number['on_ink']:.1f} ± {100 * number['ci95']:.1f} %" in text
        assert 0 < number["on_ink"] < 1
        assert number["images"] == 5
    assert "to the first run" in said
    first = text
    assert main(["explain", runs["plain"], runs["isi"], "--target", "lao", *few]) == 0
    assert page.read_text() == first


def test_several_targets_have_a_mean() -> None:
    shares = [
        Share("a", "lao", 0.4, 0.03, 0.3, 10),
        Share("b", "lao", 0.5, 0.03, 0.3, 10, 0.1, 0.06),
        Share("a", "nko", 0.6, 0.04, 0.2, 10),
        Share("b", "nko", 0.8, 0.04, 0.2, 10, 0.2, 0.08),
    ]
    first, second = _overall(shares, ["a", "b"])
    assert (first.target, first.images, first.gain) == ("mean of 2", 20, None)
    assert first.on_ink == pytest.approx(0.5)
    assert first.ci95 == pytest.approx(0.025)
    assert (second.gain, second.gain_ci95) == (pytest.approx(0.15), pytest.approx(0.05))
    assert _overall(shares[:2], ["a", "b"]) == []


def test_photos_get_maps_but_no_number(runs: dict[str, str], tmp_path: Path) -> None:
    found = rotogbml.explain([runs["photos"]], shown=2, images=2, samples=2, out=str(tmp_path / "page.html"))
    assert found.shares == []
    assert "nobody here knows where the object is" in Path(found.page).read_text()


def test_without_captum_the_install_line_is_said(runs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(UsageError, match=r"pip install 'rotogbml\[explain\]'"):
        rotogbml.explain([runs["plain"]])
