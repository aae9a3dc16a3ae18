"""The user's options win over the protocol's, and those over the preset's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rotogbml.cli import main
from rotogbml.config import EncoderConfig, EpisodeConfig, HomogenizerConfig, MethodConfig, ReweightConfig, RunConfig
from rotogbml.errors import UsageError
from rotogbml.options import typed_names
from rotogbml.presets import PRESETS
from rotogbml.protocols import create_protocol
from rotogbml.training.protocol import apply
from rotogbml.training.resolve import resolve
from rotogbml.training.run import RunFolder

Given = Callable[..., RunConfig]


def values(config: RunConfig) -> dict[str, Any]:
    assert config.homogenizer is not None
    return {
        "steps": config.steps,
        "shift": config.shift,
        "n_way": config.episodes.n_way,
        "k_shot": config.episodes.k_shot,
        "n_query": config.episodes.n_query,
        "tasks": config.episodes.tasks_per_batch,
        "mix": config.episodes.mix,
        "encoder": config.encoder.name,
        "beta": None if config.homogenizer.reweight is None else config.homogenizer.reweight.beta,
    }


def test_a_protocol_fills_what_nobody_gives(nine: Path, given: Given) -> None:
    strong = resolve(apply(given(nine, protocol="strong", target="cars")))
    assert values(strong) == {
        "steps": 60_000,
        "shift": "strong",
        "n_way": 5,
        "k_shot": 1,
        "n_query": 15,
        "tasks": 4,
        "mix": "one-source-per-task",
        "encoder": "resnet10",
        "beta": 1.5,
    }
    assert (strong.holdout, strong.whole, strong.validate_on) == (["cars"], [], ["miniimagenet"])
    weak = resolve(apply(given(nine, protocol="weak", target="cub")))
    assert values(weak) == values(strong) | {
        "shift": "weak",
        "mix": "single-source",
        "encoder": "conv4",
        "beta": 0.1,
    }
    assert weak.holdout == ["cars", "chestx", "cropdiseases", "eurosat", "isic", "miniimagenet", "places", "plantae"]
    assert weak.validate_on == ["cub"]
    bscd = resolve(apply(given(nine, protocol="bscd-fsl")))
    assert values(bscd) == values(weak) | {
        "steps": 40_000,
        "k_shot": 5,
        "n_query": 16,
        "tasks": 1,
        "encoder": "resnet10",
    }
    assert bscd.validate_on == []


def test_steps_follow_the_shots_that_the_user_gives(nine: Path, given: Given) -> None:
    five = apply(given(nine, protocol="strong", target="cars", episodes=EpisodeConfig(k_shot=5)))
    assert (five.steps, five.episodes.k_shot) == (40_000, 5)
    # one shot is also where nobody gives any: the protocol's five, unless it is insisted on
    closer = given(nine, protocol="closer-look", episodes=EpisodeConfig(k_shot=1))
    assert apply(closer).episodes.k_shot == 5
    insisted = apply(closer, ["episodes.k_shot"])
    assert (insisted.steps, insisted.episodes.k_shot) == (60_000, 1)


def test_the_user_wins_over_the_protocol(nine: Path, given: Given) -> None:
    changes: dict[str, Any] = {
        "steps": 7,
        "episodes": EpisodeConfig(n_way=3, k_shot=2, n_query=4, tasks_per_batch=2, mix="uniform", augment="none"),
        "encoder": EncoderConfig(name="resnet12", width=8),
        "homogenizer": HomogenizerConfig(ReweightConfig(beta=0.5)),
        "holdout": ["eurosat"],
        "validate_on": ["cub"],
    }
    c = apply(given(nine, protocol="strong", target="cars", **changes))
    for name in ("steps", "episodes", "encoder", "validate_on"):
        assert getattr(c, name) == changes[name]
    assert c.homogenizer is not None
    assert c.homogenizer.reweight is not None
    assert c.homogenizer.reweight.beta == 0.5
    assert c.holdout == ["cars", "eurosat"]


def test_an_option_as_the_default_wins_where_it_is_insisted_on(nine: Path, given: Given) -> None:
    conv4 = given(nine, protocol="strong", target="cars", encoder=EncoderConfig(name="conv4", width=8))
    assert apply(conv4).encoder == EncoderConfig(name="resnet10", width=8)
    assert apply(conv4, ["encoder.name"]).encoder == EncoderConfig(name="conv4", width=8)


def test_the_protocol_wins_over_the_preset_and_leaves_the_rest_to_it(nine: Path, given: Given) -> None:
    """With weak under the paper's preset: beta and mix of weak, all else the preset's."""
    alone = resolve(given(nine, preset="paper", shift="weak"))
    weak = resolve(apply(given(nine, preset="paper", protocol="weak", target="cub")))
    for group in ("encoder", "learner", "isi", "outer", "homogenizer"):
        assert getattr(weak, group) == getattr(alone, group)
    mini = resolve(apply(given(nine, protocol="strong", target="cub", readings=_pool("mini-only"))))
    assert mini.homogenizer is not None
    assert mini.homogenizer.reweight is not None
    # one source: the shift is weak, but beta stays the strong setting's
    assert (mini.shift, mini.homogenizer.reweight.beta, mini.homogenizer.reweight.slots) == ("weak", 1.5, "position")


def _pool(name: Any) -> Any:
    from rotogbml.protocols import ReadingsConfig

    return ReadingsConfig(pool=name)


@pytest.mark.parametrize("homogenizer", [None, HomogenizerConfig(None), HomogenizerConfig(combine="pcgrad")])
def test_beta_is_not_set_where_there_is_no_omega(
    homogenizer: HomogenizerConfig | None, nine: Path, given: Given
) -> None:
    c = resolve(apply(given(nine, protocol="strong", target="cars", homogenizer=homogenizer)))
    assert c.homogenizer is None or c.homogenizer.reweight is None


def test_a_compared_method_gets_no_omega_from_a_protocol(nine: Path, given: Given) -> None:
    """The protocol's β would count as an option of RotoGBML, and turn it on beside the method."""
    config = given(nine, protocol="strong", target="cars", method=MethodConfig("protonet"))
    resolved = resolve(apply(config))
    assert resolved.homogenizer is None
    assert resolved.encoder.name == "resnet10"


