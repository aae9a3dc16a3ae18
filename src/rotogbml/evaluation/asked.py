"""What is tested where the user says nothing: what the first run's protocol says, else what the run held out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rotogbml.config import RunConfig
from rotogbml.errors import UsageError, did_you_mean
from rotogbml.evaluation.seen import Split
from rotogbml.evaluation.work import Test
from rotogbml.protocols import Protocol
from rotogbml.protocols.datasets import SPLIT_OF, Classes, find
from rotogbml.protocols.protocol import groups_in_words
from rotogbml.sources.packed import PackedSource
from rotogbml.training.protocol import departures, protocol_of, unlike_published

EPISODES = 600
"""As the literature takes, where nobody says."""
DEPARTURES = ("departs: ", "not as published: ")
"""What a row's protocol says of a run or test that is another, and of packs that are."""


@dataclass(frozen=True)
class Asked:
    """What a run is tested on by default."""

    splits: dict[str, Split]
    """Of sources whose split the protocol settles."""
    shots: tuple[int, ...]
    n_query: int
    episodes: int
    respect_groups: bool = True

    def split(self, source: str, given: Split) -> Split:
        """Return the user's split, else the protocol's."""
        return self.splits.get(source, "auto") if given == "auto" else given


def asked_of(config: RunConfig, sources: Collection[str]) -> Asked:
    """Return what a run is tested on by default.

    Args:
        config: of the first run.
        sources: names of the sources at hand.
    """
    e = config.episodes
    trained_k = e.k_shot if isinstance(e.k_shot, int) else e.k_shot[0]
    protocol = protocol_of(config)
    if protocol is None:
        return Asked({}, (trained_k,), e.n_query, EPISODES)
    # Novel classes are left to ``auto``: all of a source that is not split.
    splits: dict[str, Split] = {source: "all" for source, c in _found(protocol, sources).items() if c == "all"}
    test = protocol.evaluation
    return Asked(splits, test.shots or (trained_k,), test.n_query, test.episodes, protocol.respect_groups)


def default_targets(config: RunConfig, sources: Collection[str]) -> list[str]:
    """Return the sources that a run is tested on where nobody names one.

    Raises:
        UsageError: none of its protocol's targets is among the sources.
    """
    protocol = protocol_of(config)
    if protocol is None:
        return list(config.holdout)
    found = list(_found(protocol, sources))
    if not found:
        parts = protocol.evaluation.parts
        wanted = "; ".join(f"{p.dataset} (packed as {' or '.join(p.of.names(protocol.suite))})" for p in parts)
        raise UsageError(
            f"protocol {protocol.name} tests on {wanted}, which is not among {', '.join(sources)}: "
            "name packs that have it with --sources, or another --target"
        )
    return found


def named_sources(wanted: list[str], found: dict[str, PackedSource], run: str) -> list[PackedSource]:
    """Return the targets by name.

    Raises:
        UsageError: there is none, or no source of that name.
    """
    if not wanted:
        raise UsageError(f"{run} held no source out: name one with --target")
    for name in wanted:
        if name not in found:
            raise UsageError(f"no source '{name}'{did_you_mean(name, found)}: there are {', '.join(found)}")
    return [found[name] for name in dict.fromkeys(wanted)]


def _found(protocol: Protocol, sources: Collection[str]) -> dict[str, Classes]:
    """Return the protocol's test sources that are there, and which of their classes."""
    parts = protocol.evaluation.parts
    return {source: p.classes for p in parts if (source := find(p.of, protocol.suite, sources)) is not None}


def protocol_label(
    config: RunConfig, test: Test, trained_on: Collection[str], episodes: int, sources: Mapping[str, PackedSource]
) -> str:
    """Return what a row says of a run's protocol and of where run or test depart from it; empty without one.

    Args:
        config: of the run.
        test: what it is tested on.
        trained_on: names of its training sources.
        episodes: how many of them.
        sources: those at hand, by name; of the others it is not told whether they are as published.
    """
    protocol = protocol_of(config)
    if protocol is None:
        return ""
    name = protocol.name + (f", target {protocol.target}" if protocol.target else "")
    chosen = ", ".join(f"{key} {value}" for key, value in protocol.readings.items())
    suite = ["stand-ins (suite core)"] if protocol.suite == "core" else []
    departs = departures(config, test.source.size, trained_on) + _departures(protocol, config, test, episodes)
    unlike = unlike_published(protocol, {n: s for n, s in sources.items() if n in {*trained_on, test.source.name}})
    said = [f"{word}{', '.join(these)}" for word, these in zip(DEPARTURES, (departs, unlike), strict=True) if these]
    return "; ".join([name, *suite, chosen, *said])


def _departures(protocol: Protocol, config: RunConfig, test: Test, episodes: int) -> list[str]:
    """Return where a test is not the protocol's, a phrase each."""
    part = next(
        (p for p in protocol.evaluation.parts if find(p.of, protocol.suite, [test.source.name]) is not None), None
    )
    if part is None:
        return [f"tested on {test.source.name}"]
    said = []
    if test.split != SPLIT_OF[part.classes]:
        said.append(f"{test.split} classes for {SPLIT_OF[part.classes]}")
    shots = protocol.evaluation.shots or (config.episodes.k_shot,)
    if test.k_shot not in shots:
        said.append(f"tested {test.k_shot}-shot")
    if test.n_way != protocol.n_way:
        said.append(f"tested {test.n_way}-way")
    if test.n_query != protocol.evaluation.n_query:
        said.append(f"{test.n_query} test queries for {protocol.evaluation.n_query}")
    if test.groups and test.respect_groups != protocol.respect_groups:
        said.append(f"tested with groups {test.groups} for {groups_in_words(protocol.respect_groups)}")
    if episodes != protocol.evaluation.episodes:
        said.append(f"{episodes} episodes for {protocol.evaluation.episodes:,}")
    return said
