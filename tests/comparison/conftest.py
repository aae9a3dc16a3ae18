"""Packs under the names of the stand-ins, options under which a step takes milliseconds, and trainings in process."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rotogbml.comparison.declared import Asked, comparison_plan
from rotogbml.studies import pool
from rotogbml.studies.cell import Work, carry_out
from rotogbml.studies.ledger import Ledger
from rotogbml.studies.plan import Cell, Plan, Rung
from rotogbml.studies.pool import Found
from rotogbml.training.sources import open_sources

WritePack = Callable[..., Path]
SPLIT = {"train": range(6), "val": range(6, 11), "test": range(11, 16)}
METHODS = ("pixels", "finetune", "skd-gen1", "protonet", "protonet-single", "maml")
LEVEL = {"pixels": 0.3, "protonet": 0.6, "maml": 0.5, "rotogbml-maml": 0.52}
"""How often made-up answers are right; 0.4 where nothing is said."""
SMALL = {
    "encoder.name": "conv4",
    "encoder.width": 4,
    "episodes.n_query": 2,
    "episodes.tasks_per_batch": 2,
    "outer.validation_episodes": 2,
}


@pytest.fixture(scope="session")
def stand_ins(write_pack: WritePack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pack of the suite core at 16 px."""
    split = ["imagenet", "birds", "cars", "scenes", "plants", "cropdisease"]
    root = write_pack(tmp_path_factory.mktemp("compared") / "pack", split, images=(7,) * 16, splits=SPLIT)
    return write_pack(root, ["eurosat", "isic", "chestx"], images=(7,) * 6, splits={"all": range(6)})


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Return options of ``rotogbml compare`` under which it takes seconds."""
    return ["--episodes", "4", "--n_query", "2", "--seeds", "1", "--options", json.dumps(SMALL)]


class Inline:
    """A pool of this process: no time is spent on starting others."""

    workers = 1

    def __init__(self, *_: Any) -> None:
        pass

    def run(self, works: Sequence[Work]) -> Iterator[Found]:
        """Carry out one after the other."""
        for work in works:
            work.folder.mkdir(parents=True, exist_ok=True)
            said = io.StringIO()
            try:
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                    found = carry_out(work)
                yield work, found
            except SystemExit:
                yield work, said.getvalue().strip().splitlines()[-1]


@pytest.fixture(scope="session")
def inline_for() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Return a context in which trainings are carried out in this process."""

    @contextlib.contextmanager
    def context() -> Generator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pool, "Cores", Inline)
            yield

    return context


@pytest.fixture
def inline(inline_for: Callable[[], contextlib.AbstractContextManager[None]]) -> Iterator[None]:
    """Carry out trainings in this process."""
    with inline_for():
        yield


@pytest.fixture
def asked() -> Callable[..., Asked]:
    """Return a function that makes what a user asked for."""

    def make(**changes: Any) -> Asked:
        given: dict[str, Any] = {
            "protocol": "strong",
            "suite": "core",
            "targets": ("cars", "eurosat"),
            "methods": ("all",),
            "without": (),
            "ours": "rotogbml-maml",
            "budget": Rung(steps=4),
            "seeds": 2,
            "k_shot": (1,),
            "episodes": 4,
            "n_query": 2,
            "single_source": None,
            "start": None,
            "untrained": False,
            "options": SMALL,
        }
        return Asked(**(given | changes))

    return make


def correct(plan: Plan, cell: Cell) -> dict[str, np.ndarray]:
    found = {}
    for kind in plan.test.checkpoints:
        untrained = kind == "untrained"
        rng = np.random.default_rng([cell.seed, cell.k_shot, len(cell.target), len(cell.setting), int(untrained)])
        level = 0.25 if untrained else LEVEL.get(cell.setting, 0.4)
        found[kind] = (rng.random((plan.test.episodes, 10)) < level).mean(1)
    return found


def told(cell: Cell) -> dict[str, Any]:
    """Return what an outcome says of its training: cost and two validations, or that there was none."""
    trained = cell.setting not in ("pixels", "finetune")
    sources = ["imagenet"] if "single" in cell.setting else ["a", "b", "imagenet"]
    return {
        "steps": 4 if trained else 0,
        "norm": "group",
        "sources": [] if cell.setting == "pixels" else sources,
        "seconds": 3.0,
        "cost": {
            "parameters": 1000,
            "memory": 2**28,
            "training_seconds": 10.0 + cell.seed if trained else 0.0,
            "validation_seconds": [5.0, 10.0] if trained else [],
            "adapt_seconds": 0.02,
            "predict_seconds": 0.001,
        },
        "validation": [[2, 0.3, 0.01], [4, 0.39 + 0.01 * cell.k_shot, 0.01]] if trained else [],
    }


@pytest.fixture
def made(
    asked: Callable[..., Asked],
    stand_ins: Path,
    outcome: Callable[..., dict[str, Any]],
    ledger_of: Callable[..., Ledger],
    tmp_path: Path,
) -> Callable[..., Ledger]:
    """Return a function that makes a ledger in which all is done but what ``lacks`` says."""

    def make(lacks: Callable[[Cell], bool] = lambda _: False, **changes: Any) -> Ledger:
        given = {"methods": METHODS, "episodes": 200, "untrained": True} | changes
        plan, _ = comparison_plan(asked(**given), [str(stand_ins)], open_sources([str(stand_ins)]))
        cells = [cell for cell in plan.cells(plan.rungs[0]) if not lacks(cell)]
        outcomes = [outcome(plan, cell, correct(plan, cell), **told(cell)) for cell in cells]
        return ledger_of(plan, tmp_path / "results.jsonl", outcomes)

    return make
