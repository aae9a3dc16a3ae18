"""Evaluation: the same fixed episodes for everybody, honest rows, paired differences, files that can be read."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rotogbml
from rotogbml.cli import main
from rotogbml.config import EncoderConfig, EpisodeConfig
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.evaluation import work
from rotogbml.evaluation.methods import PIXELS, UNTRAINED, PixelPrototypes, run_names
from rotogbml.evaluation.results import Results, Row, stratified
from rotogbml.sources.packed import open_pack
from rotogbml.training.validation import mean_ci95

Evaluate = Callable[..., Results]


@pytest.fixture(scope="module")
def runs(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a run with RotoGBML and one without, trained for a few steps."""
    root = tmp_path_factory.mktemp("runs")
    for name, more in (("roto", []), ("plain", ["--homogenizer", "none", "--isi", "off"])):
        assert main(["train", *tiny, *more, "--steps", "6", "--out", str(root / name)]) == 0
    return {name: str(root / name) for name in ("roto", "plain")}


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """Return ``rotogbml.evaluate`` with few episodes, in this process, its files under ``tmp_path``."""

    def call(*runs: str, **changes: Any) -> Results:
        given = {"episodes": 8, "workers": 1, "format": "json", "out": str(tmp_path / "evaluation")} | changes
        return rotogbml.evaluate(list(runs), **given)

    return call


def by_method(results: Results) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in results.rows.values()}


def test_the_numbers_do_not_depend_on_the_number_of_processes(
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path
) -> None:
    files = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        evaluate(*runs.values(), workers=workers, episodes=52, out=str(out))
        arrays = np.load(out / "episodes.npz")
        text = (out / "results.json").read_text().replace(str(out), "OUT")
        files.append((text, {key: arrays[key].tobytes() for key in arrays.files}))
    assert files[0] == files[1]
    assert len(set(files[0][1].values())) == 4  # every method has accuracies of its own


def test_a_row_says_all_that_a_number_needs(runs: dict[str, str], evaluate: Evaluate) -> None:
    results = evaluate(*runs.values())
    rows = by_method(results)
    assert set(rows) == {"maml + RotoGBML", "maml", UNTRAINED, PIXELS}
    for row in rows.values():
        assert set(row) == {f.name for f in dataclasses.fields(Row)} | {"key"}
        assert (row["target"], row["split"], row["classes"]) == ("hidden", "all", 10)
        assert (row["n_way"], row["k_shot"], row["n_query"], row["episodes"]) == (2, 1, 3, 8)
        assert row["test_seed"] == 0
        assert row["command"] == results.command
        assert 0 <= row["mean"] <= 1
        assert row["ci95"] >= 0
    ours = rows["maml + RotoGBML"]
    assert (ours["run"], ours["norm"], ours["inner_steps"]) == ("roto", "batch", 2)
    assert (ours["sources"], ours["checkpoint"]) == (["alpha", "beta", "gamma"], "best")
    assert ours["steps"] in (4, 6)
    untrained, pixels = rows[UNTRAINED], rows[PIXELS]
    assert (untrained["run"], untrained["sources"], untrained["steps"], untrained["norm"]) == ("", [], 0, "batch")
    assert (pixels["run"], pixels["sources"], pixels["inner_steps"], pixels["norm"]) == ("", [], 0, "none")
    assert (ours["training_seed"], untrained["training_seed"], pixels["training_seed"]) == (0, 0, None)


def test_means_and_paired_differences_follow_from_the_stored_episodes(
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path
) -> None:
    results = evaluate(*runs.values(), target=["hidden", "alpha"])
    stored = np.load(tmp_path / "evaluation/episodes.npz")
    assert set(stored.files) == set(results.rows)
    for key, row in results.rows.items():
        values = stored[key]
        assert len(values) == 8
        assert row["mean"] == pytest.approx(values.mean())
        assert row["ci95"] == pytest.approx(1.96 * values.std() / math.sqrt(8))
    pairs = {pair["target"]: pair for pair in results.paired.values()}
    assert set(pairs) == {"hidden", "alpha", "mean of 2"}
    differences = []
    for target, split in (("hidden", "all"), ("alpha", "test")):
        a, b = (stored[f"{run}|{target}|{split}|2way1shot3query|seed0"] for run in ("roto", "plain"))
        difference = a - b
        assert difference.any()
        differences.append(difference)
        assert pairs[target]["difference"] == pytest.approx(difference.mean())
        assert pairs[target]["ci95"] == pytest.approx(1.96 * difference.std() / math.sqrt(8))
    assert pairs["mean of 2"]["difference"] == pytest.approx(np.mean(differences))
    assert pairs["mean of 2"]["ci95"] == pytest.approx(stratified(differences)[1])
    assert pairs["mean of 2"]["episodes"] == 16
    assert {pair["a"] for pair in pairs.values()} == {"maml + RotoGBML"}


