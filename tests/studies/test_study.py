"""Whole studies of tiny runs: killed and gone on with, on a cluster's local executor, halved, failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from rotogbml.children import environment, python
from rotogbml.cli import main
from rotogbml.studies.halving import accuracy, ahead, survivors
from rotogbml.studies.ledger import FILE, Ledger
from rotogbml.studies.plan_file import read_plan

SMALL = {
    "encoder.width": 4,
    "episodes.n_way": 2,
    "episodes.n_query": 3,
    "episodes.tasks_per_batch": 2,
    "learner.inner_steps": 1,
    "outer.validation_episodes": 2,
    "outer.validate_every": 100,
}


TREE: dict[str, Any] = {
    "about": "whether it runs",
    "targets": ["alpha"],
    "rungs": [{"steps": 2, "keep": 1}, {"steps": 4}],
    "test": {"episodes": 8, "n_query": 3},
    "options": SMALL,
    "settings": {"plain": {"homogenizer": False, "isi": False}, "isi": {"homogenizer": False}, "whole": {}},
}


def write(path: Path, **changes: Any) -> str:
    path.write_text(yaml.safe_dump(TREE | changes, sort_keys=False))
    return str(path)


@pytest.fixture
def plan(tmp_path: Path) -> str:
    """Return a plan of one cell."""
    return write(tmp_path / "tiny.yaml", rungs=[{"steps": 1}], settings={"plain": TREE["settings"]["plain"]})


@pytest.fixture(scope="module")
def halved(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return a plan of three settings, of which one is dropped after the first budget, and its study."""
    root = tmp_path_factory.mktemp("halved")
    plan = write(root / "halved.yaml")
    assert main(["study", plan, "--sources", str(pack), "--workers", "2", "--out", str(root / "study")]) == 0
    return plan, root / "study"


def table(capsys: pytest.CaptureFixture[str], plan: str, out: Path, format: str = "csv") -> str:
    capsys.readouterr()
    assert main(["study", "table", plan, "--out", str(out), "--format", format]) == 0
    return capsys.readouterr().out


