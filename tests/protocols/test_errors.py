"""What is said of a protocol, a target, a reading or a pack that cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.cli import main
from rotogbml.errors import UsageError
from rotogbml.protocols import ReadingsConfig, create_protocol

WritePack = Callable[..., Path]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stong", "--target", "cars"], "no protocol 'stong' (did you mean 'strong'?): there are weak, strong"),
        (["strong"], "protocol strong needs --target: one of cub, cars, places, plantae"),
        (["weak"], "protocol weak needs --target: one of miniimagenet, cub"),
        (["strong", "--target", "crs"], "no dataset 'crs' (did you mean 'cars'?)"),
        (["strong", "--target", "mini"], "does not test on 'mini': miniImageNet is trained on"),
        (
            ["bscd-fsl", "--target", "cub"],
            "does not test on 'cub'; its targets are cropdiseases, eurosat, isic, chestx",
        ),
        (
            ["strong", "--target", "cub", "--pool", "al8"],
            "option 'readings.pool' cannot be 'al8' (did you mean 'all8'?)",
        ),
        (["weak", "--target", "cub", "--pool", "all8"], "readings.pool is no question of protocol weak: leave it out"),
        (
            ["weak", "--target", "cub", "--readings.size", "224"],
            "readings.size cannot be '224' in protocol weak: there are 84, 42",
        ),
        (
            ["strong", "--target", "cub", "--readings.validation", "target"],
            "readings.validation cannot be 'target' in protocol strong: there are mini, sources, last",
        ),
        (["strong", "--target", "cub", "--suite", "cor"], "option 'suite' cannot be 'cor' (did you mean 'core'?)"),
        (["strong", "--target", "cub", "--format", "tex"], "option 'format' cannot be 'tex'"),
        (["strong", "--targt", "cub"], "unknown option 'targt' (did you mean 'target'?)"),
    ],
)
def test_a_slip_in_show(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protocol", "show", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_from_python_too() -> None:
    with pytest.raises(UsageError, match=re.escape("no suite 'cor' (did you mean 'core'?)")):
        create_protocol("strong", "cub", "cor")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=re.escape("readings.pool cannot be 'all'")):
        create_protocol("strong", "cub", readings=ReadingsConfig(pool="all"))  # type: ignore[arg-type]


def said_of(pack: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["train", "--sources", str(pack), "--out", str(pack.parent / "run"), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert not (pack.parent / "run").exists()
    return captured.err


def test_nothing_to_train_on_is_no_run_even_with_allow_missing(
    write_pack: WritePack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = write_pack(tmp_path / "pack", ["cars", "horses"])
    said = said_of(pack, capsys, "--protocol", "bscd-fsl", "--allow-missing")
    assert "lacks 5 of 5 datasets: miniimagenet (training; packed as miniimagenet or mini-imagenet" in said
    assert "that is all it trains on, the packs hold cars, horses" in said


def test_weak_needs_a_split(write_pack: WritePack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = write_pack(tmp_path / "pack", ["eurosat"], splits={"all": range(10)})
    said = said_of(pack, capsys, "--protocol", "weak", "--target", "eurosat")
    assert "trains and tests on disjoint classes of 'eurosat'" in said
    assert "has no test classes: pack it with --split FILE.json" in said


def test_the_suite_core_does_not_take_the_papers_names(nine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = said_of(nine, capsys, "--protocol", "strong", "--target", "cars", "--suite", "core")
    assert "lacks 5 of 9 datasets: miniimagenet (training and validation; packed as imagenet or tiny-imagenet)" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "cub"], "target belongs to a protocol, and none is named: add --protocol, or leave it out"),
        (["--pool", "all8"], "readings belongs to a protocol"),
        (["--allow-missing"], "allow_missing belongs to a protocol"),
        (["--protocol", "strong"], "protocol strong needs --target"),
        (["--protocol", "strng", "--target", "cub"], "no protocol 'strng' (did you mean 'strong'?)"),
        (["--whole", "cubs"], "whole: no source 'cubs' (did you mean 'cub'?)"),
        (["--validate_on", "cubs"], "validate_on: no source 'cubs' (did you mean 'cub'?)"),
        (["--protocol", "strong", "--target", "cub", "--holdout", "nothing"], "no source 'nothing' to hold out"),
    ],
)
def test_a_slip_in_train(
    arguments: list[str], said: str, nine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--sources", str(nine), "--out", str(tmp_path / "run"), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0
    page = " ".join(capsys.readouterr().out.split())
    for option in (
        "--protocol",
        "--target",
        "--suite",
        "--allow_missing",
        "--readings.pool",
        "--whole",
        "--validate_on",
    ):
        assert option in page
    assert "--insist" not in page
