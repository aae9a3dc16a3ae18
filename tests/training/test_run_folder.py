"""Whose a run folder is, and who may go on in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from rotogbml.config import HomogenizerConfig, IsiConfig, LearnerConfig, ReweightConfig, RunConfig
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.sources.packed import PackedSource, open_pack
from rotogbml.training.naming import method_name
from rotogbml.training.run import RunFolder, config_from, flat

Configure = Callable[..., RunConfig]


@pytest.fixture
def sources(pack: Path) -> dict[str, PackedSource]:
    return open_pack(pack)


@pytest.fixture
def claimed(configure: Configure, sources: dict[str, PackedSource], tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.claim(configure(), sources, 582, resume=True)
    return folder


def test_it_keeps_the_resolved_configuration_and_what_it_was_made_of(
    claimed: RunFolder, configure: Configure, sources: dict[str, PackedSource]
) -> None:
    assert claimed.read_config() == configure()
    record = json.loads(claimed.record.read_text())
    assert record["sources"] == {name: source.digest for name, source in sources.items()}
    assert record["size"] == 16
    assert record["parameters"] == 582
    assert record["command"].startswith("rotogbml train --config ")


def test_the_same_run_may_go_on_and_may_be_longer(
    claimed: RunFolder, configure: Configure, sources: dict[str, PackedSource]
) -> None:
    claimed.claim(configure(), sources, 582, resume=True)
    longer = configure(steps=99, minutes=3.0)
    claimed.claim(longer, sources, 582, resume=True)
    assert claimed.read_config() == longer
    with pytest.raises(UsageError, match="already holds a run and --resume false was given: choose another --out"):
        claimed.claim(configure(), sources, 582, resume=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 7}, "seed is 0 there, 7 here"),
        ({"shift": "weak"}, "episodes.mix is one-source-per-task there, single-source here"),
        ({"learner": LearnerConfig(inner_lr=0.5, inner_steps=2)}, "learner.inner_lr is 0.2 there, 0.5 here"),
        ({"homogenizer": None}, "homogenizer.reweight.beta is 1.5 there, None here"),
        ({"homogenizer": HomogenizerConfig(rotate=None)}, "homogenizer.rotate.align is shared there, None here"),
        ({"isi": None}, "isi.T is 0.5 there, None here"),
    ],
)
def test_another_run_is_refused_by_the_option_that_differs(
    claimed: RunFolder, configure: Configure, sources: dict[str, PackedSource], changes: dict[str, Any], said: str
) -> None:
    before = claimed.config.read_bytes()
    with pytest.raises(UsageError) as error:
        claimed.claim(configure(**changes), sources, 582, resume=True)
    assert f"holds another run ({said}): choose another --out" in str(error.value)
    assert claimed.config.read_bytes() == before


def test_other_pixels_other_splits_and_other_sources_are_refused(
    configure: Configure, write_pack: Callable[..., Path], tmp_path: Path
) -> None:
    here = tmp_path / "pack"
    write_pack(here, ["alpha", "beta"])
    folder = RunFolder(tmp_path / "run")
    folder.claim(configure(), open_pack(here), 582, resume=True)

    def refused(name: str) -> None:
        with pytest.raises(UsageError, match=f"images or classes of '{name}' are not those .* put that pack back"):
            folder.claim(configure(), open_pack(here), 582, resume=True)

    folder.claim(configure(), open_pack(here), 582, resume=True)
    write_pack(here, ["beta"], images=[13] + [12] * 9)
    refused("beta")
    write_pack(here, ["beta"])
    folder.claim(configure(), open_pack(here), 582, resume=True)
    write_pack(here, ["alpha"], splits={"train": range(2, 8), "val": range(2), "test": range(8, 10)})
    refused("alpha")
    write_pack(here, ["alpha", "new"])
    refused("new")
    shutil.rmtree(here / "new")
    shutil.rmtree(here / "alpha")
    refused("alpha")


def test_a_folder_of_other_files_is_refused_and_left_alone(
    configure: Configure, sources: dict[str, PackedSource], tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=f"{tmp_path} holds files but no run: choose another --out"):
        RunFolder(tmp_path).claim(configure(), sources, 582, resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match=r"thesis\.tex is a file: choose another --out"):
        RunFolder(tmp_path / "thesis.tex").claim(configure(), sources, 582, resume=True)
    with pytest.raises(RotogbmlError, match=r"cannot write .*thesis\.tex/run/config\.yaml: Not a directory"):
        RunFolder(tmp_path / "thesis.tex" / "run").claim(configure(), sources, 582, resume=True)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_an_empty_folder_and_one_that_a_kill_left_at_once_may_be_taken(
    configure: Configure, sources: dict[str, PackedSource], tmp_path: Path
) -> None:
    RunFolder(tmp_path).claim(configure(), sources, 582, resume=True)
    (tmp_path / "config.yaml").rename(tmp_path / ".config.yaml.partial")
    (tmp_path / "run.json").unlink()
    RunFolder(tmp_path).claim(configure(), sources, 582, resume=True)
    # killed after the configuration, before the record
    (tmp_path / "run.json").unlink()
    RunFolder(tmp_path).claim(configure(), sources, 582, resume=True)
    assert (tmp_path / "run.json").exists()


@pytest.mark.parametrize("content", [b"", b"a: [1", b"- 1\n", b"seed: 3\n", b"\xff\xfe", b"sources: 3\nepisodes: 4\n"])
def test_a_configuration_that_cannot_be_read_is_named(claimed: RunFolder, content: bytes) -> None:
    claimed.config.write_bytes(content)
    with pytest.raises(UsageError, match=r"config\.yaml cannot be read as a run's configuration"):
        claimed.read_config()


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(UsageError, match=f"{path} is no run folder .* make one with 'rotogbml train'"):
            RunFolder(path).read_config()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json cannot be read"):
        RunFolder(tmp_path).read_record()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"homogenizer": None, "isi": None},
        {"homogenizer": HomogenizerConfig(reweight=None)},
        {"isi": IsiConfig(T="inf", layers="all")},
        {"preset": "paper", "shift": "weak"},
    ],
)
def test_a_configuration_survives_its_file(
    configure: Configure, sources: dict[str, PackedSource], tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = configure(**changes)
    config = replace(config, episodes=replace(config.episodes, k_shot=(1, 3)), sources=["päck", "ラオ"])
    RunFolder(tmp_path).claim(config, sources, 582, resume=True)
    assert RunFolder(tmp_path).read_config() == config
    assert config_from(asdict(config)) == config


def test_flat_joins_keys_and_treats_pairs_alike() -> None:
    assert flat({"a": {"b": 1, "c": {"d": (1, 2)}}, "e": None}) == {"a.b": 1, "a.c.d": [1, 2], "e": None}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "maml + RotoGBML"),
        ({"homogenizer": None, "isi": None}, "maml"),
        ({"learner": LearnerConfig("anil", first_order=True), "homogenizer": None}, "anil (first order) + ISI"),
        ({"homogenizer": HomogenizerConfig(rotate=None), "isi": None}, "maml + ω"),
        ({"homogenizer": HomogenizerConfig(ReweightConfig()), "isi": None}, "maml + ω + γ"),
    ],
)
def test_a_method_is_named_by_its_parts(configure: Configure, changes: dict[str, Any], name: str) -> None:
    assert method_name(configure(**changes)) == name
