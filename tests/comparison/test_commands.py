"""``rotogbml compare`` as a whole: begun, gone on with, killed, printed again, refused."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rotogbml.cli import main
from rotogbml.comparison.render import _MEASURED
from rotogbml.comparison.verb import FILES, PAGE
from rotogbml.encoders import create_encoder
from rotogbml.studies.ledger import FILE
from rotogbml.studies.plan_file import SHIPPED

STRONG = ["compare", "--protocol", "strong", "--suite", "core", "--targets", "cars"]
METHODS = "pixels,frozen-prototype,mtl,protonet,protonet-single"
"""What is quick, and one of each kind: no network, nothing trained after a start, half of the budget, one source."""


def table(folder: Path) -> list[dict[str, str]]:
    """Return the table's lines without what no two runs have alike."""
    lines = list(csv.DictReader((folder / "table.csv").open(encoding="utf-8")))
    return [{name: value for name, value in line.items() if name not in _MEASURED} for line in lines]


@pytest.fixture(scope="module")
def whole(
    stand_ins: Path, tiny: list[str], inline_for: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], Path]:
    """Return a command and what it made."""
    out = tmp_path_factory.mktemp("whole") / "out"
    said = [*STRONG, "--sources", str(stand_ins), "--methods", METHODS, "--steps", "2", "--untrained", *tiny]
    with inline_for():
        assert main([*said, "--out", str(out)]) == 0
    return said, out


def test_one_command_trains_all_and_writes_the_table(whole: tuple[list[str], Path]) -> None:
    _, out = whole
    assert {*FILES, PAGE, "plan.yaml", FILE} <= {path.name for path in out.iterdir()}
    lines = {line["name"]: line for line in table(out)}
    assert set(lines) == {*METHODS.split(","), "rotogbml-maml"}
    assert lines["pixels"]["steps"] == lines["frozen-prototype"]["steps"] == "0.0"
    assert lines["protonet"]["steps"] == "2.0"
    assert lines["protonet-single"]["trained_on"] == "single-source: imagenet"
    assert lines["protonet"]["trained_on"] == "multi-source: 8"
    assert lines["mtl"]["label"] == "MTL (1 steps of Linear (Baseline), then 1 steps)"
    assert lines["mtl"]["images"] == str(2 * 16 + 2 * 5 * 3.0)
    outcomes = {o["setting"]: o for o in map(json.loads, (out / FILE).read_text().splitlines())}
    assert set(outcomes) == {*lines, "baseline", "baseline-half"}
    for setting in lines:
        cost = outcomes[setting]["cost"]
        assert cost["memory"] > 2**20
        assert cost["adapt_seconds"] >= 0
        assert cost["predict_seconds"] >= 0
    assert outcomes["rotogbml-maml"]["cost"]["training_seconds"] > 0
    assert [step for step, *_ in outcomes["protonet"]["validation"]] == [2]
    (seconds,) = outcomes["protonet"]["cost"]["validation_seconds"]
    assert 0 < seconds <= outcomes["protonet"]["cost"]["training_seconds"] + 0.01
    # The very run that it begins with, of the same target and seed.
    begun = (out / "cells/all/frozen-prototype/cars-1shot-seed0/run-2-steps/config.yaml").read_text()
    assert f"start: {(out / 'cells/all/baseline/cars-1shot-seed0/run').resolve()}" in begun
    # Untrained networks do not know whether they would have been trained.
    assert outcomes["protonet"]["correct"]["untrained"] == outcomes["protonet-single"]["correct"]["untrained"]


@pytest.mark.usefixtures("inline")
def test_rows_on_one_source_without_a_protocol(stand_ins: Path, tiny: list[str], tmp_path: Path) -> None:
    methods = "baseline-single,skd-gen0-single,protonet-single"
    said = ["compare", "--sources", str(stand_ins), "--targets", "cars", "--methods", methods, "--steps", "2", *tiny]
    assert main([*said, "--single_source", "imagenet", "--out", str(tmp_path)]) == 0
    lines = {line["name"]: line["trained_on"] for line in table(tmp_path)}
    assert lines.pop("rotogbml-maml").startswith("multi-source")
    assert lines == dict.fromkeys(methods.split(","), "single-source: imagenet")


