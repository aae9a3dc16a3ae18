"""A published protocol as a study: every target in its turn, each learner plain and with RotoGBML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rotogbml.errors import UsageError
from rotogbml.learners import list_learners
from rotogbml.protocols.datasets import SUITES, Suite, dataset_named, find
from rotogbml.protocols.registry import create_protocol, list_protocols, targets_of
from rotogbml.sources.packed import PackedSource
from rotogbml.studies.plan import Plan, Rung, TestPlan

SETTINGS: dict[str, dict[str, Any]] = {"plain": {"homogenizer": "off", "isi": "off"}, "rotogbml": {}}


def is_published(name: str) -> bool:
    """Say whether a plan's name is a protocol's."""
    return name in list_protocols()


def published_plan(
    name: str,
    suite: str,
    targets: Sequence[str],
    learners: Sequence[str],
    seeds: int,
    budget: Rung,
    k_shot: Sequence[int] | None,
    episodes: int | None,
    n_query: int | None,
    options: Mapping[str, Any],
) -> Plan:
    """Return the plan of a protocol's table.

    Args:
        name: a protocol's.
        suite: ``paper`` or ``core``.
        targets: its targets, or ``all``.
        learners: by name.
        seeds: how many, from 0.
        budget: of each training; without one it is the protocol's own steps.
        k_shot: one table each; trained and tested with. None: trained and tested with the protocol's own.
        episodes: test episodes of each training; the protocol's own where None.
        n_query: test queries a class; the protocol's own where None.
        options: of ``rotogbml train``, for every cell.

    Raises:
        UsageError: a name is unknown, a number too small, or shots are given that the protocol trains for different
            steps.
    """
    if suite not in SUITES:
        raise UsageError(f"no suite '{suite}': there are {', '.join(SUITES)}")
    of: Suite = "core" if suite == "core" else "paper"
    there = targets_of(name)
    chosen = list(there) if list(targets) == ["all"] else [dataset_named(target).name for target in targets]
    for learner in learners:
        if learner not in list_learners():
            raise UsageError(f"no learner '{learner}': there are {', '.join(list_learners())}")
    if seeds < 1:
        raise UsageError(f"seeds is {seeds}: give at least 1")
    protocol = create_protocol(name, chosen[0], of)  # says what is wrong with the first target
    for target in chosen[1:]:
        create_protocol(name, target, of)
    given = [budget.steps, budget.minutes, budget.images]
    if given.count(None) < 2:
        raise UsageError("a training is measured in either steps or minutes: give one of them")
    shots = [protocol.k_shot] if k_shot is None else list(k_shot)
    if given.count(None) == 3:
        steps = [protocol.steps_for(k) for k in shots]
        if len(set(steps)) > 1:
            each = ", ".join(f"{k}-shot for {of:,}" for k, of in zip(shots, steps, strict=True))
            raise UsageError(
                f"protocol {name} trains {each} steps, and a study's tables have one budget: carry out one study for "
                "each --k_shot, or give --steps or --minutes"
            )
        budget = Rung(steps=steps[0])
    test = protocol.evaluation
    how = tested(episodes, n_query, test.episodes, test.n_query, ("best", "averaged"))
    return Plan(
        name=name,
        about=f"{protocol.origin}; {'small public stand-ins for the datasets' if of == 'core' else 'the datasets'}",
        targets=tuple(chosen),
        settings=SETTINGS,
        rungs=(budget,),
        seeds=tuple(range(seeds)),
        k_shot=tuple(shots),
        test=replace(how, k_shot=test.shots or None) if k_shot is None else how,
        judge="best",
        options=dict(options),
        learners={learner: {"learner.name": learner} for learner in learners},
        protocol=name,
        suite=of,
    )


def tested(
    episodes: int | None, n_query: int | None, own_episodes: int, own_n_query: int, checkpoints: tuple[str, ...]
) -> TestPlan:
    """Return how every cell is tested: as the user says, where nothing is said by a setting's own numbers.

    Raises:
        UsageError: fewer episodes than an interval needs, or no query.
    """
    test = TestPlan(
        own_episodes if episodes is None else episodes,
        0,
        own_n_query if n_query is None else n_query,
        checkpoints,
    )
    if test.episodes < 2:
        raise UsageError(f"episodes is {test.episodes}: an interval needs at least 2")
    if test.n_query < 1:
        raise UsageError(f"n_query is {test.n_query}: a class is tested on at least 1 query")
    return test


def check_there(plan: Plan, found: Mapping[str, PackedSource]) -> None:
    """Check that every target of a protocol's plan is among the sources at hand.

    Raises:
        UsageError: one is not.
    """
    suite: Suite = "core" if plan.suite == "core" else "paper"
    for target in plan.targets:
        dataset = dataset_named(target)
        if find(dataset, suite, found) is None:
            raise UsageError(
                f"{target} (packed as {' or '.join(dataset.names(suite))}) is not among {', '.join(found)}: name packs "
                "that have it with --sources, or other --targets"
            )


def words(given: Sequence[str]) -> list[str]:
    """Return names given apart or with commas: ``imaml,maml``."""
    return [word for each in given for word in re.split(r"[,\s]+", each) if word]
