"""What no protocol may do, with any reading, on any target: train on what it tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rotogbml.config import EncoderConfig, EpisodeConfig, RunConfig
from rotogbml.errors import UsageError
from rotogbml.evaluation.asked import asked_of, default_targets
from rotogbml.evaluation.seen import Seen, honest_split
from rotogbml.protocols import ReadingsConfig, list_protocols, targets_of
from rotogbml.protocols.datasets import UNSPLIT
from rotogbml.sources.packed import PackedSource, open_pack, pack_digest
from rotogbml.training.assemble import Parts, assemble
from rotogbml.training.protocol import apply
from rotogbml.training.resolve import resolve

Given = Callable[..., RunConfig]
SMALL: dict[str, Any] = {"episodes": EpisodeConfig(n_query=2, augment="none"), "encoder": EncoderConfig(width=4)}
INSIST = ["episodes.n_query", "encoder.name"]


def cases() -> Iterator[tuple[str, str | None, ReadingsConfig]]:
    pools = ("all8", "natural4", "mini-only")
    for name in list_protocols():
        for target in targets_of(name):
            if name == "weak" and target in UNSPLIT:
                continue
            if name == "strong" and target in ("cub", "cropdiseases"):
                for pool, unsplit, judge in itertools.product(pools, ("all", "base"), ("mini", "sources", "last")):
                    yield name, target, ReadingsConfig(pool=pool, unsplit=unsplit, validation=judge)
            else:
                yield name, target, ReadingsConfig()
    yield "strong", "cub", ReadingsConfig(draw="with-replacement", test="all")
    yield "closer-look", None, ReadingsConfig(source="base", validation="mini")
    yield "bscd-fsl", None, ReadingsConfig(validation="mini")
    yield "cdfsl", None, ReadingsConfig(validation="last")


def built(config: RunConfig) -> Parts:
    return assemble(resolve(apply(config, INSIST)), torch.device("cpu"))


def drawn(parts: Parts, steps: int) -> set[tuple[str, str]]:
    """Return (source, class) of everything that some minibatches train on."""
    episodes = [episode for step in range(steps) for episode in parts.sampler.batch(step)]
    return {(episode.source, name) for episode in episodes for name in episode.classes}


def under_test(parts: Parts, found: dict[str, PackedSource]) -> set[tuple[str, str]]:
    """Return (source, class) of everything that evaluation may draw, by its own rule."""
    asked = asked_of(parts.config, found)
    pixels = {name: source.digest for name, source in parts.sources.items()}
    packs = {name: pack_digest({name: source}) for name, source in parts.sources.items()}
    judged = tuple(name for name in parts.config.validate_on or () if name in parts.config.holdout)
    seen = Seen("run", pixels, packs, tuple(parts.config.whole), judged)
    classes = set()
    for name in default_targets(parts.config, found):
        split = honest_split(found[name], asked.split(name, "auto"), [seen])
        classes |= {(name, found[name].classes[c]) for c in found[name].classes_of(split)}
    return classes


@pytest.mark.parametrize("suite", ["paper", "core"])
def test_no_test_class_is_ever_trained_or_validated_on(suite: str, nine: Path, stand_ins: Path, given: Given) -> None:
    pack = nine if suite == "paper" else stand_ins
    found = open_pack(pack)
    for name, target, readings in cases():
        parts = built(given(pack, **SMALL, protocol=name, target=target, suite=suite, readings=readings))
        test = under_test(parts, found)
        allowed = {(s.name, s.classes[c]) for s in parts.sampler.sources for c in s.classes_of("train")}
        judges = {
            (source.name, source.classes[c])
            for sampler in parts.validation.samplers.values()
            for source in sampler.sources
            for c in source.classes_of("val")
        }
        assert test, (name, target)
        assert drawn(parts, 3) <= allowed
        assert not allowed & test, (name, target, readings)
        assert not judges & test, (name, target, readings)
        assert not judges & allowed, (name, target, readings)
        if name == "strong":
            assert {source for source, _ in test}.isdisjoint(parts.sources)
            assert {source for source, _ in test}.isdisjoint(parts.validation.samplers)


def test_tasks_of_a_strong_minibatch_come_from_different_sources(nine: Path, given: Given) -> None:
    for target in targets_of("strong"):
        parts = built(given(nine, **SMALL, protocol="strong", target=target))
        seen = set()
        for step in range(12):
            sources = [episode.source for episode in parts.sampler.batch(step)]
            assert len(set(sources)) == len(sources) == 4
            seen |= set(sources)
        assert seen == set(open_pack(nine)) - {target}  # and all of them are drawn


def test_drawing_with_replacement_lets_two_tasks_share_a_source(nine: Path, given: Given) -> None:
    parts = built(
        given(nine, **SMALL, protocol="strong", target="cub", readings=ReadingsConfig(draw="with-replacement"))
    )
    sizes = {len({episode.source for episode in parts.sampler.batch(step)}) for step in range(12)}
    assert min(sizes) < 4


def test_weak_has_one_source_and_disjoint_classes(nine: Path, given: Given) -> None:
    found = open_pack(nine)
    for target in ("miniimagenet", "cub", "cars", "places", "plantae"):
        parts = built(given(nine, **SMALL, protocol="weak", target=target))
        assert {source for source, _ in drawn(parts, 8)} == {target} == set(parts.sources)
        splits = [set(found[target].classes_of(split)) for split in ("train", "val", "test")]
        assert not splits[0] & splits[1] | splits[0] & splits[2] | splits[1] & splits[2]
        assert {name for _, name in drawn(parts, 20)} == {found[target].classes[c] for c in splits[0]}
        assert {name for _, name in under_test(parts, found)} == {found[target].classes[c] for c in splits[2]}


def test_every_class_of_an_unsplit_dataset_trains_unless_its_pack_splits_it_and_that_is_wanted(
    stand_ins: Path, given: Given
) -> None:
    strong: dict[str, Any] = {**SMALL, "protocol": "strong", "target": "cars", "suite": "core"}
    whole = built(given(stand_ins, **strong))
    base = built(given(stand_ins, **strong, readings=ReadingsConfig(unsplit="base")))
    assert whole.config.whole == ["cropdisease"]
    assert len(whole.sources["cropdisease"].classes_of("train")) == 16
    assert base.config.whole == []
    assert len(base.sources["cropdisease"].classes_of("train")) == 6


def test_what_was_trained_whole_or_chose_the_checkpoint_is_not_under_test(nine: Path, given: Given) -> None:
    found = open_pack(nine)
    parts = built(given(nine, **SMALL, protocol="closer-look"))
    mini, cub = found["miniimagenet"], found["cub"]
    digests = {"miniimagenet": mini.digest}, {"miniimagenet": pack_digest({"miniimagenet": mini})}
    seen = [Seen("run", *digests, tuple(parts.config.whole), ("cub",))]
    with pytest.raises(UsageError, match="trained on every class of 'miniimagenet'"):
        honest_split(mini, "auto", seen)
    assert honest_split(cub, "auto", seen) == "test"
    for split in ("val", "all"):
        with pytest.raises(UsageError, match="chose the checkpoint"):
            honest_split(cub, split, seen)
    with pytest.raises(UsageError, match="no test classes and its validation classes"):
        honest_split(replace(cub, splits={"train": (0,), "val": (1,)}), "auto", seen)
