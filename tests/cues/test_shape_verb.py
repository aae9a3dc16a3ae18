"""``rotogbml shape`` as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rotogbml
from rotogbml.cli import main
from rotogbml.cues.altered import altered
from rotogbml.cues.images import DISTORTIONS
from rotogbml.errors import UsageError
from rotogbml.evaluation import dealing
from rotogbml.evaluation.methods import Spec
from rotogbml.evaluation.work import Test
from rotogbml.sources.packed import open_pack

FEW = ["--episodes", "4", "--workers", "1"]


def test_three_runs_give_shares_accuracies_and_paired_differences(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three = [runs["isi"], runs["plain"], runs["dropout"]]
    assert main(["shape", *three, *FEW, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    tree = json.loads((tmp_path / "shape.json").read_text())
    assert list(tree["runs"]) == ["maml + ISI", "maml", "maml + plain dropout"]
    measures = [line["measure"] for line in tree["lines"]]
    assert measures == [
        "shape share (look)",
        "decided (look)",
        "cues agree (look)",
        *(f"accuracy, {name}" for name in DISTORTIONS),
    ]
    for line in tree["lines"]:
        assert line["measure"] in said
        assert list(line["differences"]) == ["maml", "maml + plain dropout"]
        assert line["differences"]["maml"][0] == pytest.approx(
            line["values"]["maml + ISI"][0] - line["values"]["maml"][0]
        )
        for mean, half in line["values"].values():
            assert 0 <= mean <= 1
            assert half >= 0


def test_other_processes_find_the_same(runs: dict[str, str], drawn: Path) -> None:
    spec = Spec("run", runs["isi"])
    test = altered(Test(open_pack(drawn)["lao"], "all", 2, 1, 3, 0), "look", "texture")
    here, there = (dealing.accuracies([spec], [test], 3, n, lambda _: None)[spec, "lao"] for n in (1, 2))
    assert here.tolist() == there.tolist()


def test_photos_have_two_ways_of_conflict(runs: dict[str, str], pack: Path) -> None:
    report = rotogbml.shape([runs["photos"]], episodes=3, workers=1)
    assert [line.measure for line in report.lines][::3][:2] == ["shape share (spectrum)", "shape share (patches)"]
    assert (Path(runs["photos"]) / "shape" / "shape.json").exists()
    spec = Spec("run", runs["photos"])
    test = Test(open_pack(pack)["hidden"], "all", 2, 1, 3, 0)
    plain = dealing.accuracies([spec], [test], 3, 1, lambda _: None)[spec, "hidden"]
    clean = next(line for line in report.lines if line.measure == "accuracy, clean")
    assert clean.values["maml + ISI"][0] == pytest.approx(plain.mean())


def test_what_cannot_be_measured_is_refused(runs: dict[str, str], pack: Path, drawn: Path) -> None:
    with pytest.raises(UsageError, match="episodes is 1"):
        rotogbml.shape([runs["isi"]], episodes=1)
    with pytest.raises(UsageError, match="no source 'loa' \\(did you mean 'lao'"):
        rotogbml.shape([runs["isi"]], ["loa"])
    with pytest.raises(UsageError, match="n_query is 1: a texture comes from another query"):
        rotogbml.shape([runs["photos"]], n_query=1)
    with pytest.raises(UsageError, match="drawn and photographed"):
        rotogbml.shape([runs["isi"]], ["lao", "hidden"], [str(drawn), str(pack)])
