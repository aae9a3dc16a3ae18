"""What a compared method makes of a configuration, and how a row calls it."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from rotogbml import method_presets, presets
from rotogbml.config import HomogenizerConfig, IsiConfig, LearnerConfig, RotateConfig, RunConfig
from rotogbml.errors import UsageError
from rotogbml.methods import HUB


def trains(config: RunConfig) -> bool:
    """Say whether there is anything to train."""
    return config.method.name not in method_presets.UNTRAINED


def of_method(c: RunConfig) -> RunConfig:
    """Return the configuration with a compared method's own values, and without what does not go with it.

    ω and ISI are off unless an option of them is given; γ does not go with a method, nor does ω where there are no
    tasks.

    Raises:
        UsageError: no such method, an option of another method, or options that contradict each other.
    """
    name = c.method.name
    if name is None:
        given = [f.name for f in dataclasses.fields(c.method) if getattr(c.method, f.name) is not None]
        if given:
            raise UsageError(f"--method.{given[0]} is of a compared method: name one with --method")
        return c
    method_presets.check_name(name)
    if c.learner != LearnerConfig():
        raise UsageError(f"{name} has no inner loop: leave --learner and its options out")
    if c.head is not None:
        raise UsageError(f"{name} has a head of its own: leave --head {c.head} out")

    def settle(part: Any, group: str, name: str = name) -> Any:
        fields = [f.name for f in dataclasses.fields(part) if f.name != "name"]
        return dataclasses.replace(
            part, **{f: method_presets.settle(name, f"{group}.{f}", getattr(part, f)) for f in fields}
        )

    method = settle(c.method, "method")
    _check(name, method, brings_weights(c))
    start = method.start
    if start is not None and not start.startswith(HUB):
        method = dataclasses.replace(method, start=os.path.abspath(start))  # noqa: PTH100
    episodes = c.episodes
    unequal = {"label_noise": episodes.label_noise, "weights": episodes.weights}
    for option, given in unequal.items():
        if given and (name in (*method_presets.ON_IMAGES, *method_presets.ON_PAIRS) or not trains(c)):
            raise UsageError(f"episodes.{option} is of tasks drawn one by one, and {name} draws none: leave it out")
    _check_mix(c, method.source)
    if method.source is not None:
        episodes = dataclasses.replace(episodes, mix="single-source")
    changes: dict[str, Any] = {"method": method, "episodes": episodes, "outer": settle(c.outer, "outer")}
    if ":" not in c.encoder.name:
        changes["encoder"] = settle(c.encoder, "encoder")
        if name in method_presets.RELATION and c.encoder.name == "conv4":
            # What the literature compares maps of: conv4's own has 5 × 5 positions at 84 px.
            changes["encoder"] = dataclasses.replace(changes["encoder"], name="conv4-np")
        if changes["encoder"].norm == "per-step":
            raise UsageError(f"norm per-step has a scale for each inner step, and {name} has none: take support")
    if not trains(c):
        changes |= {"steps": 0, "minutes": None}
    return dataclasses.replace(c, **changes, homogenizer=_homogenizer(c), isi=_isi(c))


def _check_mix(c: RunConfig, source: str | None) -> None:
    """Refuse a mix of the sources where it says nothing; a protocol's is of all that train by it."""
    name, mix = c.method.name, c.episodes.mix
    if c.protocol is not None or mix in (None, presets.value("episodes.mix", c.preset, c.shift)):
        return
    if source is not None and mix == "single-source":  # as this file itself has settled it
        return
    pairs = name in method_presets.ON_PAIRS
    if pairs or name in method_presets.ON_IMAGES or not trains(c):
        draws = "pairs of tasks of two sources" if pairs else "images"
        raise UsageError(f"episodes.mix is {mix}, and {name} draws {draws}: leave it out")
    if source is not None:
        raise UsageError(f"episodes.mix is {mix}, and {name} trains on {source} alone: leave one of the two out")


def brings_weights(config: RunConfig) -> bool:
    """Say whether a method that needs weights to begin with takes those that the user's encoder is built with."""
    name, start = config.method.name, config.method.start
    return start is None and name in method_presets.BRINGS_START and ":" in config.encoder.name


def _check(name: str, method: Any, brings: bool) -> None:
    if method.start is None and name in method_presets.NEEDS_START and not brings:
        own = ", or an encoder of your own with its weights, --encoder package.module:factory"
        raise UsageError(
            f"{name} begins with weights: give --method.start, a run folder or a file"
            f"{own if name in method_presets.BRINGS_START else ''} (untrained there is random-frozen and "
            "random-finetuned)"
        )
    for option, least in (("test_epochs", 0), ("test_batch", 1), ("inner_steps", 0)):
        value = getattr(method, option)
        if value is not None and value < least:
            raise UsageError(f"method.{option} is {value}: it must be at least {least}")
    for option in ("test_lr", "inner_lr"):
        value = getattr(method, option)
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"method.{option} is {value}: it must be above 0")


def _homogenizer(c: RunConfig) -> HomogenizerConfig | None:
    h, name = c.homogenizer, c.method.name
    if h is None or h == HomogenizerConfig():
        return None
    if h.rotate not in (None, RotateConfig()):
        raise UsageError(f"gamma turns the features of a learner's tasks, and {name} is none: leave its options out")
    if name in (*method_presets.ON_IMAGES, *method_presets.UNTRAINED):
        raise UsageError(f"omega weighs tasks, and {name} has none in training: take --homogenizer none")
    return dataclasses.replace(h, rotate=None)


def _isi(c: RunConfig) -> IsiConfig | None:
    if c.isi is None or c.isi == IsiConfig() or not trains(c):
        return None
    if c.isi.side not in (None, "both"):
        raise UsageError(
            f"isi.side is {c.isi.side}, and {c.method.name} sees support and queries in one pass, or images without "
            "either: leave it out"
        )
    return c.isi


def compared_name(config: RunConfig) -> str:
    """Return what a result row calls a run of a compared method, such as ``protonet (single-source alpha)``."""
    method = config.method
    assert method.name is not None
    details = [
        "" if method.source is None else f"single-source {method.source}",
        method.loss or "",
        method.solver or "",
        f"hard tasks every {method.hard_tasks}" if method.hard_tasks else "",
        "" if method.start is None else f"from {os.path.basename(method.start.rstrip('/'))}",  # noqa: PTH119
        f"with the weights of {config.encoder.name}" if brings_weights(config) else "",
        "norm as published" if config.encoder.norm == method_presets.AS_PUBLISHED else "",
        "bf16" if config.encoder.precision == "bf16-mixed" else "",
    ]
    said = ", ".join(detail for detail in details if detail)
    return method.name + (f" ({said})" if said else "")
