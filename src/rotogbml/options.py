"""The options of a run that a preset fills: how the help lists them, and where a file and a preset disagree."""

from __future__ import annotations

import contextlib
import textwrap
import typing
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any

from rotogbml import method_presets
from rotogbml.config import HomogenizerConfig, IsiConfig, ReweightConfig, RotateConfig
from rotogbml.errors import UsageError
from rotogbml.learner_presets import OPTIONS, OWN
from rotogbml.presets import PRESETS, ByShift, value
from rotogbml.protocols import ReadingsConfig, dataset_named

PARTS = {
    "homogenizer.reweight": ReweightConfig,
    "homogenizer.rotate": RotateConfig,
    "homogenizer": HomogenizerConfig,
    "isi": IsiConfig,
}
"""Groups that can be off: the parser knows what is in them, but lists none of it."""

_TITLES = {
    "homogenizer.reweight": "omega, one weight a task (--homogenizer.reweight off)",
    "homogenizer.rotate": "gamma, one rotation a task (--homogenizer.rotate off)",
    "homogenizer": "a rival in omega's place",
    "isi": "ISI, invariant self-information (--isi off)",
}
_SHORT = """\
in short:
  --learner anil        the inner loop moves the head alone
  --homogenizer none    neither omega nor gamma
  --isi off             nothing is dropped
  --isi on, --homogenizer on
                        on again, over a --config in which they are off
"""


OF_PROTOCOL = ("protocol", "target", "suite", *(f"readings.{f.name}" for f in fields(ReadingsConfig)))
"""Options by which a protocol fills a configuration."""


def names() -> list[str]:
    """Return the dotted names of the groups and options in ``PARTS``."""
    return [f"{prefix}.{f.name}" for prefix, group in PARTS.items() for f in fields(group)]


def chosen_by_preset(name: str) -> str:
    """Return what the presets choose for a field such as ``learner.inner_lr``; empty where they do not."""
    if name == "method.name":
        return ", ".join(method_presets.METHODS)
    own = [f"{learner}: {_spelt(values[name].value)}" for learner, values in OWN.items() if name in values]
    own += [f"{m}: {_spelt(values[name].value)}" for m, values in method_presets.OWN.items() if name in values]
    options = OPTIONS | method_presets.OPTIONS
    if name in options:
        option = options[name]
        if option.value is None:
            return f"of {', '.join(option.owners)}"
        paper = [] if option.paper is None else [f"paper: {_spelt(option.paper)}"]
        return "; ".join([f"of {', '.join(option.owners)}: {_spelt(option.value)}", *paper])
    if name not in PRESETS:
        return "; ".join(own)
    ours, papers = (_spelt(part) for part in PRESETS[name][:2])
    said = [f"preset: {ours}"] if ours == papers else [f"preset: {ours}", f"paper: {papers}"]
    return "; ".join([*said, *own])


def help_of_parts(width: int) -> str:
    """Return the help of every option in ``PARTS``, and of what is often typed, in lines of up to ``width``."""
    return "\n".join(["", *(line for prefix in PARTS for line in _help_of(prefix, width)), _SHORT])


def refuse_another_preset(files: Sequence[Path], given: dict[str, str]) -> None:
    """Refuse a preset, a shift or a learner that differs from the one by which a configuration file was filled.

    Args:
        files: what ``--config`` names.
        given: ``preset``, ``shift`` and ``learner.name`` as the command line has them, where it has them.

    Raises:
        UsageError: they differ; the fields to give instead are named.
    """
    import yaml

    for file in files:
        tree = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        group = tree.get("learner")
        learner = group.get("name") if isinstance(group, dict) else None
        if learner is not None and given.get("learner.name", learner) != learner:
            raise UsageError(
                f"--learner {given['learner.name']} over {file}, which was filled for {learner}: leave --learner out, "
                "or start without --config"
            )
        there: dict[str, Any] = {"preset": tree.get("preset", "default"), "shift": tree.get("shift", "strong")}
        for name in ("preset", "shift"):
            wanted = given.get(name, tree.get(name))
            if tree.get(name, wanted) != wanted:
                here: dict[str, Any] = there | {name: wanted}
                changes = [
                    f"--{_option(field)} {_spelt(value(field, **here))}"
                    for field in PRESETS
                    if value(field, **here) != value(field, **there)
                ]
                changes += [
                    f"--{field} {_spelt(option.paper if wanted == 'paper' else option.value)}"
                    for field, option in OPTIONS.items()
                    if name == "preset" and option.paper is not None and learner in option.owners
                ]
                raise UsageError(
                    f"--{name} {wanted} only fills fields that are not set, and {file} was filled with {name} "
                    f"{tree[name]}: leave --{name} out and change the fields themselves: {' '.join(changes)}"
                )