def test_the_interval_over_fixed_targets_is_that_of_drawing_the_episodes_again() -> None:
    rng = np.random.default_rng(0)
    values = [rng.random(40) * spread for spread in (1.0, 0.2, 0.6)]
    mean, half = stratified(values)
    assert mean == pytest.approx(np.mean([v.mean() for v in values]))
    again = np.stack([rng.choice(v, (20_000, len(v))).mean(1) for v in values]).mean(0)
    assert half == pytest.approx(1.96 * again.std(), rel=0.03)
    assert stratified(values[:1]) == pytest.approx(mean_ci95(values[0]))


def test_every_method_sees_the_same_episodes_and_a_seed_names_them(
    runs: dict[str, str], pack: Path, evaluate: Evaluate
) -> None:
    first = by_method(evaluate(runs["roto"]))[PIXELS]["mean"]
    test = work.Test(open_pack(pack)["hidden"], "all", 2, 1, 3, seed=0)
    by_hand = []
    for i in range(8):
        episode = test.episode(i)
        support, query = episode.support.x.flatten(1), episode.query.x.flatten(1)
        means = torch.stack([support[episode.support.y == c].mean(0) for c in range(2)])
        nearest = ((query[:, None] - means) ** 2).sum(-1).argmin(1)
        assert torch.equal(PixelPrototypes().scores(episode).argmax(1), nearest)
        by_hand.append((nearest == episode.query.y).double().mean().item())
    assert first == pytest.approx(np.mean(by_hand))
    other = work.Test(open_pack(pack)["hidden"], "all", 2, 1, 3, seed=1)
    assert not np.array_equal(test.episode(0).indices[0], other.episode(0).indices[0])


def test_the_untrained_row_is_the_runs_own_initialisation(
    runs: dict[str, str], tiny: list[str], evaluate: Evaluate, tmp_path: Path
) -> None:
    """A run of one step of no size has not left it."""
    still = ["--steps", "1", "--outer.meta_lr", "1e-30", "--out", str(tmp_path / "still")]
    assert main(["train", *tiny, *still]) == 0
    rows = by_method(evaluate(str(tmp_path / "still")))
    assert rows["maml + RotoGBML"]["mean"] == rows[UNTRAINED]["mean"]
    assert rows[UNTRAINED]["mean"] == by_method(evaluate(runs["roto"]))[UNTRAINED]["mean"]


def test_shots_queries_and_steps_at_test_may_differ_from_training(runs: dict[str, str], evaluate: Evaluate) -> None:
    row = by_method(evaluate(runs["roto"], k_shot=4, n_query=5, test_steps=0))["maml + RotoGBML"]
    assert (row["k_shot"], row["n_query"], row["inner_steps"]) == (4, 5, 0)
    assert row["key"] == "roto|hidden|all|2way4shot5query|seed0"


