"""Sources made unequal on purpose."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rotogbml.cli import main
from rotogbml.episodes import EpisodeSampler
from rotogbml.episodes.unequal import frequencies, misled
from rotogbml.errors import UsageError
from rotogbml.sources.packed import open_pack
from rotogbml.training.run import RunFolder


def sampler(pack: Path, **more: Any) -> EpisodeSampler:
    sources = [source for name, source in open_pack(pack).items() if name != "hidden"]
    return EpisodeSampler(sources, 4, 1, 8, 3, seed=3, **more)


def test_a_share_of_labels_is_wrong_and_evenly_so() -> None:
    labels = np.arange(40_000) % 4
    found = misled(labels, 4, 0.3, np.random.default_rng(0))
    assert (found != labels).mean() == pytest.approx(0.3, abs=0.01)
    steps = Counter(((found - labels) % 4)[found != labels].tolist())
    assert all(steps[shift] / 12_000 == pytest.approx(1 / 3, abs=0.03) for shift in (1, 2, 3))
    assert (misled(labels, 4, 0.0, np.random.default_rng(0)) == labels).all()
    assert (misled(labels, 4, 1.0, np.random.default_rng(0)) != labels).all()


def test_noise_is_of_its_source_alone_and_images_stay(pack: Path) -> None:
    clean, noisy = sampler(pack), sampler(pack, label_noise={"beta": 1.0})
    for step in range(6):
        for a, b in zip(clean.batch(step), noisy.batch(step), strict=True):
            assert a.source == b.source
            torch.testing.assert_close(a.support.x, b.support.x, rtol=0, atol=0)
            torch.testing.assert_close(a.query.x, b.query.x, rtol=0, atol=0)
            wrong = (a.query.y != b.query.y).float().mean().item()
            assert wrong == (1.0 if a.source == "beta" else 0.0)


def test_a_source_of_weight_is_drawn_more_often(pack: Path) -> None:
    assert frequencies(["a", "b", "c"], {"b": 2}).tolist() == [0.25, 0.5, 0.25]
    drawn = sampler(pack, mix="uniform", weights={"beta": 20.0})
    count = Counter(episode.source for step in range(200) for episode in drawn.batch(step))
    assert count["beta"] / 600 == pytest.approx(20 / 22, abs=0.04)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"label_noise": {"bet": 0.5}}, r"episodes.label_noise names 'bet' \(did you mean 'beta'\?\)"),
        ({"label_noise": {"beta": 1.5}}, "episodes.label_noise of 'beta' is 1.5: give a share, 0 to 1"),
        ({"weights": {"beta": 0.0}, "mix": "uniform"}, "episodes.weights of 'beta' is 0.0: give a number above 0"),
        ({"weights": {"beta": 2.0}}, "needs --episodes.mix uniform, here it is one-source-per-task"),
    ],
)
def test_what_cannot_be_is_said(pack: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sampler(pack, **more)


def test_from_the_command_line(tiny: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    more = ["--episodes.label_noise", '{"beta": 0.5}', "--homogenizer.phase", "[0.5, 1.0]", "--steps", "2"]
    assert main(["train", *tiny, *more, "--out", str(out)]) == 0
    config = RunFolder(out).read_config()
    assert config.episodes.label_noise == {"beta": 0.5}
    assert config.homogenizer is not None
    assert config.homogenizer.phase == (0.5, 1.0)
    assert (
        main(["train", "--config", str(out / "config.yaml"), "--out", str(tmp_path / "again"), "--threads", "1"]) == 0
    )
