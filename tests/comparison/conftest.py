"""Packs under the names of the stand-ins, options under which a step takes milliseconds, and trainings in process."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rotogbml.comparison.declared import Asked
from rotogbml.studies import pool
from rotogbml.studies.cell import Work, carry_out
from rotogbml.studies.plan import Rung
from rotogbml.studies.pool import Found

WritePack = Callable[..., Path]
SPLIT = {"train": range(6), "val": range(6, 11), "test": range(11, 16)}
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