@pytest.mark.usefixtures("inline")
def test_targets_that_train_alike_are_tested_on_one_training(
    stand_ins: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of bscd-fsl, whatever is tested; and what one target alone says is what it says beside others."""
    said = ["compare", "--protocol", "bscd-fsl", "--suite", "core", "--sources", str(stand_ins), "--steps", "2", *tiny]
    said += ["--methods", "protonet,finetune,maml", "--ours", "maml"]
    four, alone = tmp_path / "four", tmp_path / "alone"
    assert main([*said, "--targets", "isic,eurosat,cropdisease", "--out", str(four)]) == 0
    assert "3 rows, 1 runs that others begin with, 3 targets" in (first := capsys.readouterr().out)
    assert "4 trainings with 12 tests to do" in first
    runs = {str(path.parent.relative_to(four / "cells/all")) for path in four.glob("cells/all/*/*/run*/config.yaml")}
    assert runs == {
        *(f"{name}/isic-5shot-seed0/run" for name in ("protonet", "maml", "baseline")),
        "finetune/isic-5shot-seed0/run-2-steps",
    }
    assert main([*said, "--targets", "eurosat", "--out", str(alone)]) == 0
    told = {
        folder: {(o["setting"], o["target"]): o for o in map(json.loads, (folder / FILE).read_text().splitlines())}
        for folder in (four, alone)
    }
    assert len(told[four]) == 12
    for setting in ("protonet", "finetune", "maml", "baseline"):
        here, there = (told[folder][setting, "eurosat"] for folder in (four, alone))
        assert {name: here[name] for name in ("correct", "plan", "protocol", "split", "sources")} == {
            name: there[name] for name in ("correct", "plan", "protocol", "split", "sources")
        }
        assert "target eurosat" in here["protocol"]
        assert "tested on" not in here["protocol"]
        assert len({told[four][setting, target]["correct"]["best"] for target in ("isic", "eurosat")}) == 2
    # Another target later: what is trained is tested, and trained no more.
    courses = {path: path.read_text() for path in four.glob("cells/all/*/*/run*/timing.jsonl")}
    assert len(courses) == 3
    assert main([*said, "--targets", "isic,eurosat,cropdisease,chestx", "--out", str(four)]) == 0
    assert courses == {path: path.read_text() for path in four.glob("cells/all/*/*/run*/timing.jsonl")}
    assert len((four / FILE).read_text().splitlines()) == 16


@pytest.mark.usefixtures("inline")
def test_what_is_done_is_not_done_again(
    whole: tuple[list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The outcomes alone are enough; a run that others begin with is made again where it is gone and needed."""
    said, out = whole
    (tmp_path / FILE).write_text((out / FILE).read_text())
    assert main([*said, "--out", str(tmp_path)]) == 0
    assert "0 trainings to do, 8 done" in capsys.readouterr().out
    assert not (tmp_path / "cells").exists()
    assert table(tmp_path) == table(out)
    kept = [line for line in (out / FILE).read_text().splitlines() if json.loads(line)["setting"] != "frozen-prototype"]
    (tmp_path / FILE).write_text("\n".join(kept) + "\n")
    assert main([*said, "--out", str(tmp_path)]) == 0
    assert "1 trainings to do, 7 done" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "cells" / "all").iterdir()} == {"baseline", "frozen-prototype"}
    assert table(tmp_path) == table(out)


