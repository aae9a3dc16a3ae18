"""Train by a protocol, test by it, and what the rows say: whole commands on small packs."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import rotogbml
from rotogbml.cli import main
from rotogbml.config import EncoderConfig, EpisodeConfig, LearnerConfig, OuterConfig
from rotogbml.evaluation import verb, work
from rotogbml.evaluation.calibration import BINS, Scored
from rotogbml.evaluation.methods import Spec
from rotogbml.evaluation.results import Results
from rotogbml.evaluation.tables import Format, render
from rotogbml.protocols import ReadingsConfig
from rotogbml.training.run import RunFolder

WritePack = Callable[..., Path]
TINY = [
    *("--threads", "1", "--encoder", "conv4", "--encoder.width", "4", "--steps", "2"),
    *("--episodes.n_way", "2", "--episodes.n_query", "2", "--learner.inner_steps", "1"),
    *("--outer.validate_every", "1", "--outer.validation_episodes", "2"),
]
Asked = list[tuple[str, str, int, int, int, int]]


def train(pack: Path, out: Path, *more: str) -> int:
    return main(["train", *TINY, "--sources", str(pack), "--out", str(out), *more])


def rows(run: Path) -> dict[tuple[str, str], dict[str, Any]]:
    found = Results.read(run / "evaluation").rows.values()
    return {(row["run"], row["target"]): row for row in found if row["run"]}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Return what every evaluation asks to be tested; accuracies are made up: defaults take thousands of tasks."""
    found: Asked = []

    def score(specs: list[Spec], tests: list[work.Test], episodes: int, workers: int) -> dict[tuple[Spec, str], Scored]:
        found.extend((t.source.name, t.split, t.n_way, t.k_shot, t.n_query, episodes) for t in tests)
        right = np.linspace(0, 1, episodes)
        made = Scored(right, 2 * (1 - right), np.ones((episodes, 3, BINS), np.float32))
        return {(spec, test.source.name): made for spec in specs for test in tests}

    monkeypatch.setattr(verb, "_score", score)
    monkeypatch.setattr(verb, "write_examples", lambda *_: None)
    return found