def test_the_best_and_the_last_checkpoint_can_be_asked_for(runs: dict[str, str], evaluate: Evaluate) -> None:
    rows = {which: by_method(evaluate(runs["roto"], checkpoint=which))["maml + RotoGBML"] for which in ("best", "last")}
    assert rows["last"]["steps"] == 6
    assert rows["last"]["checkpoint"] == "last"
    assert rows["best"]["checkpoint"] == "best"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"n_way": 3},
            "was trained 2-way and its linear head has one row for each of those classes: it cannot be tested 3-way",
        ),
        ({"target": ["hiden"]}, "no source 'hiden' (did you mean 'hidden'?): there are alpha, beta, gamma, hidden"),
        ({"episodes": 1}, "episodes is 1: an interval needs at least 2"),
        ({"workers": 0}, "workers is 0: give at least 1"),
        ({"k_shot": 40}, "40 + 3 = 43 images a class"),
        ({"k_shot": 0}, "k_shot is 0"),
        ({"n_query": 0}, "n_query is 0: give at least 1, or leave it out"),
        ({"test_steps": -1}, "test_steps is -1: give at least 0, or leave it out"),
        (
            {"split": "all", "target": ["alpha"]},
            "was trained on classes of 'alpha': --split all would test what it has seen",
        ),
        ({"split": "train", "target": ["beta"]}, "--split train would test what it has seen"),
        ({"split": "test"}, "no source has so many 'test' classes (most: 'hidden' with 0)"),
    ],
)
def test_a_test_that_cannot_be_is_refused_plainly(
    runs: dict[str, str], evaluate: Evaluate, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as error:
        evaluate(runs["roto"], **changes)
    assert said in str(error.value)


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
    with pytest.raises(UsageError, match=r"no target: the run held nothing out, so name one with --target"):
        evaluate(str(tmp_path / "run"))


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
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path
) -> None:
    both = list(runs.values())
    for task in ({}, {"n_query": 4}, {"seed": 1}, {"target": ["alpha"]}):
        evaluate(*both, **task)
    kept = Results.read(tmp_path / "evaluation")
    assert len(kept.rows) == len(kept.episodes) == 4 * 4
    assert len(kept.paired) == 4
    assert len({row["command"] for row in kept.rows.values()}) == 4
    now = evaluate(runs["roto"], checkpoint="last")
    ours = [row for row in now.rows.values() if row["run"] == "roto"]
    assert [row["checkpoint"] for row in ours] == ["last"]
    assert sum(row["run"] == "plain" for row in now.rows.values()) == 4
    assert set(now.episodes) == set(now.rows)
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


@pytest.mark.parametrize("format", ["text", "markdown", "csv", "latex", "json"])
def test_the_table_is_printed_in_the_format_asked_for(
    runs: dict[str, str], evaluate: Evaluate, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    results = evaluate(*runs.values(), format=format)
    out = capsys.readouterr().out
    means = {row["method"]: row["mean"] for row in results.rows.values()}
    if format == "json":
        assert {row["method"]: row["mean"] for row in json.loads(out)["rows"]} == means
    elif format == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert {row["method"]: float(row["mean"]) for row in rows if row["kind"] == "accuracy"} == means
    else:
        assert all(name in out for name in (UNTRAINED, PIXELS))
        assert all(f"{100 * mean:.2f}" in out for mean in means.values())


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


def test_the_place_of_the_results_is_looked_at_before_the_long_part(
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotogbml.evaluation.verb.accuracies", lambda *_: pytest.fail("scored"))
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


def test_processes_import_what_their_parent_does(
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a file of the working folder that is called like a module, nor a path set in Python only, misleads."""
    here = tmp_path / "work"
    here.mkdir()
    (here / "numpy.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(here)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert len(evaluate(runs["roto"], workers=2).rows) == 3


def test_a_process_that_dies_is_reported(
    runs: dict[str, str], evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nkill -9 $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr("rotogbml.evaluation.work.sys.executable", str(dying))
    with pytest.raises(RotogbmlError, match=r"an evaluation process ended with -9: run again with --workers 1"):
        evaluate(runs["roto"], workers=2)


def test_a_run_without_the_checkpoint_is_named(runs: dict[str, str], evaluate: Evaluate, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.yaml", "run.json"):
        (bare / name).write_bytes((Path(runs["roto"]) / name).read_bytes())
    with pytest.raises(RotogbmlError, match=r"no checkpoint .*best\.pt: train first"):
        evaluate(str(bare))


def test_rows_as_a_data_frame(runs: dict[str, str], evaluate: Evaluate) -> None:
    pandas = pytest.importorskip("pandas")
    results = evaluate(runs["roto"])
    frame = results.dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["mean"].tolist() == [row["mean"] for row in results.rows.values()]