def test_the_shift_of_a_protocol_agrees_with_the_presets() -> None:
    for name, target in (("weak", "cub"), ("strong", "cub")):
        protocol = create_protocol(name, target)
        assert getattr(PRESETS["reweight.beta"].paper, protocol.shift) == protocol.beta
        assert getattr(PRESETS["episodes.mix"].paper, protocol.shift) == protocol.mix


def test_without_a_protocol_nothing_changes(nine: Path, given: Given) -> None:
    plain = given(nine)
    assert apply(plain) == plain
    for changes in ({"target": "cub"}, {"suite": "core"}, {"allow_missing": True}, {"readings": _pool("all8")}):
        with pytest.raises(UsageError, match="belongs to a protocol, and none is named"):
            apply(given(nine, **changes))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--steps", "3", "--encoder.name", "conv4"], ["encoder.name", "steps"]),
        (["--encoder.name=conv4"], ["encoder.name"]),
        (["--episodes", '{"k_shot": 1, "n_way": 5}', "--isi", "null"], ["episodes.k_shot", "episodes.n_way", "isi"]),
        ([], []),
    ],
)
def test_what_was_typed_is_known(arguments: list[str], names: list[str]) -> None:
    assert typed_names(arguments, []) == names


def test_what_a_file_gives_is_known(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({"steps": 2, "encoder": {"name": "conv4"}, "isi": None}))
    assert typed_names(["--seed", "1"], [file]) == ["encoder.name", "isi", "seed", "steps"]


def options(pack: Path) -> list[str]:
    return [
        *("--sources", str(pack), "--threads", "1", "--encoder.width", "4", "--steps", "2"),
        *("--episodes.n_way", "2", "--episodes.n_query", "2", "--learner.inner_steps", "1"),
        *("--outer.validate_every", "1", "--outer.validation_episodes", "2"),
    ]


def test_on_the_command_line_conv4_wins_although_it_is_the_default(nine: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = ["--protocol", "strong", "--target", "cars", "--encoder", "conv4"]
    assert main(["train", *options(nine), *given, "--out", str(run)]) == 0
    assert RunFolder(run).read_config().encoder.name == "conv4"


def test_the_configuration_keeps_protocol_and_values_and_makes_the_run_again(nine: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    given = ["--protocol", "strong", "--target", "birds", "--encoder", "conv4", "--pool", "natural4"]
    assert main(["train", *options(nine), *given, "--out", str(first)]) == 0
    tree = yaml.safe_load((first / "config.yaml").read_text())
    assert (tree["protocol"], tree["target"], tree["suite"]) == ("strong", "cub", "paper")
    assert tree["readings"] == {
        "pool": "natural4",
        "draw": "without-replacement",
        "unsplit": "all",
        "source": None,
        "test": "novel",
        "validation": "mini",
        "evaluation": "lrp",
        "size": 224,
        "groups": None,
    }
    assert tree["homogenizer"]["reweight"]["beta"] == 1.5
    assert tree["holdout"] == ["chestx", "cropdiseases", "cub", "eurosat", "isic"]
    assert tree["validate_on"] == ["miniimagenet"]
    command = ["train", "--config", str(first / "config.yaml"), "--threads", "1", "--out", str(again)]
    assert main(command) == 0
    assert dataclasses.asdict(RunFolder(again).read_config()) == dataclasses.asdict(RunFolder(first).read_config())
    metrics = [(run / "metrics.jsonl").read_bytes() for run in (first, again)]
    assert metrics[0] == metrics[1]
    assert json.loads((first / "run.json").read_text())["packs"].keys() == {"cars", "miniimagenet", "places", "plantae"}
    # and the same command goes on with the run that is there
    assert main(["train", *options(nine), *given, "--steps", "3", "--out", str(first)]) == 0


@pytest.mark.parametrize(
    ("option", "value"),
    [("protocol", "weak"), ("target", "cars"), ("suite", "core"), ("readings.pool", "all8"), ("readings.size", "42")],
)
def test_another_protocol_over_a_configuration_of_one_is_refused(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    readings = {"pool": "natural4", "size": 84}
    file.write_text(yaml.safe_dump({"protocol": "strong", "target": "cub", "suite": "paper", "readings": readings}))
    command = ["train", "--sources", "pack", "--out", "run", "--config", str(file), f"--{option}", value]
    assert main(command) == 2
    assert f"--{option} {value} over {file}, which was filled for {option}" in capsys.readouterr().err
