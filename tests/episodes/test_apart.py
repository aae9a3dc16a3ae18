"""Groups (lesions, leaves, patients) never stand on both sides of an episode."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rotogbml.episodes import EpisodeSampler
from rotogbml.episodes.apart import can_fill, draw_apart
from rotogbml.errors import UsageError
from rotogbml.seeds import numpy_generator
from rotogbml.sources.packed import PackedSource, open_pack


@pytest.fixture(scope="module")
def source(pack: Path) -> PackedSource:
    """Return ten classes of twelve images, not split."""
    return open_pack(pack)["hidden"]


def by_hand(sizes: list[int], k: int, n_query: int) -> bool:
    """Try every choice of groups for the support."""
    every = chain.from_iterable(combinations(sizes, r) for r in range(len(sizes) + 1))
    return any(sum(some) >= k and sum(sizes) - sum(some) >= n_query for some in every)


@settings(max_examples=200, deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8), k=st.integers(1, 8), n_query=st.integers(1, 12))
def test_whether_a_class_can_be_parted(sizes: list[int], k: int, n_query: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    assert can_fill(groups, k, n_query) == by_hand(sizes, k, n_query)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), step=st.integers(0, 10**6))
def test_no_group_stands_on_both_sides(source: PackedSource, data: st.DataObject, step: int) -> None:
    # Groups go across classes, as a patient with two findings does.
    count = data.draw(st.integers(12, 120))
    groups = np.asarray(data.draw(st.lists(st.integers(0, count), min_size=120, max_size=120)))
    k, n_query = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    try:
        sampler = EpisodeSampler([replace(source, groups=groups)], 3, k, n_query, 1, "single-source", split="all")
        episode = sampler.batch(step)[0]
    except UsageError as error:
        assume("respect_groups false" not in str(error))
        raise
    support, query = (set(groups[rows].tolist()) for rows in episode.indices)
    assert not support & query
    assert [len(set(rows.tolist())) for rows in episode.indices] == [3 * k, 3 * n_query]
    for examples, rows in zip((episode.support, episode.query), episode.indices, strict=True):
        assert [source.classes[row // 12] for row in rows] == [episode.classes[y] for y in examples.y]
    again = sampler.batch(step)[0]
    assert all((a == b).all() for a, b in zip(episode.indices, again.indices, strict=True))


def test_off_is_the_sampler_without_groups(source: PackedSource) -> None:
    groups = np.arange(120) // 3
    task = (3, 2, 4, 1, "single-source", 0, "all")
    plain = EpisodeSampler([source], *task)
    ignored = EpisodeSampler([replace(source, groups=groups)], *task, respect_groups=False)
    kept = EpisodeSampler([replace(source, groups=groups)], *task)
    mixed = 0
    for step in range(20):
        a, b, c = (sampler.batch(step)[0].indices for sampler in (plain, ignored, kept))
        assert all((x == y).all() for x, y in zip(a, b, strict=True))
        mixed += bool(set(groups[a[0]]) & set(groups[a[1]]))
        assert not set(groups[c[0]]) & set(groups[c[1]])
    assert mixed > 10  # three images a group: it happens nearly always


def test_support_stays_uniform_over_images(source: PackedSource) -> None:
    groups = np.r_[np.zeros(6, int), np.arange(1, 7)]
    rng = numpy_generator(0, "uniform")
    counts = np.zeros(12)
    for _ in range(3000):
        drawn = draw_apart(rng, [np.arange(12)], groups, 1, 6)
        assert drawn is not None
        counts[drawn[0][0]] += 1
    assert counts.min() > 180
    assert counts.max() < 320  # 250 each


def test_a_task_that_cannot_be_parted_says_what_to_do(source: PackedSource) -> None:
    one_patient = replace(source, groups=np.zeros(120, dtype=np.int64))
    with pytest.raises(UsageError, match=r"images of one group \(lesion, leaf, patient\).*respect_groups false"):
        EpisodeSampler([one_patient], 3, 1, 3, 1, "single-source", split="all")
    two_patients = replace(source, groups=np.arange(120) % 2)
    sampler = EpisodeSampler([two_patients], 3, 1, 6, 1, "single-source", split="all")
    support, query = sampler.batch(0)[0].indices  # one of the two for all supports: found by trying
    assert {int(row) % 2 for row in support} != {int(row) % 2 for row in query}
    across = np.where(np.arange(120) < 12, 0, np.arange(120) % 12)
    assert EpisodeSampler([replace(source, groups=across)], 3, 1, 3, 1, "single-source", split="all").batch(3)
