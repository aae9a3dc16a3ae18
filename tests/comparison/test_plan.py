"""What is trained on what, for how long, and beginning with what."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rotogbml import learner_presets, method_presets
from rotogbml.comparison.declared import Asked, comparison_plan
from rotogbml.comparison.own_values import replaced
from rotogbml.comparison.roster import BLOCKS, ENTRIES, STARTS, chosen
from rotogbml.errors import UsageError
from rotogbml.sources.packed import PackedSource
from rotogbml.studies.carrying import carry_out
from rotogbml.studies.cell import OUTCOME, Work
from rotogbml.studies.check import check_cells, configuration
from rotogbml.studies.ledger import FILE, Ledger
from rotogbml.studies.plan import Budget, Plan, Rung
from rotogbml.studies.plan_file import read_plan, written
from rotogbml.studies.pool import Found
from rotogbml.training.resolve import resolve
from rotogbml.training.sources import open_sources

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def planned(stand_ins: Path, asked: Callable[..., Asked]) -> Callable[..., tuple[Plan, list[str]]]:
    """Return a function that makes the plan of what was asked for, and what was left out."""
    found: dict[str, PackedSource] = open_sources([str(stand_ins)])
    return lambda **changes: comparison_plan(asked(**changes), [str(stand_ins)], found)


def test_every_learner_and_method_has_a_row() -> None:
    names = {entry.options.get("method.name") for entry in ENTRIES.values()}
    assert names - {None} == set(method_presets.METHODS)
    for learner in learner_presets.LEARNERS:
        assert {learner, f"rotogbml-{learner}"} <= ENTRIES.keys()
    assert {entry.block for entry in ENTRIES.values()} == set(BLOCKS)
    for entry in ENTRIES.values():
        assert not entry.start or entry.start in ENTRIES | STARTS
        assert not entry.start or not (ENTRIES | STARTS)[entry.start].start


def test_all_goes_with_strong_and_can_be_built(
    planned: Callable[..., tuple[Plan, list[str]]], stand_ins: Path, tmp_path: Path
) -> None:
    plan, left_out = planned(targets=("eurosat",))
    assert left_out == []
    assert set(plan.settings) == ENTRIES.keys() | STARTS.keys()
    assert set(plan.hidden) == set(STARTS)
    assert plan.against == "rotogbml-maml"
    single = {name for name, entry in ENTRIES.items() if entry.single and "method.source" in plan.settings[name]}
    assert {plan.settings[name]["method.source"] for name in single} == {"imagenet"}
    assert {"protonet-single", "relationnet-ata-single", "mtl-single"} <= single
    one_of_each = [cell for cell in plan.cells(plan.rungs[0]) if cell.seed == 0]
    check_cells(plan, [(cell, plan.rungs[0].budget) for cell in one_of_each], [str(stand_ins)], tmp_path, "")


@pytest.mark.parametrize("protocol", ["strong", ""])
def test_what_is_settled_stays_as_it_is(
    planned: Callable[..., tuple[Plan, list[str]]], stand_ins: Path, tmp_path: Path, protocol: str
) -> None:
    """A training reads the configuration that was written for it, and settles it once more."""
    plan, _ = planned(
        protocol=protocol, suite="core" if protocol else "paper", targets=("cars",), single_source="imagenet"
    )
    budget = plan.rungs[0].budget
    for cell in (cell for cell in plan.cells(plan.rungs[0]) if cell.seed == 0):
        config = configuration(plan, Work.of(plan, cell, budget, tmp_path, [str(stand_ins)]))
        assert resolve(config) == config, cell.setting


def test_one_training_source_leaves_out_what_needs_several(planned: Callable[..., tuple[Plan, list[str]]]) -> None:
    plan, left_out = planned(protocol="weak", targets=("miniimagenet",))
    gone = {line.split(":")[0] for line in left_out}
    assert gone == {name for name, entry in ENTRIES.items() if entry.single or entry.several}
    assert not gone & set(plan.settings)
    assert any("relationnet-lft: protocol weak trains on imagenet alone" in line for line in left_out)


def test_who_begins_with_another_shares_the_budget(planned: Callable[..., tuple[Plan, list[str]]]) -> None:
    def lengths(budget: Rung, *methods: str) -> dict[str, str]:
        plan, _ = planned(methods=methods, budget=budget, targets=("cars",), seeds=1)
        cells = {cell.setting: plan.arguments(cell, budget.budget) for cell in plan.cells(budget)}
        return {name: said[-1] for name, said in cells.items()}

    odd = lengths(Rung(steps=7), "mtl", "skd-gen1", "finetune")
    assert odd["baseline-half"] == odd["skd-gen0-half"] == "3"
    assert odd["mtl"] == odd["skd-gen1"] == "4"
    assert odd["baseline"] == odd["rotogbml-maml"] == "7"
    minutes = lengths(Rung(minutes=5), "mtl")
    assert minutes == {"baseline-half": "2.5", "mtl": "2.5", "rotogbml-maml": "5"}
    plan, _ = planned(methods=("finetune", "mtl"))
    assert plan.starts == {"finetune": "baseline", "mtl": "baseline-half"}
    assert set(plan.hidden) == {"baseline", "baseline-half"}
    with pytest.raises(UsageError, match=r"mtl shares the budget .* a step has no half"):
        planned(methods=("mtl",), budget=Rung(steps=1))
    with pytest.raises(UsageError, match=r"mtl shares the budget .* give --images 64 or more"):
        planned(methods=("mtl",), budget=Rung(images=63))
    planned(methods=("mtl",), budget=Rung(images=64))


def test_a_budget_of_images_is_steps_of_each_kind(planned: Callable[..., tuple[Plan, list[str]]]) -> None:
    budget = Rung(images=1200)
    plan, _ = planned(methods=("protonet", "baseline", "relationnet-lft", "random-frozen"), budget=budget)
    steps = {cell.setting: plan.arguments(cell, budget.budget)[-1] for cell in plan.cells(budget)}
    # A task of 5 classes with 1 + 2 images; two a step, two episodes each for LFT; images 16 by 16.
    assert plan.images_of_step("protonet", 1) == 2 * 5 * 3
    assert plan.images_of_step("protonet", 5) == 2 * 5 * 7
    assert steps["protonet"] == steps["rotogbml-maml"] == str(1200 // 30)
    assert steps["relationnet-lft"] == str(1200 // 60)
    assert steps["baseline"] == str(1200 // 32)
    assert plan.images_of_step("random-frozen", 1) == 0


def test_weights_of_the_users_take_the_place_of_starts(planned: Callable[..., tuple[Plan, list[str]]]) -> None:
    plan, left_out = planned(methods=("multi-source",), start="some/weights.pt", ours="maml")
    assert set(plan.starts) == {"skd-gen1"}
    for name in ("finetune", "frozen-prototype", "linear-probe", "mtl"):
        assert plan.settings[name]["method.start"].endswith("some/weights.pt")
        assert name not in plan.shares
    with pytest.raises(UsageError, match=r"finetune-single does not go with this: it begins with some/weights.pt"):
        planned(methods=("finetune-single",), start="some/weights.pt", ours="maml")
    assert left_out == []


@pytest.mark.parametrize("ours", ["frozen-prototype", "skd-gen1", "mtl-single"])
def test_ours_may_begin_with_another_run(planned: Callable[..., tuple[Plan, list[str]]], ours: str) -> None:
    plan, _ = planned(methods=("protonet",), ours=ours, targets=("cars",))
    assert plan.against == ours
    assert plan.starts.keys() == {ours}
    assert "method.start" not in plan.settings[ours]
    assert plan.settings.keys() == {"protonet", ours, *plan.hidden}


def test_a_plan_is_read_back_as_it_was_written(planned: Callable[..., tuple[Plan, list[str]]], tmp_path: Path) -> None:
    plan, _ = planned(untrained=True)
    (tmp_path / "plan.yaml").write_text(written(plan), encoding="utf-8")
    again = replace(read_plan(str(tmp_path / "plan.yaml")), name=plan.name)
    budget = plan.rungs[0].budget
    assert [(c, plan.digest(c, budget)) for c in plan.cells(plan.rungs[0])] == [
        (c, again.digest(c, budget)) for c in again.cells(again.rungs[0])
    ]
    assert again.hidden == plan.hidden
    assert again.pixels == ("pixels",)


def test_a_digest_knows_what_a_cell_begins_with(planned: Callable[..., tuple[Plan, list[str]]]) -> None:
    plan, _ = planned(methods=("finetune",))
    budget = plan.rungs[0].budget
    cell = next(cell for cell in plan.cells(plan.rungs[0]) if cell.setting == "finetune")
    longer = {**plan.settings, "baseline": {**plan.settings["baseline"], "method.batch_size": 8}}
    assert replace(plan, settings=longer).digest(cell, budget) != plan.digest(cell, budget)
    assert replace(plan, about="other words").digest(cell, budget) == plan.digest(cell, budget)


class Noting:
    """A pool that carries nothing out and keeps what it was given."""

    workers = 1

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.runs: list[Path] = []

    def run(self, works: Sequence[Work]) -> Iterator[Found]:
        self.asked += [work.cell.setting for work in works]
        self.runs += [work.run for work in works]
        return iter(())


def test_nothing_begins_with_a_run_of_another_budget(
    planned: Callable[..., tuple[Plan, list[str]]], outcome: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """A run goes on in its place where a longer budget was asked for since."""
    plan, _ = planned(methods=("finetune",), targets=("cars",), seeds=1)
    budget = plan.rungs[0].budget
    (cell,) = plan.cells(plan.rungs[0], ["baseline"])
    done = outcome(plan, cell, {}, steps=4)
    (tmp_path / FILE).write_text(json.dumps(done) + "\n")
    place = tmp_path / "cells" / cell.id
    (place / "run" / "checkpoints").mkdir(parents=True)
    (place / "run" / "checkpoints" / "best.pt").touch()
    longer = plan.digest(cell, Budget(2 * budget.amount, budget.unit))
    for digest, asked in ((done["plan"], {"finetune"}), (longer, {"baseline"})):
        (place / OUTCOME).write_text(json.dumps(done | {"plan": digest}))
        pool = Noting()
        carry_out(Ledger(plan, tmp_path / FILE), tmp_path, [], pool)
        assert set(pool.asked) - {"rotogbml-maml"} == asked


def test_a_longer_budget_begins_anew_where_its_start_has_gone_on(
    planned: Callable[..., tuple[Plan, list[str]]], outcome: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """The start goes on in its place; what began with its earlier weights does not go on from these."""
    runs = []
    for steps in (4, 8):
        plan, _ = planned(methods=("mtl",), targets=("cars",), seeds=1, budget=Rung(steps=steps))
        (half,) = plan.cells(plan.rungs[0], ["baseline-half"])
        checkpoints = tmp_path / "cells" / half.id / "run" / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / "best.pt").touch()
        done = outcome(plan, half, {}, steps=4)
        for place in (tmp_path / FILE, tmp_path / "cells" / half.id / OUTCOME):
            place.write_text(json.dumps(done) + "\n")
        pool = Noting()
        carry_out(Ledger(plan, tmp_path / FILE), tmp_path, [], pool)
        runs.append(dict(zip(pool.asked, pool.runs, strict=True)))
    assert runs[0]["mtl"] != runs[1]["mtl"]
    assert runs[0]["rotogbml-maml"] == runs[1]["rotogbml-maml"]


@pytest.mark.parametrize("name", ["bf16", "bf16-glyphs"])
def test_outcomes_of_earlier_studies_still_count(name: str) -> None:
    ledger = Ledger(read_plan(name), ROOT / "docs" / "study" / f"{name}.jsonl")
    assert len(ledger.done) == 12
    assert ledger.stale == 0


def test_names_and_groups() -> None:
    rows, named = chosen(["metric,maml"], ["relationnet-lft"], "rotogbml-anil")
    assert rows[0] == "protonet"
    assert rows[-2:] == ["maml", "rotogbml-anil"]
    assert "relationnet-lft" not in rows
    assert named == {"maml", "rotogbml-anil"}
    every, _ = chosen(["all"], [], "maml")
    assert every == list(ENTRIES)
    multi, _ = chosen(["multi-source"], [], "maml")
    assert set(every) - set(multi) == {name for name in ENTRIES if name.endswith("-single")}


def test_options_of_learners_and_of_one_row(planned: Callable[..., tuple[Plan, list[str]]]) -> None:
    options = {"encoder.width": 4, "learner.inner_lr": 0.1, "reptile/learner.inner_lr": 0.001, "protonet/isi.rate": 0.2}
    plan, _ = planned(methods=("protonet", "maml", "reptile", "baseline"), options=options)
    assert plan.options == {"encoder.width": 4}
    rates = {name: chosen.get("learner.inner_lr") for name, chosen in plan.settings.items()}
    assert rates == {"baseline": None, "protonet": None, "maml": 0.1, "reptile": 0.001, "rotogbml-maml": 0.1}
    assert [name for name, chosen in plan.settings.items() if "isi.rate" in chosen] == ["protonet"]


def test_options_of_a_row_go_to_the_run_that_others_begin_with(planned: Callable[..., tuple[Plan, list[str]]]) -> None:
    options = {"skd-gen0/method.batch_size": 4}
    for methods, told in (
        (("skd-gen0", "skd-gen1"), {"skd-gen0", "skd-gen0-half"}),
        (("skd-gen1",), {"skd-gen0-half"}),
    ):
        plan, _ = planned(targets=("cars",), methods=methods, options=options)
        assert {name for name, chosen in plan.settings.items() if chosen.get("method.batch_size") == 4} == told
    plan, _ = planned(targets=("cars",), methods=("finetune",), options={"baseline/method.batch_size": 4})
    assert plan.settings["baseline"]["method.batch_size"] == 4
    with pytest.raises(
        UsageError, match=r"skd-gen1 begins with a run of skd-gen0, whose encoder\.width is 8, and its own"
    ):
        planned(targets=("cars",), methods=("skd-gen1",), options={"skd-gen0/encoder.width": 8})
    alike = {"skd-gen0/encoder.width": 8, "skd-gen1/encoder.width": 8}
    planned(targets=("cars",), methods=("skd-gen1",), options=alike)
    with pytest.raises(UsageError, match="'skd-gen0' is no row of this comparison"):
        planned(targets=("cars",), methods=("protonet",), options=options)


def test_learners_own_values_that_are_replaced_are_named(planned: Callable[..., tuple[Plan, list[str]]]) -> None:
    rows = ["reptile", "rotogbml-reptile", "maml", "protonet"]
    assert replaced(planned(methods=rows)[0]) == []
    common = {"outer.meta_lr": 0.003, "learner.inner_steps": 3, "learner.inner_lr": 0.001}
    (line,) = replaced(planned(methods=rows, options=common)[0])
    assert "Reptile learner.inner_steps 3 for 8, outer.meta_lr 0.003 for 1.0; Reptile + RotoGBML learner" in line
    assert "MAML" not in line
    kept = {
        f"{row}/{name}": value
        for row in rows[:2]
        for name, value in (("outer.meta_lr", 1.0), ("learner.inner_steps", 8))
    }
    assert replaced(planned(methods=rows, options={**common, **kept})[0]) == []
    student = {"outer.meta_lr": 0.003}
    (line,) = replaced(planned(methods=("skd-gen1",), options=student)[0])
    assert "SKD-GEN1 outer.meta_lr 0.003 for 2e-05" in line
    (line,) = replaced(planned(methods=("skd-gen1-single",), options=student)[0])
    assert "SKD-GEN1 (one source) outer.meta_lr 0.003" in line
    assert replaced(planned(methods=("skd-gen1",))[0]) == []


def test_as_published_is_of_methods_and_learners_keep_their_norm(
    planned: Callable[..., tuple[Plan, list[str]]],
) -> None:
    options = {"encoder.width": 4, "encoder.norm": "as-published"}
    plan, _ = planned(methods=("protonet", "maml", "maml++", "baseline"), options=options)
    norms = {name: chosen.get("encoder.norm") for name, chosen in plan.settings.items()}
    assert norms == {
        "protonet": "as-published",
        "baseline": "as-published",
        "maml": None,
        "maml++": None,
        "rotogbml-maml": None,
    }
    assert "encoder.norm" not in plan.options


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": ("protonte",)}, r"no method 'protonte' \(did you mean 'protonet'\?\)"),
        ({"without": ("rotogbml-maml",)}, "all are compared with rotogbml-maml"),
        ({"ours": "mine"}, "no method 'mine'"),
        ({"budget": Rung()}, "none of them is given: one of --minutes, --steps and --images is needed"),
        ({"budget": Rung(steps=2, minutes=1.0)}, "--minutes 1 and --steps 2 is given"),
        ({"budget": Rung(steps=0)}, "steps is 0: it must be above 0"),
        ({"seeds": 0}, "seeds is 0"),
        ({"targets": ("crs",)}, "no dataset 'crs'"),
        ({"targets": ("cars", "cars")}, "a target stands twice"),
        ({"episodes": 1}, "episodes is 1: an interval needs at least 2"),
        ({"episodes": 0}, "episodes is 0: an interval needs at least 2"),
        ({"n_query": 0}, "n_query is 0: a class is tested on at least 1 query"),
        ({"protocol": "", "suite": "paper", "targets": ("cars",), "episodes": 0}, "episodes is 0: an interval needs"),
        ({"protocol": "", "suite": "paper", "targets": ("cars",), "n_query": 0}, "n_query is 0: a class is tested"),
        ({"methods": ("protonet",), "start": "weights.pt"}, "no row of --methods begins with weights of yours"),
        ({"methods": ("protonet",), "single_source": "imagenet"}, "no row of --methods trains on one source"),
        ({"single_source": "cars"}, "single_source: 'cars' is not trained on for every target"),
        ({"single_source": "eurosat"}, "single_source: 'eurosat' is not trained on for every target"),
        ({"k_shot": (1, 1)}, "a target, seed or k_shot stands there twice"),
        ({"options": {"protonte/isi.rate": 4}}, r"'protonte' is no row of this comparison \(did you mean 'protonet'"),
        ({"options": {"encodr.width": 4}}, r"unknown option 'encodr.width' \(did you mean 'encoder.width'\?\)"),
        ({"protocol": "", "suite": "paper", "targets": ()}, "no --targets"),
        ({"protocol": "", "suite": "paper", "targets": ("cras",)}, "did you mean 'cars'"),
        ({"protocol": "", "suite": "core", "targets": ("cars",)}, "suite core belongs to a protocol"),
        (
            {"protocol": "weak", "targets": ("cub",), "methods": ("relationnet-lft",)},
            "relationnet-lft does not go with",
        ),
        ({"protocol": "weak", "targets": ("cub",), "methods": ("protonet-single",)}, "protonet is that row"),
        (
            {"protocol": "", "suite": "paper", "targets": ("cars",), "methods": ("protonet-single",)},
            "no single source is named: give --single_source",
        ),
    ],
)
def test_what_cannot_be_is_said(
    planned: Callable[..., tuple[Plan, list[str]]], changes: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        planned(**changes)