def test_a_study_that_is_killed_gives_the_same_table(
    pack: Path, halved: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, whole = halved
    cut = tmp_path / "cut"
    said = ["study", plan, "--sources", str(pack), "--workers", "2", "--out", str(cut)]
    child = subprocess.Popen(python("-m", "rotogbml", *said), env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (cut / FILE).exists() or not (cut / FILE).read_text():
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    done = (cut / FILE).read_text().count("\n")
    assert done < 5
    with (cut / FILE).open("a") as file:  # as if the kill had fallen within a line
        file.write('{"seed": 0, "target"')
    while main(said):  # a cell's process may still be ending
        assert time.monotonic() < deadline
    assert table(capsys, plan, cut) == table(capsys, plan, whole)


def test_the_table_lives_in_one_file(
    pack: Path, halved: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the runs it is complete, and nothing is trained again."""
    plan, whole = halved
    (tmp_path / FILE).write_text((whole / FILE).read_text())
    assert main(["study", plan, "--sources", str(pack), "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "cells").exists()
    assert main(["study", "status", plan, "--out", str(tmp_path / FILE)]) == 0
    assert "4 steps: 2 of 2 cells done (2 settings)" in capsys.readouterr().out
    said = table(capsys, plan, tmp_path / FILE, "markdown")
    assert "4 steps, 2-way 1-shot, 6 queries, checkpoint averaged, norm batch, 8 episodes a training" in said
    assert said.count("| maml | plain |") == 4  # two budgets, two checkpoints


def test_a_budget_goes_on_from_the_one_before(halved: tuple[str, Path]) -> None:
    plan, out = halved
    declared = read_plan(plan)
    ledger = Ledger(declared, out / FILE)
    kept = survivors(ledger, tuple(declared.settings), 0)
    assert kept is not None
    ((better,), dropped) = (set(kept) - {"plain"}, set(declared.settings) - set(kept))
    assert "plain" in kept
    cell = next(cell for cell in declared.cells(declared.rungs[1], kept) if cell.setting == better)
    assert "4 steps from step 2" in (out / "cells" / cell.id / "log.txt").read_text()
    # Its outcome has the whole course of validation, of which the run's folder tells the same.
    course = ledger.done[cell, declared.rungs[1].budget]["validation"]
    metrics = (out / "cells" / cell.id / "run" / "metrics.jsonl").read_text().splitlines()
    validated = [line for line in map(json.loads, metrics) if line["kind"] == "val"]
    assert [step for step, _, _ in course] == [2, 4] == [line["step"] for line in validated]
    assert [mean for _, mean, _ in course] == pytest.approx([line["accuracy"] for line in validated], abs=1e-5)
    # The one that was kept is no worse than the one that was dropped, by the judge's checkpoint.
    scores = {
        c.setting: accuracy(ledger.done[c, declared.rungs[0].budget], declared.judge)
        for c in declared.cells(declared.rungs[0])
    }
    assert all(values.shape == (8,) for values in scores.values())
    assert all(scores[better].mean() >= scores[name].mean() for name in dropped)


def test_one_training_is_tested_with_several_shots(
    pack: Path, plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has both, each what ``rotogbml evaluate`` says of the same run; the best checkpoint is an early one."""
    both = yaml.safe_load(Path(plan).read_text())
    both["test"] |= {"k_shot": [1, 2], "checkpoints": ["best"]}
    both |= {"judge": "best", "rungs": [{"steps": 2}]}
    both["options"] = SMALL | {"learner.name": "protomaml"}  # its head is no guess, even untrained
    both["options"] |= {"outer.meta_lr": 1e-30, "outer.validate_every": 1}
    Path(plan).write_text(yaml.safe_dump(both))
    out = tmp_path / "study"
    assert main(["study", plan, "--sources", str(pack), "--out", str(out)]) == 0
    rows = json.loads(table(capsys, plan, out, "json"))
    assert [(row["trained_k_shot"], row["k_shot"]) for row in rows] == [(1, 1), (1, 2)]
    assert [row["steps"] for row in rows] == [2, 2]  # of the training
    run = str(out / "cells" / next(read_plan(plan).cells(read_plan(plan).rungs[0])).id / "run")
    for row in rows:
        said = ["evaluate", run, "--target", "alpha", "--k_shot", str(row["k_shot"]), "--checkpoint", "best"]
        kept = tmp_path / f"{row['k_shot']}"
        assert main([*said, "--episodes", "8", "--n_query", "3", "--workers", "1", "--out", str(kept)]) == 0
        (of_run,) = (r for r in json.loads((kept / "results.json").read_text())["rows"] if r["method"] == row["method"])
        assert of_run["mean"] == pytest.approx(row["mean"])
        assert of_run["steps"] == 1
    assert rows[0]["mean"] != rows[1]["mean"]
    capsys.readouterr()
    assert main(["study", "table", plan, "--out", str(out)]) == 0
    assert "2-way 2-shot (trained 1-shot), 6 queries" in capsys.readouterr().out


def test_other_words_make_another_study(
    pack: Path, plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    said = ["study", plan, "--sources", str(pack), "--out", str(out)]
    assert main(said) == 0
    tree = yaml.safe_load(Path(plan).read_text())
    tree["test"]["episodes"] = 10
    Path(plan).write_text(yaml.safe_dump(tree))
    assert main(said) == 0
    assert "1 outcomes" in capsys.readouterr().out
    assert len((out / FILE).read_text().splitlines()) == 2
    assert "10 episodes a training" in table(capsys, plan, out, "text")
    kept = (out / "plan.yaml").read_text()
    tree["options"]["encoder.width"] = 8
    Path(plan).write_text(yaml.safe_dump(tree))
    assert main(said) == 2
    words = capsys.readouterr().err
    assert f"1 trainings cannot go on as they began in {out}: " in words
    assert "holds another run (encoder.width is 4 there, 8 here): choose another --out" in words
    assert (out / "plan.yaml").read_text() == kept


def test_cells_that_fail_are_named_and_the_others_are_done(
    pack: Path, plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = yaml.safe_load(Path(plan).read_text())
    tree["settings"]["bad"] = {"isi": "off"}
    Path(plan).write_text(yaml.safe_dump(tree))
    out = tmp_path / "study"
    place = out / "cells/maml/bad/alpha-1shot-seed0"
    place.mkdir(parents=True)
    (place / "run").write_text("in the way")
    assert main(["study", plan, "--sources", str(pack), "--out", str(out)]) == 1
    printed = capsys.readouterr()
    assert "FAILED maml/bad/alpha-1shot-seed0: its process ended with 2: rotogbml: " in printed.out
    assert "is a file: choose another --out" in printed.err
    assert [json.loads(line)["setting"] for line in (out / FILE).read_text().splitlines()] == ["plain"]


def test_all_settings_that_cannot_be_are_named_before_any_is_trained(
    pack: Path, plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)  # as if it were not installed
    settings = {
        "plain": TREE["settings"]["plain"],
        "slow": {"learner.inner_lr": -1},
        "rival": {"homogenizer.combine": "pcgrad"},
        "steps": {"encoder.norm": "per-step"},
        "misspelt": {"lerner.inner_lr": 0.1},
    }
    rungs = [{"steps": 1, "keep": 1}, {"steps": 2}]
    learners = {"maml": {}, "anil": {"learner.name": "anil"}, "falling": {"outer.schedule": "cosine"}}
    write(Path(plan), settings=settings, rungs=rungs, learners=learners, targets=["alpha", "beta"])
    out = tmp_path / "study"
    assert main(["study", plan, "--sources", str(pack), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "nothing is begun. 5 of 5 settings cannot be carried out: " in said
    assert "slow (learner maml, anil): inner_lr is -1" in said
    assert "rival (learner maml, anil): homogenizer.combine=pcgrad needs torchjd, which is not here" in said
    assert "pip install 'rotogbml[rivals]'" in said
    assert "steps (learner anil): norm per-step" in said
    assert "misspelt: unknown option 'lerner.inner_lr' (did you mean 'learner.inner_lr'?)" in said
    assert "plain, slow, rival, steps (learner falling): its steps anneal" in said
    assert "a run of 1 steps cannot go on to 2 steps: give the plan one rung" in said
    assert "Mend that, or leave it out of the plan" in said
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == []


def test_cells_ahead_are_of_those_who_go_on(halved: tuple[str, Path], tmp_path: Path) -> None:
    plan, out = halved
    declared = read_plan(plan)
    first, second = declared.rungs
    every = [(cell, rung.budget) for rung in (first, second) for cell in declared.cells(rung)]
    assert list(ahead(Ledger(declared, tmp_path / "none.jsonl"))) == every
    assert not list(ahead(Ledger(declared, out / FILE)))
    lines = [line for line in (out / FILE).read_text().splitlines() if json.loads(line)["steps"] == 2]
    (tmp_path / FILE).write_text("\n".join(lines) + "\n")
    ledger = Ledger(declared, tmp_path / FILE)
    left, kept = list(ahead(ledger)), survivors(ledger, tuple(TREE["settings"]), 0)
    assert left == [(cell, second.budget) for cell in declared.cells(second, kept)]
    assert len(left) < len(TREE["settings"])


def test_no_time_begins_no_cell(pack: Path, plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", plan, "--sources", str(pack), "--out", str(tmp_path / "s"), "--stop_after", "0"]) == 0
    assert "Nothing is done yet." in capsys.readouterr().out


def test_a_cluster_gives_the_same_rows(
    pack: Path, plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit", reason="the extra sweep is not installed")
    said = ["study", plan, "--sources", str(pack)]
    assert main([*said, "--out", str(tmp_path / "cores")]) == 0
    assert main([*said, "--out", str(tmp_path / "cluster"), "--cluster", "local"]) == 0
    assert table(capsys, plan, tmp_path / "cluster") == table(capsys, plan, tmp_path / "cores")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--workers", "0"], "workers is 0: give at least 1"),
        (["--cluster", "local", "--cluster_options", '{"no_such": 1}'], "cluster local cannot be used"),
    ],
)
def test_what_cannot_be_is_said(
    pack: Path, plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main(["study", plan, "--sources", str(pack), "--out", str(tmp_path / "s"), *more]) == 2
    assert said in capsys.readouterr().err


def test_a_table_of_nothing_and_an_unknown_target(
    pack: Path, plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "table", plan, "--out", str(tmp_path)]) == 2
    assert "holds no outcome of plan tiny" in capsys.readouterr().err
    write(Path(plan), targets=["alhpa"])
    assert main(["study", plan, "--sources", str(pack), "--out", str(tmp_path / "s")]) == 2
    assert "did you mean 'alpha'" in capsys.readouterr().err


def test_a_table_against_another_setting(halved: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    plan, out = halved

    def differences(*more: str) -> dict[tuple[Any, ...], float | None]:
        capsys.readouterr()
        assert main(["study", "table", plan, "--out", str(out), "--format", "json", *more]) == 0
        rows = json.loads(capsys.readouterr().out)
        return {(row["setting"], row["budget"][0]): row["difference"] and row["difference"][0] for row in rows}

    usual, turned = differences(), differences("--against", "isi")
    (steps,) = {steps for name, steps in usual if name == "isi"} & {min(steps for _, steps in usual)}
    assert usual["plain", steps] is turned["isi", steps] is None
    assert turned["plain", steps] == pytest.approx(-(usual["isi", steps] or 0))
    capsys.readouterr()
    assert main(["study", "table", plan, "--out", str(out), "--against", "isy"]) == 2
    assert "has no such setting (did you mean 'isi'?)" in capsys.readouterr().err