def refuse_another_protocol(files: Sequence[Path], given: dict[str, str]) -> None:
    """Refuse a protocol, a target, a suite or a reading that differs from the one a configuration file was filled for.

    Args:
        files: what ``--config`` names.
        given: those of ``OF_PROTOCOL`` as the command line has them, where it has them.

    Raises:
        UsageError: they differ.
    """
    import yaml

    for file in files:
        tree = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        for name, wanted in given.items():
            # An alias such as birds is the same target.
            meant = dataset_named(wanted).name if name == "target" else wanted
            group, _, member = name.rpartition(".")
            values = (tree.get(group) or {}) if group else tree
            if str(values.get(member, meant)) != meant:
                there = "none" if values[member] is None else values[member]
                raise UsageError(
                    f"--{name} {wanted} over {file}, which was filled for {name} {there}: leave --{name} out, or start "
                    "without --config"
                )


def typed_names(arguments: Sequence[str], files: Sequence[Path]) -> list[str]:
    """Return the dotted names of the options that stand on the command line or in a configuration file."""
    import yaml

    names: set[str] = set()
    for argument, following in pairwise([*arguments, ""]):
        flag, equals, given = argument.partition("=")
        if flag.startswith("--"):
            names |= set(_leaves(flag[2:], given if equals else following))
    for file in files:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        names |= set(_dotted(tree, "") if isinstance(tree, dict) else ())
    return sorted(names)


def _leaves(name: str, given: str) -> Iterator[str]:
    """Return an option's name, or those in the group that is given as a whole."""
    import yaml

    tree = None
    if given.startswith("{"):
        with contextlib.suppress(yaml.YAMLError):
            tree = yaml.safe_load(given)
    yield from _dotted(tree, f"{name}.") if isinstance(tree, dict) else (name,)


def _dotted(tree: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, inner in tree.items():
        yield from _dotted(inner, f"{prefix}{name}.") if isinstance(inner, dict) else (f"{prefix}{name}",)


def _option(field: str) -> str:
    return f"homogenizer.{field}" if f"homogenizer.{field.split('.')[0]}" in PARTS else field


def _help_of(prefix: str, width: int) -> Iterator[str]:
    from docstring_parser import parse_from_object

    group = PARTS[prefix]
    yield f"{_TITLES[prefix]}:"
    types = typing.get_type_hints(group)
    for said in parse_from_object(group).params:
        if f"{prefix}.{said.arg_name}" in PARTS:
            continue  # a group of its own
        chosen = chosen_by_preset(f"{prefix.split('.')[-1]}.{said.arg_name}")
        text = " ".join(str(said.description).split()) + (f" ({chosen})" if chosen else "")
        yield f"  --{prefix}.{said.arg_name} {_kind(types[said.arg_name])}"
        yield from textwrap.wrap(text, width, initial_indent=" " * 24, subsequent_indent=" " * 24)
    yield ""


def _kind(hint: Any) -> str:
    """Return ``{mean,sum}``, ``FLOAT``, ``{INT,all}``: what may be given."""
    kinds = [part for part in (typing.get_args(hint) or (hint,)) if part is not NoneType]
    said: list[str] = []
    for kind in kinds:
        choices = typing.get_origin(kind) is typing.Literal
        said += map(str, typing.get_args(kind)) if choices else [getattr(kind, "__name__", str(kind)).upper()]
    return said[0] if len(said) == 1 else f"{{{','.join(said)}}}"


def _spelt(chosen: Any) -> str:
    if isinstance(chosen, ByShift):
        return f"{_spelt(chosen.weak)} if weak, {_spelt(chosen.strong)} if strong"
    return str(chosen).lower() if isinstance(chosen, bool) else str(chosen)
