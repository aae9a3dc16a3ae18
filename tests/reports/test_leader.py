"""Leader and follower in the report: rates, turning points, rises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from rotogbml.reports.leader import largest_rise, sentences, turns
from rotogbml.reports.record import read_run

from .conftest import make_run


def test_numbers_without_order_turn_as_often_as_expected() -> None:
    rng = np.random.default_rng(0)
    seen = [turns(rng.standard_normal(60).tolist()) for _ in range(2000)]
    found = np.array([one.found for one in seen if one is not None])
    assert found.mean() == pytest.approx(2 * 58 / 3, abs=0.25)
    assert 1.96 * found.std() == pytest.approx(seen[0].half if seen[0] else 0, rel=0.06)


def test_a_swing_turns_more_often_and_a_trend_less() -> None:
    swing, trend = turns([(-1.0) ** i for i in range(30)]), turns([1 / (1 + i) for i in range(30)])
    assert swing is not None
    assert (swing.found, swing.of, swing.swings) == (28, 28, True)
    assert trend is not None
    assert (trend.found, trend.swings) == (0, False)
    assert turns([1.0] * 9) is None


def test_a_slow_swing_is_a_rise_of_the_smoothed_loss() -> None:
    assert largest_rise([2.0 - 0.01 * i for i in range(50)]) == 0.0
    assert largest_rise(np.cos(np.linspace(0, 2 * np.pi, 101)).tolist()) == pytest.approx(2, abs=0.02)


def test_the_rates_are_those_of_the_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=600)
    said = " ".join(sentences(read_run(str(folder))))
    rate = 5e-4 * 0.9999**600
    assert "The network’s rate was 0.001 at first and 0.001 at the end; ω’s 0.01 throughout" in said
    assert f"γ’s 0.0005 and {rate:.3g} rad a step" in said
    assert "ω’s does not, γ’s does." in said
    assert "The training loss turned at" in said
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["outer"]["schedule"] = "linear"
    config["homogenizer"]["reweight"]["update"] = "closed-form"
    config["homogenizer"]["phase"] = [0.0, 0.5]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    said = " ".join(sentences(read_run(str(folder))))
    assert f"at the end; ω had none, it was set at once or held; γ’s 0.0005 and {5e-4 * 0.9999**300:.3g} rad" in said
    assert "against the network’s: γ’s does not." in said


def test_a_plain_run_has_no_leader(tmp_path: Path) -> None:
    said = sentences(read_run(str(make_run(tmp_path / "run", method="maml"))))
    assert len(said) == 1
    assert said[0].startswith("The training loss turned at")


def test_how_far_the_rotations_have_come_is_said(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    record = read_run(str(folder))
    record.train[-1]["gamma"] = {"birds": 0.05, "cars": 0.1}
    assert (
        "turned no feature by more than 5.7° (cars), in the slot of the least by more than 2.9°."
        in sentences(record)[1]
    )
    record.train[-1]["gamma"] = {}
    assert "°" not in " ".join(sentences(record))
