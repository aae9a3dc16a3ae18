"""What a plan says, and what is said of one that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rotogbml.errors import UsageError
from rotogbml.homogenizer.rivals.rival import SPELT
from rotogbml.studies.cell import Work
from rotogbml.studies.check import configuration
from rotogbml.studies.plan import Budget, Cell, Rung
from rotogbml.studies.plan_file import read_plan, shipped
from rotogbml.studies.plan_file import written as dumped

PackWriter = Callable[..., Path]

TREE: dict[str, Any] = {
    "targets": ["alpha", "beta"],
    "seeds": [0, 1],
    "rungs": [{"steps": 2, "keep": 1, "seeds": [0]}, {"steps": 4}],
    "test": {"episodes": 8},
    "settings": {"plain": {"homogenizer": False, "isi": False}, "a": {"homogenizer": False}, "b": None},
}


def written(path: Path, **changes: Any) -> str:
    path.write_text(yaml.safe_dump({k: v for k, v in (TREE | changes).items() if v is not None}, sort_keys=False))
    return str(path)


def test_a_plan_is_a_grid_with_seeds_outermost(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path / "mine.yaml"))
    assert plan.name == "mine"
    assert len(list(plan.cells(plan.rungs[0]))) == 2 * 3
    cells = list(plan.cells(plan.rungs[1]))
    assert len(cells) == 2 * 2 * 3
    assert [cell.seed for cell in cells] == [0] * 6 + [1] * 6
    said = plan.arguments(cells[0], Budget(4, "steps"))
    assert said == [
        *("--homogenizer", "false", "--isi", "false"),
        *("--holdout", "alpha", "--episodes.k_shot", "1", "--seed", "0", "--steps", "4"),
    ]


def test_a_rung_may_take_a_part_of_the_grid(tmp_path: Path) -> None:
    part = {"steps": 2, "keep": 1, "targets": ["beta"], "seeds": [1], "learners": ["maml"]}
    plan = read_plan(written(tmp_path / "part.yaml", rungs=[part, {"steps": 4}], learners={"anil": {}, "maml": {}}))
    assert {cell.id for cell in plan.cells(plan.rungs[0], ["a"])} == {"maml/a/beta-1shot-seed1"}
    assert len(list(plan.cells(plan.rungs[1], ["a"]))) == 2 * 2 * 2


def test_the_digest_is_of_all_that_decides_a_cell(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path / "a.yaml"))
    cell, two = next(plan.cells(plan.rungs[0])), Budget(2, "steps")
    assert plan.digest(cell, two) == read_plan(written(tmp_path / "b.yaml", about="other words")).digest(cell, two)
    others = [
        plan.digest(cell, Budget(4, "steps")),
        plan.digest(Cell(1, cell.target, cell.k_shot, cell.learner, cell.setting), two),
        read_plan(written(tmp_path / "c.yaml", options={"encoder.width": 4})).digest(cell, two),
        read_plan(written(tmp_path / "d.yaml", test={"episodes": 9})).digest(cell, two),
    ]
    assert len({plan.digest(cell, two), *others}) == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"targets": None}, "'targets' is missing"),
        ({"tragets": ["a"]}, r"a plan has no 'tragets' \(did you mean 'targets'\?\)"),
        ({"against": "plian"}, r"no setting 'plian' \(did you mean 'plain'\?\)"),
        ({"rungs": [{"steps": 4, "keep": 1}, {"steps": 2}]}, "budgets are 4 steps, 2 steps: each must be more"),
        ({"rungs": [{"steps": 4, "keep": 1}, {"minutes": 5}]}, "4 steps, 5 minutes: each must be more of the same"),
        ({"rungs": [{"steps": 4, "minutes": 5}]}, "a budget of steps, minutes or images: give one of them"),
        ({"rungs": [{"steps": 4}, {"steps": 5}]}, "every rung but the last says how many settings it keeps"),
        ({"rungs": [{"keep": 4}]}, "a budget of steps, minutes or images: give one of them"),
        ({"rungs": [{"images": 400}]}, "how many a step of 'plain' sees is not said"),
        ({"rungs": [{"steps": 4, "seeds": [7]}]}, "a rung names '7'"),
        ({"rungs": [{"steps": 4, "targets": ["gamma"]}]}, "a rung names 'gamma'"),
        ({"test": {"episodes": 1}}, "test.episodes is 1: an interval needs at least 2"),
        ({"test": {"checkpoints": ["lst"]}}, "no checkpoint 'lst'"),
        ({"judge": "best"}, "judge is 'best', which is not tested"),
        ({"settings": {"plain": {}, "../x": {}}}, "'../x' is no name for a folder"),
        ({"settings": {"plain": {}, "a b": {}, "a-b": {}}}, "two cells would share a folder"),
        ({"seeds": 3}, "seeds is '3': give a list"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_plan(written(tmp_path / "plan.yaml", **changes))


def test_an_unknown_plan_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no plan 'stage11' \(did you mean 'stage1'\?\): there are .*stage1"):
        read_plan("stage11")


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_plan_is_of_options_that_train_takes(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write_pack: PackWriter
) -> None:
    """Each setting of each learner is parsed and resolved as ``rotogbml train`` would, then stopped."""
    from rotogbml import cli
    from rotogbml.training import verb

    seen = []
    monkeypatch.setattr(verb, "carry_out", lambda job, place: seen.append(job.config))
    plan = read_plan(name)
    # A protocol looks for its datasets at once.
    pack = write_pack(tmp_path / "pack", plan.targets) if plan.protocol else "pack"
    asked = set()
    for cell in plan.cells(Rung(10)):
        if (cell.learner, cell.setting) not in asked:
            asked.add((cell.learner, cell.setting))
            said = [
                "train",
                "--sources",
                str(pack),
                "--out",
                "run",
                *plan.arguments(cell, Budget(10, "steps")),
                "--devices",
                "1",
            ]
            assert cli.main(said) == 0, cell
            # What is refused before a study begins is what it would be.
            work = Work.of(plan, cell, Budget(10, "steps"), tmp_path, [str(pack)])
            assert configuration(plan, work) == seen[-1]
    assert len(seen) == len(asked)
    assert all(config.outer.average for config in seen) or "averaged" not in plan.test.checkpoints
    # No two settings are the same run.
    assert len({repr(config) for config in seen}) == len(seen)


def test_stage1_has_every_rival() -> None:
    used = {options.get("homogenizer.combine") for options in read_plan("stage1").settings.values()}
    assert set(SPELT) - used <= {"mean", "sum", "dualproj"}  # Adam sees no factor; UPGrad's earlier form


def test_a_plan_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    plan = read_plan("stage1")
    path = tmp_path / "stage1.yaml"
    path.write_text(dumped(plan))
    assert read_plan(str(path)) == plan
