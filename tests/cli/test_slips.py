"""What is said of a slip: one line, the value, the nearest name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import TRAIN, said_of


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("--stepps", "steps"),
        ("--learner.inner_lrr", "learner.inner_lr"),
        ("--learnr.inner_lr", "learner.inner_lr"),
        ("--homogenizer.rewight.beta", "homogenizer.reweight.beta"),
        ("--homogenizer.reweight.bta", "homogenizer.reweight.beta"),
        ("--homogenizer.rotate.algn", "homogenizer.rotate.align"),
        ("--isi.radus", "isi.radius"),
        ("--episodes.n_wy", "episodes.n_way"),
        ("--outer.metalr", "outer.meta_lr"),
    ],
)
def test_an_unknown_option_suggests_the_near_one(wrong: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = said_of([*TRAIN, wrong, "1"], capsys)
    assert said == f"rotogbml: unknown option '{wrong[2:]}' (did you mean '{near}'?): see rotogbml train --help\n"


@pytest.mark.parametrize(
    ("tree", "wrong", "near"),
    [
        ({"stepz": 3}, "stepz", "steps"),
        ({"learner": {"inner_lrr": 1}}, "learner.inner_lrr", "learner.inner_lr"),
        ({"homogenizer": {"rewight": {"beta": 1}}}, "homogenizer.rewight.beta", "homogenizer.reweight.beta"),
        ({"homogenizer": {"reweight": {"betta": 1.0}}}, "homogenizer.reweight.betta", "homogenizer.reweight.beta"),
        ({"isi": {"radus": 1}}, "isi.radus", "isi.radius"),
    ],
)
def test_an_unknown_key_of_a_configuration_suggests_the_near_one(
    tree: dict[str, Any], wrong: str, near: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(json.dumps(tree))
    said = said_of([*TRAIN, "--config", str(tmp_path / "c.yaml")], capsys)
    assert f"unknown option '{wrong}' (did you mean '{near}'?)" in said


def test_a_group_of_options_that_is_none_is_told_how_one_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    said = said_of(["compare", "--sources", "glyphs", "--targets", "greek", "--options", "[1]"], capsys)
    assert """'options' cannot be '[1]': give names and values in braces, such as '{"encoder.width": 4}'""" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", "many"], "option 'steps' cannot be 'many': give a whole number"),
        (["--steps", "1.5"], "option 'steps' cannot be '1.5': give a whole number"),
        (["--learner.inner_lr", "x"], "option 'learner.inner_lr' cannot be 'x': give a number"),
        (["--homogenizer.reweight.beta", "x"], "option 'homogenizer.reweight.beta' cannot be 'x': give a number"),
        (["--isi.T", "cold"], "option 'isi.T' cannot be 'cold': give a number or inf"),
        (["--dry_run", "perhaps"], "option 'dry_run' cannot be 'perhaps': give true or false"),
        (["--preset", "papr"], "option 'preset' cannot be 'papr' (did you mean 'paper'?): give default or paper"),
        (
            ["--homogenizer.rotate.slots", "minbatch"],
            "option 'homogenizer.rotate.slots' cannot be 'minbatch' (did you mean 'minibatch'?): "
            "give source, position or minibatch",
        ),
        (
            ["--episodes.k_shot", "a"],
            "option 'episodes.k_shot' cannot be 'a': give a whole number or a pair such as [1, 5]",
        ),
        (["--homogenizer", "x"], "option 'homogenizer' cannot be 'x': give none, or leave it out"),
        (["--isi"], "option 'isi' needs a value"),
        (["stray"], "'stray' belongs to no option (--sources stray?): see rotogbml train --help"),
        (["--config", "nowhere.yaml"], "option 'config': File does not exist"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_can(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in said_of([*TRAIN, *arguments], capsys)


def test_a_configuration_that_is_no_yaml_is_one_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("a: [1")
    said = said_of([*TRAIN, "--config", str(tmp_path / "c.yaml")], capsys)
    assert f"option 'config': {tmp_path}/c.yaml is no YAML (while parsing a flow sequence at line 1, column 4" in said


@pytest.mark.parametrize("content", ["", "3", "[1, 2]", "just words\n" * 99])
def test_a_configuration_without_options_is_named_and_not_quoted(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(content)
    said = said_of([*TRAIN, "--config", str(tmp_path / "c.yaml")], capsys)
    assert said == f"rotogbml: option 'config': {tmp_path}/c.yaml holds no options: give a run's config.yaml\n"


def test_a_configuration_that_is_no_text_is_one_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    said = said_of([*TRAIN, "--config", str(tmp_path / "c.yaml")], capsys)
    assert f"option 'config': {tmp_path}/c.yaml cannot be read ('utf-8' codec" in said
