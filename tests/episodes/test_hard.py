"""Hard tasks: which class a task failed at, and what a hard minibatch is drawn from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rotogbml.episodes import Episode, EpisodeSampler, Examples, HardSampler, failure
from rotogbml.errors import UsageError
from rotogbml.sources.packed import PackedSource, open_pack

N_WAY, STEPS = 3, 14


@pytest.fixture(scope="session")
def sources(pack: Path) -> dict[str, PackedSource]:
    """Return three sources of six training classes each."""
    found = open_pack(pack)
    del found["hidden"]
    return found


def sampler(sources: dict[str, PackedSource], **changes: Any) -> EpisodeSampler:
    settings = {"n_way": N_WAY, "k_shot": 1, "n_query": 2, "tasks_per_batch": 2} | changes
    return EpisodeSampler(sources.values(), **settings)


def judged(y: list[int]) -> Episode:
    nothing = torch.zeros(0, 3, 1, 1)
    sides = Examples(nothing, torch.zeros(0, dtype=torch.int64)), Examples(nothing, torch.tensor(y))
    return Episode(*sides, "alpha", ("ant", "bee", "cat"), (np.zeros(0), np.zeros(0)))


@pytest.mark.parametrize(
    ("y", "right", "said"),
    [
        ([0, 0, 1, 1, 2, 2], [1, 1, 1, 0, 1, 1], "bee"),  # 1, 1/2, 1
        ([2, 0, 1, 2, 0, 1], [0, 1, 1, 0, 0, 1], "cat"),  # 1/2, 1, 0
        ([0, 0, 1, 1, 2, 2], [1, 1, 1, 0, 1, 0], "bee"),  # of equal ones the first
        ([0, 0, 1, 1, 2, 2], [1, 1, 1, 1, 1, 1], "ant"),  # ranked, not held against a threshold
        ([0, 0, 0, 0, 1, 2], [1, 1, 0, 0, 1, 0], "cat"),  # wrong labels: shares, not counts
        ([0, 0, 0, 2, 2, 2], [1, 1, 1, 1, 1, 0], "cat"),  # and a class without a query has not failed
    ],
)
def test_the_class_least_often_right_is_the_failure(y: list[int], right: list[int], said: str) -> None:
    assert failure(judged(y), torch.tensor(right, dtype=torch.bool)) == said


def same(a: Any, b: Any) -> bool:
    """Compare what is drawn by its rows and labels: images follow from those."""
    return all(
        x.source == y.source
        and x.classes == y.classes
        and all(np.array_equal(i, j) for i, j in zip(x.indices, y.indices, strict=True))
        and torch.equal(x.query.y, y.query.y)
        for x, y in zip(a, b, strict=True)
    )


HISTORY = st.lists(
    st.lists(st.tuples(st.sampled_from(["alpha", "beta", "gamma"]), st.integers(0, 5)), min_size=2, max_size=2),
    min_size=STEPS,
    max_size=STEPS,
)


def used_by(every: int, hard: int) -> list[int]:
    """Return the ordinary minibatches that a hard one is drawn from, counted one by one."""
    ordinary = [step for step in range(hard - 1) if (step + 1) % every]
    before = [step for step in range(hard - every - 1) if (step + 1) % every]
    return ordinary[len(before) :]


@settings(max_examples=25, deadline=None)
@given(every=st.integers(2, 6), seed=st.integers(0, 2**40), history=HISTORY, stop=st.integers(0, STEPS - 1))
def test_a_hard_minibatch_is_drawn_from_earlier_failures_whoever_draws_it(
    sources: dict[str, PackedSource], every: int, seed: int, history: list[list[tuple[str, int]]], stop: int
) -> None:
    plain = sampler(sources, seed=seed)
    hard, again = HardSampler(plain, every), HardSampler(plain, every)
    early = hard.batch(0)
    for step, found in enumerate(history):
        drawn = hard.batch(step)
        assert same(drawn, early)  # a step ahead, the one before not yet told: the same
        if step == stop:
            again.load_state_dict(hard.state_dict())
        if step >= stop:  # as restored
            assert same(again.batch(step), drawn)

        expected: dict[str, set[str]] = {}
        for used in used_by(every, step) if (step + 1) % every == 0 else ():
            for source, c in history[used]:
                expected.setdefault(source, set()).add(sources[source].classes[c])
        assert hard.failures(step) == expected
        ordinary = plain.batch(step)
        assert [e.source for e in drawn] == [e.source for e in ordinary]
        for e, other in zip(drawn, ordinary, strict=True):
            assert isinstance(e, Episode)
            assert len(set(e.classes)) == N_WAY
            assert {sources[e.source].classes.index(name) for name in e.classes} <= set(range(6))  # training classes
            wanted = expected.get(e.source, set())
            assert len(wanted & set(e.classes)) == min(N_WAY, len(wanted)) or not wanted
            assert wanted or same([e], [other])
        assert same(hard.batch(step, {1})[1:], drawn[1:])  # another process draws its own share

        early = hard.batch(step + 1)
        names = [source for source, _ in found], [sources[source].classes[c] for source, c in found]
        hard.collect(step, *names)
        if step >= stop:
            again.collect(step, *names)
        assert len(hard.state_dict()["failures"]) <= every + 1  # it does not grow with the run


@given(every=st.integers(2, 9))
def test_failures_of_an_ordinary_minibatch_serve_one_hard_one(every: int) -> None:
    served = Counter(step for hard in range(every - 1, 20 * every, every) for step in used_by(every, hard))
    ordinary = [step for step in range(19 * every) if (step + 1) % every]
    assert [served[step] for step in ordinary] == [1] * len(ordinary)


def test_labels_of_hard_classes_are_dealt_by_chance(sources: dict[str, PackedSource]) -> None:
    plain, dealt = sampler(sources), Counter[tuple[int, ...]]()
    first = {name: [source.classes[2], source.classes[5]] for name, source in sources.items()}
    for step in range(60):
        for e in plain.favouring(first, step):
            assert isinstance(e, Episode)
            dealt[tuple(sorted(e.classes.index(name) for name in first[e.source]))] += 1
    assert set(dealt) == {(0, 1), (0, 2), (1, 2)}
    assert min(dealt.values()) > 20  # of 120, 40 each


def test_classes_that_share_patients_give_way(pack: Path) -> None:
    """Class 0 can only have patient 0 in its support and 1 in its queries, class 1 only the other way round."""
    source, groups = open_pack(pack)["hidden"], np.arange(120) + 10
    groups[:24] = [0] + [1] * 11 + [1] + [0] * 11
    one = EpisodeSampler([replace(source, groups=groups)], 2, 1, 3, 1, "single-source", split="all")
    first = {"hidden": set(source.classes[:2])}
    for step in range(10):
        (e,) = one.favouring(first, step)
        assert isinstance(e, Episode)
        support, query = (set(groups[rows].tolist()) for rows in e.indices)
        assert not support & query


@pytest.mark.parametrize("every", [-3, 1])
def test_without_minibatches_between_there_is_nothing_to_go_by(sources: dict[str, PackedSource], every: int) -> None:
    with pytest.raises(UsageError, match=f"method.hard_tasks is {every}: give 0 for none, or 2 and more"):
        HardSampler(sampler(sources), every)