def test_status_and_table_train_nothing(
    whole: tuple[list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = whole
    shutil.copy(out / "plan.yaml", tmp_path)
    lines = (out / FILE).read_text().splitlines()
    (tmp_path / FILE).write_text("\n".join(line for line in lines if json.loads(line)["setting"] != "mtl") + "\n")
    assert main(["compare", "status", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "2 steps each, targets cars: 7 of 8 trainings done" in printed
    assert "mtl (MTL): 0 of 1" in printed
    for format in ("latex", "json", "text"):
        assert main(["compare", "table", "--out", str(tmp_path), "--format", format]) == 0
        printed = capsys.readouterr().out
        assert "ProtoNet" in printed
    assert "Not begun: MTL." in printed
    assert (tmp_path / PAGE).read_text().startswith("<!DOCTYPE html>")


def test_a_comparison_that_is_killed_gives_the_same_table(
    whole: tuple[list[str], Path], tmp_path: Path, start: Callable[..., Any], inline_for: Callable[[], Any]
) -> None:
    """The same as where these rows stood among others and nothing was cut off."""
    said, cut = [*whole[0], "--methods", "frozen-prototype", "--workers", "1"], tmp_path / "cut"
    child = start([*said, "--out", str(cut)])
    deadline = time.monotonic() + 300
    while not (cut / FILE).exists() or not (cut / FILE).read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.kill()
    child.wait()
    assert len((cut / FILE).read_text().splitlines()) < 3
    with inline_for():
        while main([*said, "--out", str(cut)]):  # a training's process may still be ending
            assert time.monotonic() < deadline
    of_others = ("number", "holm")
    expected = {line["name"]: line for line in table(whole[1])}
    assert [line["name"] for line in table(cut)] == ["frozen-prototype", "rotogbml-maml"]
    for line in table(cut):
        for name in line.keys() - set(of_others):
            assert line[name] == expected[line["name"]][name]


@pytest.mark.usefixtures("inline")
def test_a_start_that_fails_takes_its_rows_with_it(
    stand_ins: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    place = out / "cells/all/baseline/cars-1shot-seed0"
    place.mkdir(parents=True)
    (place / "run").write_text("in the way")
    said = [*STRONG, "--sources", str(stand_ins), "--methods", "finetune", "--steps", "1", *tiny, "--out", str(out)]
    assert main(said) == 1
    printed = capsys.readouterr()
    assert "FAILED all/baseline/cars-1shot-seed0: " in printed.out
    assert (
        "FAILED all/finetune/cars-1shot-seed0: it begins with all/baseline/cars-1shot-seed0, which failed"
        in printed.out
    )
    assert "2 trainings failed" in printed.err
    assert [line["name"] for line in table(out)] == ["rotogbml-maml"]


@pytest.mark.usefixtures("inline")
def test_other_weights_under_the_same_name_are_refused(
    stand_ins: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is done would stand in the table for weights that nobody tested."""
    weights, out = tmp_path / "w.pt", str(tmp_path / "out")
    mine = create_encoder("conv4", 16, 4)
    torch.save(dict(mine.named_parameters()), weights)
    said = [*STRONG, "--sources", str(stand_ins), "--methods", "frozen-prototype", "--ours", "protonet"]
    said += ["--start", str(weights), "--steps", "1", *tiny, "--out", out]
    assert main(said) == 0
    assert main(said) == 0  # the same weights
    torch.save({name: 2 * p.detach() for name, p in mine.named_parameters()}, weights)
    assert main(said) == 2
    assert f"the weights at {weights} are not those that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--steps", "1", "--methods", "protonte"], "did you mean 'protonet'"),
        (["--methods", "protonet"], "one of --minutes, --steps and --images is needed"),
        (["--steps", "1", "--workers", "0"], "workers is 0"),
        (["--steps", "1", "--methods", "finetune", "--start", "nowhere.pt"], "nowhere.pt: give a run folder"),
        (
            ["--steps", "2", "--methods", "protonet", "--n_query", "200"],
            "2 of 2 settings cannot be carried out: protonet, rotogbml-maml: ",
        ),
        (["--steps", "1", "--methods", "baseline", "--options", '{"learner.lam": 1}'], "learner.lam"),
        (
            ["--images", "999", "--methods", "baseline", "--options", '{"baseline/learner.inner_lr": 0.2}'],
            "2 of 2 settings cannot be carried out: baseline: baseline has no inner loop",
        ),
        (
            ["--steps", "1", "--methods", "protonet", "--options", '{"episodes.k_shot": 1, "episodes.n_way": 12}'],
            "2 of 2 settings cannot be carried out: protonet, rotogbml-maml: ",
        ),
    ],
)
def test_what_cannot_be_is_said_before_anything_trains(
    stand_ins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    out = tmp_path / "out"
    assert main([*STRONG, "--sources", str(stand_ins), "--out", str(out), *more]) == 2
    assert said in capsys.readouterr().err
    assert not (out / "cells").exists()


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ({"encoder.width": 8}, [], "holds another run (encoder.width is 4 there, 8 here)"),
        ({}, ["--methods", "protonet", "--steps", "1"], "is at step 2 already, --steps 1 is less"),
    ],
)
def test_other_options_and_a_shorter_budget_want_another_place(
    whole: tuple[list[str], Path],
    tiny: list[str],
    capsys: pytest.CaptureFixture[str],
    options: dict[str, int],
    more: list[str],
    said: str,
) -> None:
    command, out = whole
    more = [*more, "--options", json.dumps(json.loads(tiny[-1]) | options)]
    before = {name: (out / name).read_text() for name in ("plan.yaml", FILE)}
    assert main([*command, "--out", str(out), *more]) == 2
    printed = capsys.readouterr().err
    assert f"trainings cannot go on as they began in {out}: " in printed
    assert said in printed
    assert "choose another --out" in printed
    assert before == {name: (out / name).read_text() for name in before}


def test_nothing_is_said_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("status", "table"):
        assert main(["compare", verb, "--out", str(tmp_path)]) == 2
        assert "holds no comparison" in capsys.readouterr().err


def test_a_study_is_no_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(SHIPPED / "bf16.yaml", tmp_path / "plan.yaml")
    for verb in ("status", "table"):
        assert main(["compare", verb, "--out", str(tmp_path)]) == 2
        assert "is a study's, not a comparison's" in capsys.readouterr().err
