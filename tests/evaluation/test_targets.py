"""Which sources may be tested, and on which of their classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rotogbml
from rotogbml.cli import main
from rotogbml.config import EncoderConfig, EpisodeConfig
from rotogbml.errors import UsageError
from rotogbml.evaluation.methods import PIXELS
from rotogbml.evaluation.results import Results

Evaluate = Callable[..., Results]


def by_method(results: Results) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in results.rows.values()}


def test_a_training_source_is_tested_on_its_test_classes_alone(runs: dict[str, str], evaluate: Evaluate) -> None:
    row = by_method(evaluate(runs["roto"], target=["alpha"]))["maml + RotoGBML"]
    assert (row["split"], row["classes"]) == ("test", 2)


@pytest.fixture
def whole(write_pack: Callable[..., Path], tiny: list[str], tmp_path: Path) -> tuple[Path, Path]:
    """Return a pack whose sources are not split, and a run that was trained on all of ``one`` and ``two``."""
    root = write_pack(tmp_path / "whole", ["one", "two", "three"], splits={"all": range(10)})
    given = ["--sources", str(root), "--holdout", "three", "--steps", "1", "--out", str(tmp_path / "run")]
    assert main(["train", *tiny, *given]) == 0
    return root, tmp_path / "run"


def test_a_source_that_was_trained_on_whole_is_no_target(whole: tuple[Path, Path], evaluate: Evaluate) -> None:
    _, run = whole
    with pytest.raises(
        UsageError, match=r"'one' has no test classes and .*run was trained on it: train with --holdout one"
    ):
        evaluate(str(run), target=["one"])
    assert by_method(evaluate(str(run)))[PIXELS]["target"] == "three"


def test_a_second_run_that_saw_the_target_spoils_the_comparison(
    whole: tuple[Path, Path], runs: dict[str, str], evaluate: Evaluate
) -> None:
    root, run = whole
    with pytest.raises(UsageError, match=r"'two' has no test classes and .*run was trained on it"):
        evaluate(runs["roto"], str(run), sources=[str(root)], target=["two"])


def test_a_source_that_was_not_there_in_training_is_a_target_as_a_whole(
    runs: dict[str, str], write_pack: Callable[..., Path], evaluate: Evaluate, tmp_path: Path
) -> None:
    other = write_pack(tmp_path / "other", ["new"], splits={"all": range(10)})
    row = by_method(evaluate(runs["roto"], sources=[str(other)], target=["new"]))["maml + RotoGBML"]
    assert (row["target"], row["split"]) == ("new", "all")


def test_a_source_of_a_known_name_and_other_images_is_refused(
    runs: dict[str, str], write_pack: Callable[..., Path], evaluate: Evaluate, tmp_path: Path
) -> None:
    other = write_pack(tmp_path / "other", ["alpha"], images=(13,) * 10)
    with pytest.raises(UsageError) as error:
        evaluate(runs["roto"], sources=[str(other)], target=["alpha"])
    assert f"was trained on 'alpha' with other images, classes or splits than {other}/alpha has" in str(error.value)
    assert "give the pack it was trained on with --sources" in str(error.value)


def renamed(source: Path, name: str, **changes: Any) -> Path:
    """Return a copy of a packed source under another name, with changes in its description."""
    shutil.copytree(source, source.parent / name)
    head = source.parent / name / "source.json"
    head.write_text(json.dumps({**json.loads(head.read_text()), "name": name, **changes}))
    return source.parent / name


def test_a_source_is_known_by_its_pixels_under_any_name(
    whole: tuple[Path, Path], tiny: list[str], write_pack: Callable[..., Path], evaluate: Evaluate, tmp_path: Path
) -> None:
    root, run = whole
    again = renamed(root / "one", "another")
    with pytest.raises(UsageError, match=r"'another' has no test classes and .*run was trained on it"):
        evaluate(str(run), sources=[str(again)], target=["another"])
    with pytest.raises(UsageError, match=r"was trained on classes of 'another': --split all would test"):
        evaluate(str(run), sources=[str(again)], target=["another"], split="all")
    split = {"train": [f"class{c:02}" for c in range(6)], "test": [f"class{c:02}" for c in range(6, 10)]}
    resplit = renamed(root / "one", "resplit", splits=split)
    with pytest.raises(UsageError, match=r"was trained on 'one' with other images, classes or splits than .*resplit"):
        evaluate(str(run), sources=[str(resplit)], target=["resplit"])


def test_test_classes_are_honest_under_another_name(
    runs: dict[str, str], pack: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    shutil.copytree(pack / "alpha", tmp_path / "alpha")
    again = renamed(tmp_path / "alpha", "alpha2")
    assert by_method(evaluate(runs["roto"], sources=[str(again)], target=["alpha2"]))[PIXELS]["split"] == "test"


def test_a_run_without_its_record_was_trained_on_what_its_sources_are(
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path
) -> None:
    shutil.copytree(runs["roto"], tmp_path / "run")
    (tmp_path / "run/run.json").unlink()
    row = by_method(evaluate(str(tmp_path / "run")))["maml + RotoGBML"]
    assert row["sources"] == ["alpha", "beta", "gamma"]
    with pytest.raises(UsageError, match="was trained on classes of 'beta'"):
        evaluate(str(tmp_path / "run"), target=["beta"], split="all")


def test_images_of_another_size_are_refused(
    runs: dict[str, str], write_pack: Callable[..., Path], evaluate: Evaluate, tmp_path: Path
) -> None:
    """17 px give as many features as 16: the weights alone would not tell."""
    other = write_pack(tmp_path / "other", ["new"], splits={"all": range(10)}, size=17)
    with pytest.raises(
        UsageError, match=r"trained on images of 16 px, the target has 17 px: pack the target with --size 16"
    ):
        evaluate(runs["roto"], sources=[str(other)], target=["new"])


def test_a_run_that_held_nothing_out_needs_a_target(pack: Path, evaluate: Evaluate, tmp_path: Path) -> None:
    tiny = {"n_way": 2, "n_query": 3, "tasks_per_batch": 2}
    rotogbml.train(
        [str(pack / "alpha"), str(pack / "beta")],
        str(tmp_path / "run"),
        steps=1,
        threads=1,
        episodes=EpisodeConfig(**tiny),
        encoder=EncoderConfig(width=4),
    )
    with pytest.raises(UsageError, match=r"held no source out: name one with --target"):
        evaluate(str(tmp_path / "run"))