def test_strong_on_stand_ins_trains_tests_and_says_so(
    stand_ins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(stand_ins, run, "--protocol", "strong", "--target", "cars", "--suite", "core") == 0
    said = capsys.readouterr().out
    assert "protocol strong, target cars, STAND-INS in place of the paper's datasets" in said
    assert "departs from it: 16 px for 84; steps 2 for 60000; episodes.n_way 2 for 5" in said
    assert "encoder.name conv4 for resnet10-small" in said
    assert "validated on imagenet" in said
    assert "held out: cars" in said
    record = json.loads((run / "run.json").read_text())
    assert set(record["sources"]) == {
        *("birds", "chestx", "cropdisease", "eurosat", "imagenet", "isic", "plants", "scenes")
    }

    assert main(["evaluate", str(run), "--episodes", "4", "--n_query", "2", "--workers", "1"]) == 0
    page = capsys.readouterr().out
    row = rows(run)["run", "cars"]
    assert (row["split"], row["classes"], row["k_shot"], row["n_query"], row["episodes"]) == ("test", 5, 1, 2, 4)
    said = row["protocol"]
    assert said.startswith("strong, target cars; stand-ins (suite core); pool all8, draw without-replacement, ")
    assert "16 px for 84" in said
    assert "2 test queries for 15, 4 episodes for 2,000" in said
    assert f"protocol of maml + RotoGBML on cars: {said}" in page
    others = [row for row in Results.read(run / "evaluation").rows.values() if not row["run"]]
    assert {row["protocol"] for row in others} == {""}
    results = Results.read(run / "evaluation")
    for form in get_args(Format):
        assert "stand-ins" in render(list(results.rows.values()), [], form)
    assert main(["report", str(run)]) == 0
    assert said in html.unescape((run / "report.html").read_text(encoding="utf-8"))


def test_evaluate_takes_target_split_queries_and_episodes_of_the_protocol(
    write_pack: WritePack, asked: Asked, tmp_path: Path
) -> None:
    split = {"train": range(6), "val": range(6, 11), "test": range(11, 16)}
    pack = write_pack(tmp_path / "pack", ["cub", "miniimagenet", "cars"], images=(17,) * 16, splits=split, side=16)
    write_pack(pack, ["isic"], images=(17,) * 7, splits={"train": range(3), "test": range(3, 7)}, side=16)
    weak, strong = tmp_path / "weak", tmp_path / "strong"
    assert train(pack, weak, "--protocol", "weak", "--target", "cub", "--episodes.n_way", "5") == 0
    assert main(["evaluate", str(weak)]) == 0
    given = ["--protocol", "strong", "--target", "isic", "--episodes.n_way", "5", "--allow-missing"]
    assert train(pack, strong, *given) == 0
    assert main(["evaluate", str(strong)]) == 0
    # The pack splits isic; the protocol tests on all of it.
    assert asked == [("cub", "test", 5, 1, 15, 600), ("isic", "all", 5, 1, 15, 2000)]
    assert main(["evaluate", str(strong), "--split", "test", "--n_way", "5", "--episodes", "9", "--k_shot", "2"]) == 2
    assert main(["evaluate", str(strong), "--episodes", "9", "--k_shot", "2", "--n_query", "3"]) == 0
    assert asked[2:] == [("isic", "all", 5, 2, 3, 9)]


def test_a_protocol_of_several_shots_and_targets_gives_a_table_for_each_number(
    write_pack: WritePack, asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = {"train": range(6), "val": range(6, 11)}
    pack = write_pack(tmp_path / "pack", ["mini"], images=(21,) * 11, splits=split, side=16)
    names = ["plantvillage", "EuroSAT", "isic2018", "chestx"]
    write_pack(pack, names, images=(65,) * 5, splits={"all": range(5)}, side=16)
    run = tmp_path / "run"
    assert train(pack, run, "--protocol", "bscd-fsl", "--episodes.n_way", "5") == 0
    said = capsys.readouterr().out
    assert "no validation is wanted" in said
    assert "not as published: mini: 11 of 100 classes" in said
    assert main(["evaluate", str(run), "--format", "csv"]) == 0
    names = ["plantvillage", "EuroSAT", "isic2018", "chestx"]
    assert asked == [(name, "all", 5, shot, 15, 600) for shot in (5, 20, 50) for name in names]
    found = Results.read(run / "evaluation").rows.values()
    assert sorted({row["k_shot"] for row in found}) == [5, 20, 50]
    said = next(row["protocol"] for row in found if row["target"] == "EuroSAT" and row["run"])
    assert said.startswith(
        "bscd-fsl; validation last, size 224, groups ignored; departs: 16 px for 224, steps 2 for 40000"
    )
    assert "not as published: mini: 11 of 100 classes, EuroSAT: 5 of 10 classes" in said


def with_patients(pack: Path, name: str) -> None:
    """Say of a source that every three rows are of one patient."""
    file = pack / name / "source.json"
    head = json.loads(file.read_text())
    head["groups"] = [f"patient {row // 3}" for row in range(7 * 6)]
    file.write_text(json.dumps(head))


def test_groups_are_ignored_by_the_protocols_of_other_work_and_the_row_says_it(
    nine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tmp_path / "pack"
    shutil.copytree(nine, pack)
    with_patients(pack, "isic")
    given = ["--protocol", "bscd-fsl", "--target", "isic"]
    short = ["--episodes", "4", "--n_query", "2", "--k_shot", "1", "--workers", "1"]

    def said(run: Path, *more: str) -> tuple[bool, str, str]:
        assert main(["evaluate", str(run), *short, *more]) == 0
        row = rows(run)[run.name, "isic"]
        return RunFolder(run).read_config().episodes.respect_groups, row["groups"], row["protocol"]

    assert train(pack, tmp_path / "as-code", *given) == 0
    assert said(tmp_path / "as-code")[:2] == (False, "ignored")
    assert "--respect_groups false" in Results.read(tmp_path / "as-code/evaluation").command
    assert ", groups ignored; departs" in said(tmp_path / "as-code")[2]
    assert "groups ignored for" not in said(tmp_path / "as-code")[2]
    assert "tested with groups apart for ignored" in said(tmp_path / "as-code", "--respect_groups", "true")[2]
    assert train(pack, tmp_path / "apart", *given, "--readings.groups", "apart") == 0
    assert said(tmp_path / "apart")[:2] == (True, "apart")
    assert train(pack, tmp_path / "given", *given, "--episodes.respect_groups", "true") == 0
    assert RunFolder(tmp_path / "given").read_config().episodes.respect_groups
    assert "groups apart for ignored" in said(tmp_path / "given")[2]
    assert train(pack, tmp_path / "strong", "--protocol", "strong", "--target", "isic") == 0
    assert said(tmp_path / "strong")[:2] == (True, "apart")
    capsys.readouterr()


def test_missing_datasets_are_named_and_with_allow_missing_the_row_is_marked(
    write_pack: WritePack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}
    pack = write_pack(tmp_path / "pack", ["miniimagenet", "cub", "places"], images=(5,) * 10, splits=split)
    run = tmp_path / "run"
    given = ["--protocol", "strong", "--target", "cub", "--pool", "natural4"]
    assert train(pack, run, *given) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "protocol strong lacks 2 of 5 datasets: cars (training; packed as cars or stanford-cars" in said
    assert "plantae (training; packed as plantae or plants)" in said
    assert "the packs hold cub, miniimagenet, places" in said
    assert "--allow-missing" in said
    assert not run.exists()
    assert train(pack, run, *given, "--allow-missing") == 0
    assert "departs from it: without cars, plantae;" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--episodes", "4", "--n_query", "2", "--workers", "1"]) == 0
    row = rows(run)["run", "cub"]
    assert row["sources"] == ["miniimagenet", "places"]
    assert "departs: without cars, plantae, 16 px for 224" in row["protocol"]
    assert RunFolder(run).read_config().allow_missing


def test_a_missing_target_may_be_tested_later(
    write_pack: WritePack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}
    pack = write_pack(tmp_path / "pack", ["miniimagenet"], images=(7,) * 10, splits=split)
    other = write_pack(tmp_path / "other", ["birds"], images=(7,) * 10, splits=split)
    run = tmp_path / "run"
    given = ["--protocol", "closer-look", "--readings.source", "base", "--readings.validation", "mini"]
    assert train(pack, run, *given) == 2
    assert "lacks 1 of 2 datasets: cub (test; packed as cub or" in capsys.readouterr().err
    assert train(pack, run, *given, "--allow-missing") == 0
    short = ["--episodes", "4", "--n_query", "2", "--k_shot", "1", "--workers", "1"]
    assert main(["evaluate", str(run), *short]) == 2
    assert "protocol closer-look tests on cub (packed as cub or" in capsys.readouterr().err
    assert main(["evaluate", str(run), *short, "--sources", str(other)]) == 0
    assert "not as published: miniimagenet" not in (said := rows(run)["run", "birds"]["protocol"])  # it is not there
    assert "not as published: birds: 10 of 200 classes" in said
    assert "tested 1-shot" in said


def test_nothing_to_validate_on_falls_back_to_the_training_sources(
    write_pack: WritePack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    split = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}
    pack = write_pack(tmp_path / "pack", ["cars", "cub", "places"], images=(5,) * 10, splits=split)
    run = tmp_path / "run"
    assert train(pack, run, "--protocol", "strong", "--target", "cub", "--allow-missing") == 0
    assert "none of miniimagenet is there to validate on: the training sources are" in caplog.text
    assert RunFolder(run).read_config().validate_on is None
    assert main(["evaluate", str(run), "--episodes", "4", "--n_query", "2", "--workers", "1"]) == 0
    assert "validated on the training sources" in rows(run)["run", "cub"]["protocol"]


def test_two_runs_of_two_protocols_each_name_their_own(nine: Path, tmp_path: Path) -> None:
    for name, pool in (("all", "all8"), ("alone", "mini-only")):
        assert train(nine, tmp_path / name, "--protocol", "strong", "--target", "cub", "--pool", pool) == 0
    plain = tmp_path / "plain"
    assert train(nine, plain, "--holdout", "cub") == 0
    runs = [str(tmp_path / name) for name in ("all", "alone", "plain")]
    short = ["--episodes", "4", "--n_query", "2", "--workers", "1"]
    assert main(["evaluate", *runs, *short]) == 0
    found = rows(tmp_path / "all")
    assert "pool all8" in found["all", "cub"]["protocol"]
    assert "pool mini-only" in found["alone", "cub"]["protocol"]
    assert found["plain", "cub"]["protocol"] == ""
    assert main(["evaluate", *runs, *short, "--target", "cars", "--sources", str(nine)]) == 0
    assert "tested on cars" in rows(tmp_path / "all")["all", "cars"]["protocol"]


def test_a_protocol_from_python(nine: Path, tmp_path: Path) -> None:
    report = rotogbml.train(
        [str(nine)],
        str(tmp_path / "run"),
        steps=1,
        threads=1,
        protocol="strong",
        target="places",
        readings=ReadingsConfig(pool="natural4"),
        episodes=EpisodeConfig(n_query=2),
        encoder=EncoderConfig(width=4),
        learner=LearnerConfig(inner_steps=1),
        outer=OuterConfig(validation_episodes=1),
        insist=["encoder.name"],
    )
    config = RunFolder(Path(report.out)).read_config()
    assert (config.encoder.name, config.episodes.n_query, config.target) == ("conv4", 2, "places")


@pytest.mark.parametrize("size", [42])
def test_the_real_stand_ins_can_be_trained_on(shared_data: Path, size: int, tmp_path: Path) -> None:
    """All nine sources of shared/data, in a pack of the few images of mini.tar."""
    pack = tmp_path / "pack"
    assert main(["data", "pack", str(shared_data / "mini.tar"), str(pack), "--size", str(size), "--n_way", "3"]) == 0
    given = ["--protocol", "strong", "--target", "cars", "--suite", "core", "--readings.size", str(size)]
    assert train(pack, tmp_path / "run", *given) == 0
    command: Sequence[str] = ["evaluate", str(tmp_path / "run"), "--episodes", "2", "--n_query", "2", "--workers", "1"]
    assert main(command) == 0
    said = rows(tmp_path / "run")["run", "cars"]["protocol"]
    assert "stand-ins (suite core)" in said
    assert "; departs: steps 2 for 60000, " in said  # neither a source nor the size is other than asked for
