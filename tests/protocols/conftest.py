"""Packs of made-up sources under the names of the paper's datasets, and of those that stand in for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rotogbml.config import (
    RunConfig,
)
from rotogbml.protocols.datasets import NATURAL, UNSPLIT

WritePack = Callable[..., Path]
SPLIT = {"train": range(6), "val": range(6, 11), "test": range(11, 16)}


@pytest.fixture(scope="session")
def nine(write_pack: WritePack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pack of the nine: natural ones with 6 + 5 + 5 classes, the others with 6 and no split."""
    root = write_pack(tmp_path_factory.mktemp("nine") / "pack", NATURAL, images=(7,) * 16, splits=SPLIT)
    return write_pack(root, UNSPLIT, images=(7,) * 6, splits={"all": range(6)})


@pytest.fixture(scope="session")
def stand_ins(write_pack: WritePack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pack of the suite core, where the crops are split as packing splits fifteen classes."""
    split = ["imagenet", "birds", "cars", "scenes", "plants", "cropdisease"]
    root = write_pack(tmp_path_factory.mktemp("core") / "pack", split, images=(7,) * 16, splits=SPLIT)
    return write_pack(root, ["eurosat", "isic", "chestx"], images=(7,) * 6, splits={"all": range(6)})


@pytest.fixture
def given() -> Callable[..., RunConfig]:
    """Return a function that makes a configuration in which the user chose nothing but what it is given."""

    def make(sources: Path | str, **changes: Any) -> RunConfig:
        return RunConfig([str(sources)], **changes)

    return make
