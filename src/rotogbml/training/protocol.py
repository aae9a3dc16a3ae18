"""A protocol on the packs at hand: an ordinary configuration, and where a run departs from its protocol.

The user's options win over the protocol's, and those over the preset's. The configuration that comes of it names what
is held out, trained whole and validated on: nothing is left for later.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping
from typing import Any

from rotogbml.config import RunConfig, changed
from rotogbml.errors import UsageError
from rotogbml.protocols import Part, Protocol, ReadingsConfig, create_protocol
from rotogbml.protocols.conventions import VALIDATION_EPISODES
from rotogbml.protocols.datasets import SPLIT_OF, find
from rotogbml.protocols.protocol import groups_in_words
from rotogbml.sources.packed import PackedSource
from rotogbml.training.sources import open_sources

log = logging.getLogger(__name__)

_BETA = "homogenizer.reweight.beta"
_GROUPS = "episodes.respect_groups"


def protocol_of(config: RunConfig) -> Protocol | None:
    """Return the protocol that a configuration names, with its readings; None where it names none."""
    if config.protocol is None:
        return None
    return create_protocol(config.protocol, config.target, config.suite, config.readings)


def apply(config: RunConfig, insist: Collection[str] = ()) -> RunConfig:
    """Return the configuration with the protocol's choices where the user made none; as it is without a protocol.

    Args:
        config: as the user gave it; not resolved yet.
        insist: dotted names of options that are the user's although they are as the default.

    Raises:
        UsageError: no such protocol, a dataset is missing, or one has no classes of the kind that is wanted.
    """
    protocol = protocol_of(config)
    if protocol is None:
        _refuse_parts_of_none(config)
        return config
    found = open_sources(config.sources)
    where = {name: source for name in protocol.needs() if (source := _find(protocol, name, found)) is not None}
    _tell_missing(protocol, where, found, allowed=config.allow_missing)
    _check_classes(protocol, where, found)

    training = {where[part.dataset]: part for part in protocol.training if part.dataset in where}
    judges = [where[part.dataset] for part in protocol.validation if part.dataset in where]
    judges = [name for name in judges if name not in config.holdout]
    whole = {name for name, part in training.items() if part.classes == "all" and set(found[name].splits) != {"all"}}
    if protocol.validation and not judges:
        log.warning("none of %s is there to validate on: the training sources are", _names(protocol.validation))
    c = dataclasses.replace(
        config,
        target=protocol.target or None,
        readings=ReadingsConfig(**protocol.readings),
        holdout=sorted({*config.holdout, *(name for name in found if name not in training)}),
        whole=sorted({*config.whole, *whole}),
        validate_on=_judges(config, protocol, judges),
    )
    options = protocol.options(_k_shot(c, protocol, insist))
    options["episodes.k_shot"] = _k_shot(c, protocol, insist)
    for name, value in options.items():
        if not _is_given(c, name, insist):
            c = changed(c, name, value)
    return c


def departures(config: RunConfig, size: int, trained_on: Collection[str]) -> list[str]:
    """Return where a run is not what its protocol says, a phrase each; empty where it is, and without a protocol.

    Args:
        config: resolved.
        size: side of its images, pixels.
        trained_on: names of the sources it trains on.
    """
    protocol = protocol_of(config)
    if protocol is None:
        return []
    said = []
    absent = [p.dataset for p in protocol.training if _find(protocol, p.dataset, trained_on) is None]
    if absent:
        said.append(f"without {', '.join(absent)}")
    if size != protocol.size:
        said.append(f"{size} px for {protocol.size}")
    for name, value in protocol.options(config.episodes.k_shot).items():
        here = _get(config, name)
        if name == _GROUPS and here != value:
            said.append(f"groups {groups_in_words(here)} for {groups_in_words(value)}")
        elif here is not None and here != value:
            said.append(f"{name} {here} for {value}")
    shots = (protocol.k_shot, *protocol.steps)
    if config.episodes.k_shot not in shots:
        said.append(f"{config.episodes.k_shot}-shot for {' or '.join(map(str, sorted(set(shots))))}")
    if config.minutes is not None:
        said.append(f"at most {config.minutes:g} minutes")
    judged = config.outer.validation_episodes
    if protocol.validation and judged != VALIDATION_EPISODES:
        said.append(f"chosen by {judged} episodes for {VALIDATION_EPISODES}")
    if protocol.validation and config.validate_on is None:
        said.append("validated on the training sources")
    return said


def unlike_published(protocol: Protocol, sources: Mapping[str, PackedSource]) -> list[str]:
    """Return which sources are not the dataset as published, by counts and splits; of stand-ins by splits alone."""
    said = []
    for part in {part.dataset: part for part in _parts(protocol)}.values():
        source = find(part.of, protocol.suite, sources)
        if source is None:
            continue
        dataset, packed = part.of, sources[source]
        images = int(packed.offsets[-1])
        by_split = any(p.classes != "all" for p in _parts(protocol) if p.dataset == part.dataset)
        counts = tuple(len(packed.classes_of(split)) for split in ("train", "val", "test"))
        unsplit = by_split and not counts[1] and not counts[2]
        if unsplit:
            said.append(f"{source}: not split, so all its classes")
        if protocol.suite == "core":
            continue
        if len(packed.classes) != dataset.classes:
            said.append(f"{source}: {len(packed.classes)} of {dataset.classes} classes")
        elif by_split and not unsplit and dataset.split is not None and counts != dataset.split:
            here, there = ("/".join(map(str, each)) for each in (counts, dataset.split))
            said.append(f"{source}: {here} classes to train, validate and test for {there}")
        if len(packed.classes) == dataset.classes and dataset.images is not None:
            if images < 0.95 * dataset.images:
                said.append(f"{source}: {images:,} of {dataset.images:,} images")
            elif images > 1.05 * dataset.images:
                said.append(f"{source}: {images:,} images, more than {dataset.images:,}")
    return said


def announcement(config: RunConfig, sources: Mapping[str, PackedSource]) -> list[str]:
    """Return what to say of the protocol before training starts, a line each."""
    protocol = protocol_of(config)
    if protocol is None:
        return []
    target = f", target {protocol.target}" if protocol.target else ""
    suite = ", STAND-INS in place of the paper's datasets" if protocol.suite == "core" else ""
    lines = [f"protocol {protocol.name}{target}{suite}: {protocol.title}"]
    size = next(iter(sources.values())).size
    departs = departures(config, size, sources)
    lines += [f"departs from it: {'; '.join(departs)}"] if departs else []
    less = unlike_published(protocol, sources)
    return lines + ([f"not as published: {'; '.join(less)}"] if less else [])


def _parts(protocol: Protocol) -> tuple[Part, ...]:
    return (*protocol.training, *protocol.validation, *protocol.evaluation.parts)


def _find(protocol: Protocol, name: str, sources: Collection[str]) -> str | None:
    dataset = next(part.of for part in _parts(protocol) if part.dataset == name)
    return find(dataset, protocol.suite, sources)


def _names(parts: Collection[Part]) -> str:
    return ", ".join(part.dataset for part in parts)


def _refuse_parts_of_none(config: RunConfig) -> None:
    """Refuse options of a protocol where none is named."""
    empty = {"target": None, "suite": "paper", "allow_missing": False, "readings": type(config.readings)()}
    for name, value in empty.items():
        if getattr(config, name) != value:
            raise UsageError(f"{name} belongs to a protocol, and none is named: add --protocol, or leave it out")


def _tell_missing(protocol: Protocol, where: Mapping[str, str], found: Collection[str], *, allowed: bool) -> None:
    """Say which datasets are not among the sources.

    Raises:
        UsageError: some are not, and that is not allowed; or no training dataset is.
    """
    missing = []
    for name in protocol.needs():
        if name not in where:
            part = next(p for p in _parts(protocol) if p.dataset == name)
            uses = [
                use
                for use, parts in (
                    ("training", protocol.training),
                    ("validation", protocol.validation),
                    ("test", protocol.evaluation.parts),
                )
                if any(p.dataset == name for p in parts)
            ]
            missing.append(f"{name} ({' and '.join(uses)}; packed as {' or '.join(part.of.names(protocol.suite))})")
    if not missing:
        return
    said = f"protocol {protocol.name} lacks {len(missing)} of {len(protocol.needs())} datasets: {', '.join(missing)}"
    there = f"the packs hold {', '.join(sorted(found))}"
    if not any(part.dataset in where for part in protocol.training):
        raise UsageError(f"{said}; that is all it trains on, {there}: name packs that have them with --sources")
    if not allowed:
        raise UsageError(
            f"{said}; {there}: name packs that have them with --sources, or add --allow-missing to go on with the "
            "rest, marked as such"
        )
    log.warning("%s: going on with the rest", said)


def _check_classes(protocol: Protocol, where: Mapping[str, str], found: Mapping[str, PackedSource]) -> None:
    """Raise UsageError where one source is to be trained and tested on and has no classes of its own for each."""
    trained = {part.dataset for part in protocol.training}
    for part in (*protocol.validation, *protocol.evaluation.parts):
        if part.dataset in trained and part.dataset in where and part.classes != "all":
            source = found[where[part.dataset]]
            if not source.classes_of(SPLIT_OF[part.classes]) and part in protocol.evaluation.parts:
                raise UsageError(
                    f"protocol {protocol.name} trains and tests on disjoint classes of '{source.name}', but "
                    f"{source.path} has no {SPLIT_OF[part.classes]} classes: pack it with --split FILE.json"
                )


def _judges(config: RunConfig, protocol: Protocol, judges: list[str]) -> list[str] | None:
    """Return what is validated on: the user's, else the protocol's, else (none of it is there) as without one."""
    if config.validate_on is not None:
        return config.validate_on
    return judges if judges or not protocol.validation else None


def _k_shot(config: RunConfig, protocol: Protocol, insist: Collection[str]) -> int | tuple[int, int]:
    return config.episodes.k_shot if _is_given(config, "episodes.k_shot", insist) else protocol.k_shot


def _is_given(config: RunConfig, name: str, insist: Collection[str]) -> bool:
    """Say whether an option is the user's: named as such, or other than where nobody gives it."""
    if name in insist:
        return True
    if name == _BETA:
        h = config.homogenizer
        # A compared method stands in place of RotoGBML, a rival in place of ω; where ω is off there is nothing to set.
        return (
            config.method.name is not None
            or h is None
            or h.reweight is None
            or h.combine is not None
            or h.reweight.beta is not None
        )
    value = _get(config, name)
    return value is not None and value != _default(config, name)


def _default(config: RunConfig, name: str) -> Any:
    if name == "shift":
        return "strong"
    group, _, field = name.rpartition(".")
    if not group:
        return None
    return next(f.default for f in dataclasses.fields(getattr(config, group)) if f.name == field)


def _get(config: RunConfig, name: str) -> Any:
    """Return an option by its dotted name; None where its group is off."""
    value: Any = config
    for part in name.split("."):
        value = None if value is None else getattr(value, part)
    return value
