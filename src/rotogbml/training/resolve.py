"""From what the user gave to a configuration with every choice made."""

from __future__ import annotations

import dataclasses
import math
import os
import types
import typing
from typing import Any, Literal

from rotogbml import learner_presets, presets
from rotogbml.config import HomogenizerConfig, ReweightConfig, RotateConfig, RunConfig
from rotogbml.errors import UsageError, did_you_mean
from rotogbml.training.compared import of_method, trains
from rotogbml.training.sources import GLYPHS

DEFAULT_STEPS = 10_000
_LARGEST_RATE = 1e30
"""Beyond it Adam's own numbers leave float32."""


def resolve(config: RunConfig) -> RunConfig:
    """Return the configuration with every choice made: presets filled in, budget and augmentation settled.

    Raises:
        UsageError: numbers that cannot be.
    """
    check_choices(config)
    config = of_method(config)
    # Absolute, so that a run can be tested from anywhere.
    where = [name if name == GLYPHS else os.path.abspath(name) for name in config.sources]  # noqa: PTH100
    c = dataclasses.replace(config, sources=where)
    if c.steps is None and c.minutes is None:
        c = dataclasses.replace(c, steps=DEFAULT_STEPS)
    no_steps = trains(c) and c.steps is not None and c.steps < 1
    if no_steps or (c.minutes is not None and not 0 < c.minutes < math.inf):
        raise UsageError(f"steps is {c.steps}, minutes is {c.minutes}: give a positive number of one of them")
    episodes = c.episodes
    if episodes.augment is None and c.sources == [GLYPHS]:
        episodes = dataclasses.replace(episodes, augment="shape-safe")
    for name in ("log_every", "validate_every", "validation_episodes"):
        if getattr(c.outer, name) < 1:
            raise UsageError(f"outer.{name} is {getattr(c.outer, name)}: it must be at least 1")

    if not c.outer.checkpoint_seconds >= 0:
        raise UsageError(f"outer.checkpoint_seconds is {c.outer.checkpoint_seconds}: it must be 0 (each step) or more")
    if c.encoder.width < 1:
        raise UsageError(f"encoder.width is {c.encoder.width}: it must be at least 1")

    def fill(part: Any, group: str) -> Any:
        return None if part is None else presets.fill(part, group, c.preset, c.shift)

    compared = c.method.name is not None
    c = dataclasses.replace(c if compared else _of_learner(c), homogenizer=_with_rival(c.homogenizer))
    head = presets.value("head", c.preset, c.shift) if c.head is None and not compared else c.head
    if head in presets.TURNING and c.homogenizer is not None and c.homogenizer.rotate is not None:
        rotate = c.homogenizer.rotate
        if rotate.rotate_support is None:
            rotate = dataclasses.replace(rotate, rotate_support=False)
        c = dataclasses.replace(c, homogenizer=dataclasses.replace(c.homogenizer, rotate=rotate))
    phase = None if c.homogenizer is None else c.homogenizer.phase
    if phase is not None and not 0 <= phase[0] < phase[1] <= 1:
        raise UsageError(f"homogenizer.phase is {list(phase)}: give two shares of training, such as [0, 0.5]")
    outer = fill(c.outer, "outer")
    if not 0 <= outer.clamp < math.inf:
        raise UsageError(f"outer.clamp is {outer.clamp}: it must be above 0, or 0 for none")
    if outer.keep_best < 1:
        raise UsageError(f"outer.keep_best is {outer.keep_best}: it must be at least 1")
    if not 0 <= outer.average < 1:
        raise UsageError(f"outer.average is {outer.average}: it must be below 1, or 0 for none")
    if not 0 <= outer.sam < math.inf:
        raise UsageError(f"outer.sam is {outer.sam}: it must be above 0, or 0 for none")
    if not 0 < outer.meta_lr <= _LARGEST_RATE:
        raise UsageError(f"outer.meta_lr is {outer.meta_lr}: it must be above 0 and at most {_LARGEST_RATE:g}")
    return dataclasses.replace(
        c,
        episodes=fill(episodes, "episodes"),
        encoder=fill(c.encoder, "encoder"),
        head=head,
        learner=c.learner if compared else fill(c.learner, "learner"),
        homogenizer=fill(c.homogenizer, "homogenizer"),
        isi=fill(c.isi, "isi"),
        outer=outer,
    )


def _with_rival(homogenizer: HomogenizerConfig | None) -> HomogenizerConfig | None:
    """Return the homogenizer with a rival of ω alone: ω off, and γ too where the user set none of its options.

    Raises:
        UsageError: an option of ω was set beside a rival.
    """
    if homogenizer is None or homogenizer.combine is None:
        return homogenizer
    if homogenizer.reweight not in (None, ReweightConfig()):
        given = next(name for name, value in vars(homogenizer.reweight).items() if value is not None)
        raise UsageError(
            f"homogenizer.combine={homogenizer.combine} takes the place of omega, but homogenizer.reweight.{given} is "
            "set: add --homogenizer.reweight off, or leave combine out"
        )
    rotate = None if homogenizer.rotate == RotateConfig() else homogenizer.rotate
    return dataclasses.replace(homogenizer, reweight=None, rotate=rotate)


def _of_learner(c: RunConfig) -> RunConfig:
    """Return the configuration with the learner's own values where the user gave none.

    Raises:
        UsageError: an unknown learner, an option of another learner, or options that contradict each other.
    """
    name = c.learner.name
    learner_presets.check_name(name)
    if c.encoder.norm in ("moving", "as-published"):
        raise UsageError(
            f"norm {c.encoder.norm} is for compared methods (--method): {name}'s code family takes batch, and support "
            "judges each query without the others"
        )

    def settle(part: Any, group: str) -> Any:
        return dataclasses.replace(
            part,
            **{
                f.name: learner_presets.settle(name, f"{group}.{f.name}", getattr(part, f.name), c.preset)
                for f in dataclasses.fields(part)
                if f"{group}.{f.name}" in learner_presets.OPTIONS or getattr(part, f.name) is None
            },
        )

    if name == "reptile" and c.outer.optimizer == "adam":
        raise UsageError("reptile's outer step is a share of the way, by sgd: leave --outer.optimizer adam out")
    # A module of the user's normalises as it was built to: no learner chooses that for it.
    own = ":" in c.encoder.name
    encoder = c.encoder if own else settle(c.encoder, "encoder")

    return dataclasses.replace(
        c,
        learner=settle(c.learner, "learner"),
        encoder=encoder,
        outer=settle(c.outer, "outer"),
        head=learner_presets.settle(name, "head", c.head),
    )


def check_choices(config: Any, prefix: str = "") -> None:
    """Check every field that allows only certain words; the command line does so by itself, Python does not.

    Raises:
        UsageError: a field holds none of its words.
    """
    for name, hint in typing.get_type_hints(type(config)).items():
        given = getattr(config, name)
        if dataclasses.is_dataclass(given):
            check_choices(given, f"{prefix}{name}.")
            continue
        allowed = _alternatives(hint)
        words = [word for part in allowed if typing.get_origin(part) is Literal for word in typing.get_args(part)]
        if isinstance(given, str) and words and given not in words and str not in allowed:
            known = ", ".join(map(str, words))
            raise UsageError(f"{prefix}{name} cannot be '{given}'{did_you_mean(given, words)}: there are {known}")


def _alternatives(hint: Any) -> list[Any]:
    """Return the members of a union, or the one type there is."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [part for member in typing.get_args(hint) for part in _alternatives(member)]
    return [hint]
