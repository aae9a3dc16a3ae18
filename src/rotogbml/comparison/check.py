"""What each training will be, found out before any begins: its configuration, and whether its sources can serve it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch

from rotogbml import method_presets
from rotogbml.config import RunConfig
from rotogbml.errors import UsageError, did_you_mean
from rotogbml.evaluation.asked import asked_of, default_targets
from rotogbml.evaluation.work import Test
from rotogbml.sources.packed import PackedSource
from rotogbml.studies.plan import Cell, Plan
from rotogbml.training.assemble import assemble
from rotogbml.training.compared import trains
from rotogbml.training.protocol import apply
from rotogbml.training.resolve import resolve
from rotogbml.training.sources import open_sources

_OFF = ("off", "none", "null", "false", None, False)
_NOWHERE = "weights that are trained first"
"""In place of a start that is not there yet."""


def configuration(plan: Plan, cell: Cell, sources: list[str]) -> RunConfig:
    """Return the resolved configuration of a cell's training, as ``rotogbml train`` makes it; of a length of its own.

    Raises:
        UsageError: options that cannot be, or do not go together.
    """
    options = {**plan.options, **plan.learners[cell.learner], **plan.settings[cell.setting]}
    own: dict[str, Any] = {"holdout": [cell.target]}
    if plan.protocol:
        own = {"protocol": plan.protocol, "suite": plan.suite, "target": cell.target}
    own |= {"episodes.k_shot": cell.k_shot, "seed": cell.seed, "steps": 1}
    if cell.setting in plan.starts:
        own["method.start"] = _NOWHERE
    given = RunConfig.blank(sources)
    for name, value in (options | own).items():
        given = _with(given, name, value)
    return resolve(apply(given, list(options | own)))


def _with(config: Any, name: str, value: Any, whole: str = "") -> Any:
    """Return a configuration with one option changed, by its dotted name; a group's word is its ``name``, or off."""
    first, _, rest = name.replace("-", "_").partition(".")
    known = [f.name for f in dataclasses.fields(config)]
    if first not in known:
        raise UsageError(f"no option '{whole or name}'{did_you_mean(first, known)}")
    there = getattr(config, first)
    if rest:
        if there is None:
            raise UsageError(f"option '{whole or name}' belongs to a part that is off")
        value = _with(there, rest, value, whole or name)
    elif dataclasses.is_dataclass(there) and isinstance(value, Mapping):
        for key, part in value.items():
            there = _with(there, key, part, f"{name}.{key}")
        value = there
    elif first in ("homogenizer", "isi", "reweight", "rotate"):
        value = None if value in _OFF else there
    elif dataclasses.is_dataclass(there) and isinstance(value, str):
        value = dataclasses.replace(there, name=value)  # type: ignore[type-var]
    return dataclasses.replace(config, **{first: value})


def images_of(config: RunConfig) -> tuple[int, int]:
    """Return a and b of the a + b·k_shot training images that a step sees; nothing is trained: 0 and 0."""
    e, name = config.episodes, config.method.name
    if not trains(config):
        return 0, 0
    if name in method_presets.ON_IMAGES:
        return e.tasks_per_batch * (config.method.batch_size or 0), 0
    tasks = e.tasks_per_batch * (2 if name in method_presets.ON_PAIRS else 1)
    return tasks * e.n_way * e.n_query, tasks * e.n_way


def trained_on(config: RunConfig, sources: Collection[str]) -> list[str]:
    """Return which of the sources at hand a configuration trains on."""
    return sorted(name for name in sources if name not in config.holdout)


def check_cells(plan: Plan, cells: Iterable[Cell], sources: list[str]) -> None:
    """Build what each setting trains and is tested on, and let it go: what cannot be is said before anything trains.

    Raises:
        UsageError: a method and a target or a source do not go together.
    """
    found = open_sources(sources)
    seen = set()
    for cell in cells:
        key = cell.setting, cell.target, cell.k_shot
        if key in seen:
            continue
        seen.add(key)
        try:
            config = configuration(plan, cell, sources)
            if cell.setting in plan.starts:  # its start is trained first; weights of the user's are read here
                config = dataclasses.replace(config, method=dataclasses.replace(config.method, start=None))
            assemble(config, torch.device("cpu"))
            _check_test(plan, cell, config, found)
        except UsageError as error:
            raise UsageError(
                f"{cell.setting} does not go with target {cell.target}: {error}; or leave it out (--without "
                f"{cell.setting})"
            ) from error


def _check_test(plan: Plan, cell: Cell, config: RunConfig, found: Mapping[str, PackedSource]) -> None:
    """Raise UsageError where the target has not the classes or images that its test takes."""
    name = default_targets(config, found)[0] if plan.protocol else cell.target
    source, split = found[name], asked_of(config, found).split(name, "auto")
    if split == "auto":
        split = "test" if source.classes_of("test") else "all"
    Test(source, split, config.episodes.n_way, cell.k_shot, plan.test.n_query, plan.test.seed).sampler()
