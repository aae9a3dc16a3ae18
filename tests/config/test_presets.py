"""What is chosen where the user chooses nothing, and that the user's choice wins."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from rotogbml import presets
from rotogbml.cli import main
from rotogbml.config import (
    EncoderConfig,
    EpisodeConfig,
    HomogenizerConfig,
    IsiConfig,
    LearnerConfig,
    OuterConfig,
    ReweightConfig,
    RotateConfig,
    RunConfig,
)
from rotogbml.errors import UsageError
from rotogbml.learner_presets import OPTIONS
from rotogbml.presets import PRESETS, SWITCHES, ByShift, Preset, Shift
from rotogbml.training.run import RunFolder
from rotogbml.training.verb import resolve

BOTH = list(itertools.product(get_args(Preset), get_args(Shift)))
UNSET = {
    *("learner.test_steps", "reweight.fixed", "rotate.rotation_dim", "homogenizer.combine", "homogenizer.clip"),
    *(name for name, option in OPTIONS.items() if "maml" not in option.owners),
    "episodes.label_noise",
    "episodes.weights",
    "homogenizer.phase",
}
"""Fields in which nothing is a choice of its own."""


def config(**changes: Any) -> RunConfig:
    return RunConfig(**({"sources": ["pack"]} | changes))


def fields(part: Any, group: str) -> Iterator[tuple[str, Any]]:
    for f in dataclasses.fields(part):
        value = getattr(part, f.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f.name)
        else:
            yield f"{group}.{f.name}", value


def every_field(resolved: RunConfig) -> dict[str, Any]:
    groups = ("episodes", "encoder", "learner", "homogenizer", "isi", "outer")
    return {"head": resolved.head} | dict(item for group in groups for item in fields(getattr(resolved, group), group))


@pytest.mark.parametrize(("preset", "shift"), BOTH)
def test_every_field_that_is_left_open_is_filled_from_the_table(preset: Preset, shift: Shift) -> None:
    before, after = every_field(config()), every_field(resolve(config(preset=preset, shift=shift)))
    for name, value in after.items():
        if name in UNSET:
            assert value is None
        elif before[name] is None:
            chosen = OPTIONS[name].value if name in OPTIONS else getattr(PRESETS[name], preset)
            assert value == (getattr(chosen, shift) if isinstance(chosen, ByShift) else chosen), name
        else:
            assert value == before[name]
    assert {name for name in before if before[name] is None} == set(PRESETS) | set(OPTIONS) | UNSET


def test_every_choice_has_a_reason_and_names_a_field() -> None:
    known = every_field(config())
    for name, choice in PRESETS.items():
        assert name in known
        assert choice.reason.endswith(".")


@pytest.mark.parametrize(("preset", "shift"), BOTH)
def test_what_is_switched_on_under_either_preset_is_as_the_table_says(preset: Preset, shift: Shift) -> None:
    resolved = resolve(config(preset=preset, shift=shift))
    on = {"homogenizer": resolved.homogenizer is not None, "isi": resolved.isi is not None}
    for name, choice in SWITCHES.items():
        assert choice.default == choice.paper
        assert choice.reason.endswith(".")
        if name in on:
            assert (choice.default == "on") == on.pop(name)
    assert not on
    assert resolved.homogenizer.combine is SWITCHES["homogenizer.combine"].default


def test_the_shift_sets_mix_beta_and_slots_and_nothing_else() -> None:
    weak, strong = (every_field(resolve(config(shift=shift))) for shift in ("weak", "strong"))
    assert {name: (weak[name], strong[name]) for name in weak if weak[name] != strong[name]} == {
        "episodes.mix": ("single-source", "by-classes"),
        "reweight.beta": (0.1, 1.5),
        "homogenizer.slots": ("position", "source"),
        "reweight.slots": ("position", "source"),
        "rotate.slots": ("position", "source"),
    }


def test_ours_and_the_papers_differ_in_these_fields() -> None:
    ours, paper = (every_field(resolve(config(preset=preset))) for preset in ("default", "paper"))
    assert {name: (ours[name], paper[name]) for name in ours if ours[name] != paper[name]} == {
        "episodes.mix": ("by-classes", "one-source-per-task"),
        "reweight.relative_loss": ("mean", "sum"),
        "reweight.slots": ("source", "position"),
        "rotate.align": ("shared", "rotated"),
        "rotate.decay": (0.9999, 1.0),
        "rotate.slots": ("source", "position"),
        "rotate.rotate_support": (True, False),
        "rotate.update": ("plane", "gradient"),
        "isi.layers": (2, "all"),
        "isi.radius": (2, 3),
        "isi.normalize": ("image", "batch"),
        "outer.average": (0.998, 0.0),
    }


@pytest.mark.parametrize(("preset", "shift"), BOTH)
def test_what_the_user_gives_wins(preset: Preset, shift: Shift) -> None:
    given = config(
        preset=preset,
        shift=shift,
        episodes=EpisodeConfig(mix="uniform", augment="none"),
        learner=LearnerConfig(inner_lr=0.5, inner_steps=1, first_order=True),
        homogenizer=HomogenizerConfig(
            ReweightConfig(beta=0.0, relative_loss="sum", update="closed-form", lr=0.0, slots="minibatch"),
            RotateConfig(align="rotated", lr=0.0, decay=0.5, slots="minibatch", rotate_support=False),
        ),
        isi=IsiConfig(layers=0, rate=0.0, T="inf", radius=0, bandwidth=2.0, patch=1, normalize="batch"),
        outer=OuterConfig(meta_lr=0.5),
    )
    before, after = every_field(given), every_field(resolve(given))
    assert {name: value for name, value in after.items() if before[name] is not None} == {
        name: value for name, value in before.items() if value is not None
    }


@pytest.mark.parametrize("wanted", [None, True, False])
def test_a_fresh_rotation_leaves_the_support_alone_unless_asked(wanted: bool | None) -> None:
    given = RotateConfig(slots="minibatch", rotate_support=wanted)
    found = resolve(config(homogenizer=HomogenizerConfig(rotate=given))).homogenizer
    assert found is not None
    assert found.rotate is not None
    assert found.rotate.rotate_support is bool(wanted)


def test_a_part_that_is_off_stays_off() -> None:
    off = resolve(config(homogenizer=None, isi=None))
    assert off.homogenizer is None
    assert off.isi is None
    half = resolve(config(homogenizer=HomogenizerConfig(reweight=None)))
    assert half.homogenizer is not None
    assert half.homogenizer.reweight is None
    assert half.homogenizer.rotate is not None


def test_resolving_twice_changes_nothing_and_the_given_tree_is_left_alone() -> None:
    given = config()
    once = resolve(given)
    assert resolve(once) == once
    assert given == config()


def test_characters_are_never_mirrored_unless_asked() -> None:
    assert resolve(config(sources=["glyphs"])).episodes.augment == "shape-safe"
    asked = EpisodeConfig(augment="closer-look")
    assert resolve(config(sources=["glyphs"], episodes=asked)).episodes.augment == "closer-look"


def test_the_budget_is_ten_thousand_steps_where_none_is_given() -> None:
    assert resolve(config()).steps == 10_000
    timed = resolve(config(minutes=2.0))
    assert (timed.steps, timed.minutes) == (None, 2.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"minutes": 0.0}, "minutes is 0.0"),
        ({"minutes": float("nan")}, "minutes is nan"),
        ({"outer": OuterConfig(log_every=0)}, "outer.log_every is 0: it must be at least 1"),
        ({"outer": OuterConfig(validate_every=-1)}, "outer.validate_every is -1"),
        ({"outer": OuterConfig(validation_episodes=0)}, "outer.validation_episodes is 0"),
        ({"outer": OuterConfig(meta_lr=-1.0)}, "outer.meta_lr is -1.0: it must be above 0"),
        ({"encoder": EncoderConfig(width=0)}, "encoder.width is 0: it must be at least 1"),
    ],
)
def test_numbers_that_cannot_be_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve(config(**changes))
    assert said in str(error.value)


def test_value_reads_the_table() -> None:
    assert presets.value("reweight.beta", "paper", "weak") == 0.1
    assert presets.value("isi.layers", "paper", "weak") == "all"


@pytest.mark.parametrize(
    "more",
    [
        ["--episodes.k_shot", "[1, 2]", "--isi.T", "inf"],
        ["--preset", "paper", "--shift", "weak", "--learner", "anil"],
        ["--homogenizer", "none", "--isi", "off"],
        ["--homogenizer.reweight", "off"],
    ],
)
def test_a_runs_own_configuration_gives_the_same_run(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    def digest() -> str:
        return capsys.readouterr().out.split("digest ")[1][:16]

    assert main(["train", *tiny, *more, "--steps", "2", "--out", str(tmp_path / "a")]) == 0
    first = digest()
    again = ["train", "--config", str(tmp_path / "a/config.yaml"), "--threads", "1", "--out", str(tmp_path / "b")]
    assert main(again) == 0
    assert digest() == first
    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (tmp_path / "b/metrics.jsonl").read_bytes()
    assert RunFolder(tmp_path / "a").read_config() == RunFolder(tmp_path / "b").read_config()
    # an option beside it wins
    assert main([*again[:-1], str(tmp_path / "c"), "--seed", "1"]) == 0
    assert RunFolder(tmp_path / "c").read_config().seed == 1
    assert digest() != first
