"""What evaluations leave behind, side by side."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rotogbml.cli import main
from rotogbml.errors import RotogbmlError
from rotogbml.evaluation.methods import PIXELS, UNTRAINED, run_names
from rotogbml.evaluation.results import Results
from rotogbml.sources.packed import open_pack

Evaluate = Callable[..., Results]


def by_method(results: Results) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in results.rows.values()}


def test_results_of_several_evaluations_stand_side_by_side(
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path
) -> None:
    evaluate(runs["roto"])
    evaluate(runs["roto"], k_shot=2)
    evaluate(runs["roto"], episodes=4)  # in place of the first
    tree = json.loads((tmp_path / "evaluation/results.json").read_text())
    found = [(row["method"], row["k_shot"], row["episodes"]) for row in tree["rows"]]
    assert sorted(found) == sorted(
        (m, k, n) for m in ("maml + RotoGBML", UNTRAINED, PIXELS) for k, n in ((1, 4), (2, 8))
    )
    stored = np.load(tmp_path / "evaluation/episodes.npz")
    assert {key: len(stored[key]) for key in stored.files} == {row["key"]: row["episodes"] for row in tree["rows"]}
    assert Results.read(tmp_path / "evaluation").rows == {row["key"]: row for row in tree["rows"]}


def test_rows_of_other_tasks_are_kept_and_of_other_weights_are_not(
    runs: dict[str, str], evaluate: Evaluate, tiny: list[str], tmp_path: Path
) -> None:
    both = list(runs.values())
    for task in ({}, {"n_query": 4}, {"seed": 1}, {"target": ["alpha"]}):
        evaluate(*both, **task)
    kept = Results.read(tmp_path / "evaluation")
    assert len(kept.rows) == len(kept.episodes) == 4 * 4
    assert len(kept.paired) == 4
    assert len({row["command"] for row in kept.rows.values()}) == 4
    # Another checkpoint of the run stands beside, under a key of its own.
    both_checkpoints = evaluate(runs["roto"], checkpoint="last")
    ours = [row["checkpoint"] for row in both_checkpoints.rows.values() if row["run"] == "roto"]
    assert sorted(ours) == ["best"] * 4 + ["last"]
    # The same checkpoint after more steps takes the place of all that was measured before.
    grown = tmp_path / "grown"
    assert main(["train", *tiny, "--steps", "2", "--out", str(grown)]) == 0
    for task in ({}, {"n_query": 4}):
        evaluate(str(grown), runs["plain"], checkpoint="last", out=str(tmp_path / "more"), **task)
    assert main(["train", *tiny, "--steps", "6", "--out", str(grown)]) == 0
    now = evaluate(str(grown), checkpoint="last", out=str(tmp_path / "more"))
    assert [row["steps"] for row in now.rows.values() if row["run"] == "grown"] == [6]
    assert sum(row["run"] == "plain" for row in now.rows.values()) == 2
    assert set(now.episodes) == set(now.rows) == set(now.timing)
    assert set(now.calibration) == {f"{key}|{kind}" for key in now.rows for kind in ("brier", "bins")}
    assert now.paired == {}


def test_by_default_the_results_lie_in_the_first_run(runs: dict[str, str], evaluate: Evaluate) -> None:
    evaluate(*runs.values(), out=None)
    for name in ("results.json", "episodes.npz", "examples.npz"):
        assert (Path(runs["roto"]) / "evaluation" / name).exists()
    assert not (Path(runs["plain"]) / "evaluation").exists()


def test_runs_of_one_name_are_told_apart(
    runs: dict[str, str], evaluate: Evaluate, tiny: list[str], tmp_path: Path
) -> None:
    twin = tmp_path / "seed1" / "roto"
    assert main(["train", *tiny, "--steps", "2", "--seed", "1", "--out", str(twin)]) == 0
    results = evaluate(runs["roto"], str(twin), runs["plain"])
    shown = {row["run"]: row["method"] for row in results.rows.values() if row["run"]}
    assert list(shown) == [
        f"{Path(runs['roto']).parent.name}/roto",
        "seed1/roto",
        f"{Path(runs['roto']).parent.name}/plain",
    ]
    assert list(shown.values()) == [*(f"maml + RotoGBML ({run})" for run in list(shown)[:2]), "maml"]
    pairs = list(results.paired.values())
    first, *others = shown
    assert [(pair["run_a"], pair["run_b"]) for pair in pairs] == [(first, other) for other in others]
    assert [(pair["a"], pair["b"]) for pair in pairs] == [(shown[first], shown[other]) for other in others]
    examples = np.load(tmp_path / "evaluation/examples.npz")
    for row in results.rows.values():
        right = (examples[f"0/pred/{row['method']}"] == examples["0/query_y"]).mean()
        assert right == pytest.approx(results.episodes[row["key"]][0])
    assert run_names(["x/a", "y/b"]) == {"x/a": "a", "y/b": "b"}


def test_two_baselines_of_one_name_stand_beside_each_other(
    runs: dict[str, str], evaluate: Evaluate, tiny: list[str], tmp_path: Path
) -> None:
    twin = tmp_path / "twin"
    off = ["--homogenizer", "none", "--isi", "off"]
    assert main(["train", *tiny, *off, "--steps", "2", "--seed", "1", "--out", str(twin)]) == 0
    results = evaluate(runs["roto"], runs["plain"], str(twin))
    assert {pair["b"]: pair["run_b"] for pair in results.paired.values()} == {
        "maml (plain)": "plain",
        "maml (twin)": "twin",
    }
    assert Results.read(tmp_path / "evaluation").paired == results.paired
    assert {row["method"] for row in results.rows.values()} >= {"maml + RotoGBML", "maml (plain)", "maml (twin)"}


def test_a_run_given_twice_is_one_run(runs: dict[str, str], evaluate: Evaluate) -> None:
    results = evaluate(runs["roto"], runs["roto"] + "/.")
    assert len(results.rows) == 3
    assert not results.paired


def test_a_run_that_was_trained_on_is_read_anew(tiny: list[str], evaluate: Evaluate, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    for steps in (1, 5):
        assert main(["train", *tiny, "--steps", str(steps), "--out", out]) == 0
        assert by_method(evaluate(out, checkpoint="last"))["maml + RotoGBML"]["steps"] == steps


def test_the_stored_command_gives_the_same_rows(runs: dict[str, str], evaluate: Evaluate, tmp_path: Path) -> None:
    results = evaluate(*runs.values(), k_shot=2, n_query=4, seed=3, checkpoint="last", test_steps=1, split="all")
    written = [(tmp_path / "evaluation" / name).read_bytes() for name in ("results.json", "episodes.npz")]
    (tmp_path / "evaluation/results.json").unlink()
    (tmp_path / "evaluation/episodes.npz").unlink()
    program, *arguments = shlex.split(results.command)
    assert program == "rotogbml"
    assert main([*arguments, "--workers", "1"]) == 0
    assert written[0] == (tmp_path / "evaluation/results.json").read_bytes()


def test_the_examples_are_the_first_episodes_with_everybodys_predictions(
    runs: dict[str, str], evaluate: Evaluate, pack: Path, tmp_path: Path
) -> None:
    results = evaluate(*runs.values())
    examples = np.load(tmp_path / "evaluation/examples.npz", allow_pickle=False)
    source = open_pack(pack)["hidden"]
    for i in range(3):
        assert str(examples[f"{i}/target"]) == "hidden"
        assert examples[f"{i}/support_x"].shape == (2, 16, 16, 3)
        assert examples[f"{i}/query_x"].shape == (6, 16, 16, 3)
        assert set(examples[f"{i}/classes"].tolist()) <= set(source.classes)
        centre = source.images[:, 1:17, 1:17]
        assert all((centre == x).all((1, 2, 3)).any() for x in examples[f"{i}/query_x"])
        for key, row in results.rows.items():
            right = (examples[f"{i}/pred/{row['method']}"] == examples[f"{i}/query_y"]).mean()
            assert right == pytest.approx(results.episodes[key][i])


def test_results_that_are_damaged_are_named(runs: dict[str, str], evaluate: Evaluate, tmp_path: Path) -> None:
    evaluate(runs["roto"])
    folder = tmp_path / "evaluation"
    for name, content in (("episodes.npz", b"PK\x03\x04junk"), ("results.json", b"[]"), ("results.json", b"{")):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        with pytest.raises(RotogbmlError, match=r"results in .* are damaged .* move them away and evaluate again"):
            evaluate(runs["roto"])
        (folder / name).write_bytes(whole)


def test_results_of_an_earlier_version_are_read_and_gone_on_with(
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path
) -> None:
    evaluate(*runs.values())
    folder = tmp_path / "evaluation"
    for name in ("calibration.npz", "timing.json"):
        (folder / name).unlink()
    tree = json.loads((folder / "results.json").read_text())
    for row in tree["rows"]:
        for name in ("ece", "brier", "brier_ci95"):
            del row[name]
    (folder / "results.json").write_text(json.dumps(tree))
    old = Results.read(folder)
    assert len(old.rows) == 4
    assert old.calibration == old.timing == {}
    assert [old.whole(key) for key in old.rows] == tree["rows"]
    now = evaluate(*runs.values(), k_shot=2)
    assert len(now.rows) == 8
    assert {key for key, row in now.rows.items() if "ece" in row} == set(now.timing)
    assert len(now.timing) == 4


def test_the_place_of_the_results_is_looked_at_before_the_long_part(
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotogbml.evaluation.verb.scored", lambda *_: pytest.fail("scored"))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/results.json").write_text("{")
    for place, said in (
        ("file", "cannot write .*file: File exists"),
        ("file/in", "cannot write .*file/in: Not a directory"),
        ("x" * 300, "cannot write .*x: File name too long"),
        ("old", "are damaged"),
    ):
        with pytest.raises(RotogbmlError, match=said):
            evaluate(runs["roto"], out=str(tmp_path / place))
