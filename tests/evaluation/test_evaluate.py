"""Evaluation: the same fixed episodes for everybody, honest rows, paired differences, files that can be read."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rotogbml
from rotogbml.cli import main
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.evaluation import work
from rotogbml.evaluation.methods import PIXELS, UNTRAINED, PixelPrototypes
from rotogbml.evaluation.results import Results, Row, stratified
from rotogbml.sources.packed import open_pack
from rotogbml.training.validation import mean_ci95

Evaluate = Callable[..., Results]


def by_method(results: Results) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in results.rows.values()}


def test_the_numbers_do_not_depend_on_the_number_of_processes(
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path
) -> None:
    files = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        evaluate(*runs.values(), workers=workers, episodes=52, out=str(out))
        arrays, more = np.load(out / "episodes.npz"), np.load(out / "calibration.npz")
        text = (out / "results.json").read_text().replace(str(out), "OUT")
        assert "seconds" not in text  # what is the clock's stands elsewhere
        files.append((text, *({key: each[key].tobytes() for key in each.files} for each in (arrays, more))))
    assert files[0] == files[1]
    assert set(files[0][2]) == {f"{key}|{kind}" for key in files[0][1] for kind in ("brier", "bins")}
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
        assert 0 < row["brier"] <= 2
        assert 0 <= row["ece"] <= 1
    assert results.timing.keys() == results.rows.keys()
    for said in results.timing.values():
        assert said["adapt_seconds"] > 0
        assert said["predict_seconds"] >= 0
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
    more = np.load(tmp_path / "evaluation/calibration.npz")
    assert set(stored.files) == set(results.rows)
    for key, row in results.rows.items():
        brier, bins = more[f"{key}|brier"], more[f"{key}|bins"]
        assert row["brier"] == pytest.approx(brier.mean())
        assert row["brier_ci95"] == pytest.approx(1.96 * brier.std() / math.sqrt(8))
        assert (bins[:, 0].sum(1) == 2 * 3).all()
        np.testing.assert_allclose(bins[:, 1].sum(1) / 6, stored[key])
        n, right, confidence = bins.sum(0)
        assert row["ece"] == pytest.approx(float(np.abs(right - confidence).sum() / n.sum()), rel=1e-5)
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


@pytest.mark.parametrize("format", ["text", "markdown", "csv", "latex", "json"])
def test_the_table_is_printed_in_the_format_asked_for(
    runs: dict[str, str],
    evaluate: Evaluate,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    format: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # no name is folded
    results = evaluate(*runs.values(), format=format)
    out = capsys.readouterr().out
    means = {row["method"]: row["mean"] for row in results.rows.values()}
    if format == "json":
        assert {row["method"]: row["mean"] for row in json.loads(out)["rows"]} == means
        printed = {row["key"]: row for row in json.loads(out)["rows"]}
        assert printed == {key: results.whole(key) for key in results.rows}
    elif format == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert {row["method"]: float(row["mean"]) for row in rows if row["kind"] == "accuracy"} == means
        for row in rows:
            if row["kind"] == "accuracy":
                whole = results.whole(row["key"])
                for name in ("ece", "brier", "adapt_seconds", "predict_seconds"):
                    assert float(row[name]) == whole[name]
    else:
        assert all(name in out for name in (UNTRAINED, PIXELS))
        assert all(f"{100 * mean:.2f}" in out for mean in means.values())
        for key in results.rows:
            whole = results.whole(key)
            assert f"{whole['brier']:.4f}" in out
            assert f"{100 * whole['ece']:.2f}" in out
            assert f"{whole['adapt_seconds']:.4f}" in out


def test_processes_import_what_their_parent_does(
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a file of the working folder that is called like a module, nor a path set in Python only, misleads."""
    here = tmp_path / "work"
    here.mkdir()
    (here / "numpy.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(here)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert len(evaluate(runs["roto"], workers=2, episodes=200).rows) == 3


def test_a_process_that_dies_is_reported(
    runs: dict[str, str], evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nkill -9 $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr("rotogbml.children.sys.executable", str(dying))
    with pytest.raises(RotogbmlError, match=r"an evaluation process ended with -9: run again with --workers 1"):
        evaluate(runs["roto"], workers=2, episodes=200)


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


def test_one_name_and_paths_are_taken_as_a_list_of_names(
    runs: dict[str, str], evaluate: Evaluate, tmp_path: Path
) -> None:
    listed = evaluate(runs["roto"], target=["hidden"])
    alone = rotogbml.evaluate(
        Path(runs["roto"]),  # type: ignore[arg-type]
        target="hidden",  # type: ignore[arg-type]
        episodes=8,
        workers=1,
        format="json",
        out=str(tmp_path / "evaluation"),
    )
    assert alone.rows == listed.rows


@pytest.mark.parametrize("workers", [1, 2])
def test_out_of_memory_says_what_to_lower(
    runs: dict[str, str], evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    words = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000 bytes."

    def full(*_: object) -> None:
        raise RuntimeError(words)

    if workers == 1:
        monkeypatch.setattr("rotogbml.evaluation.work.marks", full)
    else:  # the processes had enough, the pictures for the report did not
        monkeypatch.setattr("rotogbml.evaluation.verb.write_examples", full)
    with pytest.raises(RotogbmlError, match="out of memory while testing: lower --n_query, --k_shot or --workers"):
        evaluate(runs["roto"], target=["hidden"], workers=workers)
