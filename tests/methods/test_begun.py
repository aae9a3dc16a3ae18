"""Runs that begin with weights: what they take up, what must stay as it was, what must not be seen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import rotogbml
from rotogbml.cli import main
from rotogbml.training import checkpoint


def test_what_it_began_with_may_be_gone_when_it_goes_on(train: Callable[..., Path], first: Path) -> None:
    start = first.parent / "moved away"
    shutil.copytree(first, start)
    for name in ("skd-gen1", "mtl"):
        whole = train(name, "--method.start", str(start), steps=3, out=f"{name}-whole")
        halves = train(name, "--method.start", str(start), steps=1, out=f"{name}-halves")
        start.rename(first.parent / "elsewhere")
        train(name, "--method.start", str(start), steps=3, out=f"{name}-halves")
        (first.parent / "elsewhere").rename(start)
        ends = [checkpoint.load(folder / "checkpoints/last.pt") for folder in (whole, halves)]
        theta, statistics = ([checkpoint.digest(end[room]) for end in ends] for room in ("theta", "statistics"))
        assert theta[0] == theta[1]
        assert statistics[0] == statistics[1]


def test_what_a_start_was_trained_on_counts_as_seen(train: Callable[..., Path], first: Path) -> None:
    folder = train("frozen-prototype")
    assert train("frozen-prototype") == folder  # there is nothing to go on with, and that is no error
    row = next(iter(rotogbml.evaluate([str(folder)], episodes=4, workers=1, format="json").rows.values()))
    assert row["method"] == "frozen-prototype (from gen0)"
    assert row["sources"] == ["arrows", "greek"]
    with pytest.raises(rotogbml.UsageError, match="would test what it has seen"):
        rotogbml.evaluate([str(folder)], target=["greek"], split="all", episodes=4, workers=1)
    assert main(["report", str(folder)]) == 0


def test_weights_under_another_norm_are_told_or_refused(
    train: Callable[..., Path],
    options: list[str],
    first: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train("frozen-prototype")
    assert "was trained with norm" not in caplog.text
    train("frozen-prototype", "--encoder.norm", "support", out="support")
    assert "gen0 was trained with norm group, and here norm is support" in caplog.text
    more = ["--method", "frozen-prototype", "--method.start", str(first), "--encoder.norm", "as-published"]
    assert main(["train", *options, *more, "--out", str(tmp_path / "published")]) == 2
    assert "take the --encoder.norm that it was trained with" in capsys.readouterr().err


def test_gen1_begins_with_gen0_alone(
    train: Callable[..., Path], options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = train("protonet")
    command = ["train", *options, "--method", "skd-gen1", "--method.start", str(proto), "--out", str(tmp_path / "x")]
    assert main(command) == 2
    assert "skd-gen1 learns from a run of skd-gen0 on the same sources" in capsys.readouterr().err


def test_other_weights_under_the_same_name_are_refused(
    train: Callable[..., Path], first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that went on would still hold the weights that it began with."""
    weights = tmp_path / "w.pt"
    shutil.copy(first / "checkpoints/best.pt", weights)
    run = train("frozen-prototype", "--method.start", str(weights))
    train("frozen-prototype", "--method.start", str(weights))  # the same go on
    tree = torch.load(weights, weights_only=True)
    tree["theta"] = {name: 2 * t for name, t in tree["theta"].items()}
    torch.save(tree, weights)
    with pytest.raises(AssertionError):
        train("frozen-prototype", "--method.start", str(weights))
    assert f"the weights at {weights} are not those that {run} began with" in capsys.readouterr().err
    weights.unlink()
    assert train("frozen-prototype", "--method.start", str(weights)) == run  # gone is no other
