"""The sources of a run: which packs are opened, what is held out, what is left to train on."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace

from rotogbml.config import RunConfig
from rotogbml.errors import UsageError, did_you_mean
from rotogbml.sources.packed import PackedSource, open_pack
from rotogbml.training.compared import trains

log = logging.getLogger(__name__)

GLYPHS = "glyphs"


def open_sources(names: list[str]) -> dict[str, PackedSource]:
    """Open packs by path, and the embedded data by the name ``glyphs`` (made on first use).

    Raises:
        UsageError: a path is no pack, two packs name the same source, or their image sizes differ.
    """
    sources: dict[str, PackedSource] = {}
    for name in names:
        if name == GLYPHS:
            from rotogbml.sources.glyphs import glyphs

            pack = open_pack(glyphs())
        else:
            pack = open_pack(name)
        for key, source in pack.items():
            if key in sources:
                raise UsageError(f"source '{key}' stands in {sources[key].path} and in {source.path}: leave one out")
            sources[key] = source
    sizes = {source.size: key for key, source in sources.items()}
    if len(sizes) > 1:
        said = ", ".join(f"'{key}' {size} px" for size, key in sorted(sizes.items()))
        raise UsageError(f"the sources differ in image size ({said}): pack them with one --size")
    return sources


def hold_out(sources: dict[str, PackedSource], holdout: list[str]) -> dict[str, PackedSource]:
    """Return the training sources: all but those held out.

    Raises:
        UsageError: a held-out name is unknown, or nothing is left.
    """
    for name in holdout:
        if name not in sources:
            raise UsageError(
                f"no source '{name}' to hold out{did_you_mean(name, sources)}: there are {', '.join(sources)}"
            )
    training = {name: source for name, source in sources.items() if name not in holdout}
    if not training:
        raise UsageError(f"every source is held out ({', '.join(holdout)}): leave at least one to train on")
    return training


def default_holdout(names: list[str]) -> list[str]:
    """Return what is held out where the user names nothing: whole scripts of the embedded data, else nothing."""
    if names != [GLYPHS]:
        return []
    from rotogbml.sources.glyphs import HOLDOUT

    return list(HOLDOUT)


def whole(source: PackedSource, names: Collection[str] = ()) -> PackedSource:
    """Return a source of too few classes to split, or one of ``names``, with all its classes for training."""
    if set(source.splits) == {"all"}:
        return replace(source, splits={"train": source.splits["all"]})
    if source.name in names:
        return replace(source, splits={"train": source.classes_of("all")})
    return source


def training_sources(config: RunConfig, found: dict[str, PackedSource]) -> dict[str, PackedSource]:
    """Return the training sources; none where nothing is trained.

    Raises:
        UsageError: as by ``hold_out``, or the one source to train on is not among them.
    """
    if not trains(config):
        return {}
    training = {name: whole(s, config.whole) for name, s in hold_out(found, config.holdout).items()}
    alone = config.method.source
    if alone is not None:
        if alone not in training:
            raise UsageError(
                f"no source '{alone}' to train on{did_you_mean(alone, training)}: there are {', '.join(training)}"
            )
        training = {alone: training[alone]}
    return training


def check_named(config: RunConfig, found: Collection[str]) -> None:
    """Refuse names in ``whole`` and ``validate_on`` that no source has.

    Raises:
        UsageError: there is such a name.
    """
    for option, names in (("whole", config.whole), ("validate_on", config.validate_on or [])):
        for name in names:
            if name not in found:
                raise UsageError(
                    f"{option}: no source '{name}'{did_you_mean(name, found)}: there are {', '.join(found)}"
                )


def without_held_out(training: dict[str, PackedSource], held: list[PackedSource]) -> dict[str, PackedSource]:
    """Leave out of the training sources what also stands in a held-out one, and say how much it was.

    Raises:
        UsageError: none is held out.
    """
    from rotogbml.sources.overlap import without

    if not held:
        raise UsageError("drop_overlap compares with held-out sources, and none is held out: name one with --holdout")
    kept = without(training, held)
    said = ", ".join(f"{name} {len(source.left_out):,}" for name, source in kept.items() if source.left_out)
    log.warning("images that stand in a held-out source too are left out of training: %s", said or "there are none")
    return kept
