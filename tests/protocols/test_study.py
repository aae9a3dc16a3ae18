"""A protocol's table: every target in its turn, plain and with RotoGBML, by ``rotogbml study``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rotogbml.cli import main

SMALL = {
    "encoder.name": "conv4",
    "encoder.width": 4,
    "episodes.n_query": 2,
    "episodes.tasks_per_batch": 2,
    "learner.inner_steps": 1,
    "outer.validation_episodes": 2,
}


def test_strong_in_one_command(stand_ins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["study", "strong", "--suite", "core", "--sources", str(stand_ins), "--out", str(tmp_path)]
    said += [
        "--learner",
        "maml",
        "--targets",
        "cars,eurosat",
        "--seeds",
        "1",
        "--steps",
        "1",
        "--episodes",
        "4",
        "--n_query",
        "2",
    ]
    assert main([*said, "--options", json.dumps(SMALL)]) == 0
    printed = capsys.readouterr().out
    assert "[4/4]" in printed
    assert "checkpoint best" in printed
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {(line["learner"], line["setting"], line["target"]) for line in lines} == {
        (learner, setting, target)
        for learner in ("maml",)
        for setting in ("plain", "rotogbml")
        for target in ("cars", "eurosat")
    }
    by_target = {line["target"]: line for line in lines}
    assert by_target["cars"]["split"] == "test"
    assert "cars" not in by_target["cars"]["sources"]
    assert len(by_target["cars"]["sources"]) == 8
    assert by_target["eurosat"]["split"] == "all"
    assert all("stand-ins (suite core)" in line["protocol"] for line in lines)
    assert main(["study", "table", "strong", "--out", str(tmp_path), "--format", "markdown"]) == 0
    table = capsys.readouterr().out
    assert "| learner | setting | cars | eurosat | mean" in table
    assert "stand-ins" in table
    assert main(["study", "status", "strong", "--out", str(tmp_path)]) == 0
    assert "1 steps: 4 of 4 cells done" in capsys.readouterr().out


@pytest.fixture
def patients(stand_ins: Path, tmp_path: Path) -> Path:
    """Return the stand-ins, three images of isic to a patient."""
    pack = tmp_path / "pack"
    shutil.copytree(stand_ins, pack)
    file = pack / "isic/source.json"
    head = json.loads(file.read_text())
    file.write_text(json.dumps(head | {"groups": [f"patient {row // 3}" for row in range(7 * 6)]}))
    return pack


IGNORED = "groups (lesions, leaves, patients) ignored in the tests of isic"


@pytest.mark.parametrize(
    ("protocol", "options", "groups"),
    [
        ("bscd-fsl", {}, "ignored"),
        ("strong", {}, "apart"),
        ("strong", {"episodes.respect_groups": False}, "ignored"),
    ],
)
def test_a_study_tests_with_the_groups_that_it_trains_with_and_the_table_says_so(
    patients: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    protocol: str,
    options: dict[str, bool],
    groups: str,
) -> None:
    said = ["study", protocol, "--suite", "core", "--sources", str(patients), "--out", str(tmp_path / "study")]
    said += ["--targets", "isic", "--seeds", "1", "--steps", "1", "--k_shot", "1", "--episodes", "4", "--n_query", "2"]
    assert main([*said, "--options", json.dumps(SMALL | options)]) == 0
    assert (IGNORED in capsys.readouterr().out) is (groups == "ignored")
    lines = [json.loads(line) for line in (tmp_path / "study/results.jsonl").read_text().splitlines()]
    assert {line["groups"] for line in lines} == {groups}
    assert all(("groups ignored for apart" in line["protocol"]) is bool(options) for line in lines)


def test_a_comparison_says_that_groups_are_ignored(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["compare", "--protocol", "bscd-fsl", "--suite", "core", "--targets", "isic", "--sources", str(patients)]
    said += ["--methods", "random-frozen", "--ours", "protonet", "--seeds", "1", "--steps", "1", "--episodes", "4"]
    small = {name: value for name, value in SMALL.items() if not name.startswith("learner")}
    out = ["--n_query", "2", "--out", str(tmp_path / "c"), "--options", json.dumps(small)]
    assert main([*said, *out]) == 0
    assert IGNORED in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--targets", "crs"], "crs"),
        (["--learner", "mmal"], "no learner 'mmal'"),
        (["--seeds", "0"], "seeds is 0"),
        (["--steps", "1", "--minutes", "1"], "either steps or minutes"),
        (["--episodes", "0"], "episodes is 0: an interval needs at least 2"),
        (["--n_query", "0"], "n_query is 0: a class is tested on at least 1 query"),
        (["--k_shot", "0"], "k_shot is '0': give whole numbers, at least 1"),
    ],
)
def test_what_cannot_be_is_said(
    stand_ins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    given = ["study", "strong", "--suite", "core", "--sources", str(stand_ins), "--out", str(tmp_path / "s")]
    assert main([*given, *more]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_target_and_anothers_options_are_refused(
    nine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--sources", str(nine), "--out", str(tmp_path / "s")]
    assert main(["study", "strong", "--suite", "core", "--targets", "eurosat,cars", *out]) in (1, 2)
    capsys.readouterr()
    assert main(["study", "stage1", "--steps", "3", *out]) == 2
    assert "--steps is of a protocol's study: stage1 says it itself" in capsys.readouterr().err
    assert main(["study", "table", "strong", "--out", str(tmp_path / "none")]) == 2
    assert "holds no study of strong" in capsys.readouterr().err
