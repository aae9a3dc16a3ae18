"""Episodes are a pure function of (seed, split, step), fair, and drawn from where the mix says."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rotogbml.episodes import Episode, EpisodeSampler
from rotogbml.errors import UsageError
from rotogbml.sources.packed import PackedSource, open_pack

MIXES = ["one-source-per-task", "single-source", "uniform", "by-classes"]


@pytest.fixture(scope="session")
def sources(pack: Path) -> dict[str, PackedSource]:
    found = open_pack(pack)
    del found["hidden"]
    return found


@pytest.fixture(scope="session")
def uneven(write_pack: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, PackedSource]:
    """``small`` has two classes that hold 1 + 3 images; the others plenty."""
    root = write_pack(tmp_path_factory.mktemp("uneven"), ["large", "wide"])
    write_pack(root, ["small"], images=[4, 4, 2, 2, 2, 2], splits={"train": range(6)})
    return open_pack(root)


def sampler(sources: dict[str, PackedSource], **changes: Any) -> EpisodeSampler:
    settings = {"n_way": 2, "k_shot": 1, "n_query": 3, "tasks_per_batch": 3, "seed": 0} | changes
    return EpisodeSampler(sources.values(), **settings)


def same(a: Episode, b: Episode) -> bool:
    return (
        a.source == b.source
        and a.classes == b.classes
        and torch.equal(a.support.x, b.support.x)
        and torch.equal(a.query.x, b.query.x)
        and torch.equal(a.support.y, b.support.y)
        and torch.equal(a.query.y, b.query.y)
        and all(np.array_equal(i, j) for i, j in zip(a.indices, b.indices, strict=True))
    )


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    steps=st.lists(st.integers(0, 10**6), min_size=2, max_size=3, unique=True),
    mix=st.sampled_from(MIXES),
    augment=st.sampled_from(["closer-look", "shape-safe", "none"]),
)
def test_a_batch_depends_on_seed_split_and_step_alone(
    sources: dict[str, PackedSource], seed: int, steps: list[int], mix: str, augment: str
) -> None:
    settings = {"seed": seed, "mix": mix, "augment": augment}
    forwards, backwards = sampler(sources, **settings), sampler(dict(reversed(sources.items())), **settings)
    torch.manual_seed(seed % 7)  # global state has no part in it
    first = {step: forwards.batch(step) for step in steps}
    torch.manual_seed(seed % 7 + 1)
    second = {step: backwards.batch(step) for step in reversed(steps)}
    assert all(same(a, b) for step in steps for a, b in zip(first[step], second[step], strict=True))


def test_drawing_leaves_global_random_state_alone(sources: dict[str, PackedSource]) -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    sampler(sources, augment="closer-look").batch(0)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_a_step_given_as_a_numpy_integer_is_the_same_step(sources: dict[str, PackedSource]) -> None:
    draw = sampler(sources)
    assert all(same(a, b) for a, b in zip(draw.batch(3), draw.batch(np.int64(3)), strict=True))


def test_other_seeds_steps_and_splits_give_other_episodes(sources: dict[str, PackedSource]) -> None:
    def rows(batch: tuple[Episode, ...]) -> list[Any]:
        return [(e.source, e.classes, *(i.tolist() for i in e.indices)) for e in batch]

    base = rows(sampler(sources).batch(0))
    assert base != rows(sampler(sources).batch(1))
    assert base != rows(sampler(sources, seed=1).batch(0))
    assert base != rows(sampler(sources, split="test").batch(0))


@settings(max_examples=25, deadline=None)
@given(
    step=st.integers(0, 10**6),
    n_way=st.integers(2, 6),
    k=st.integers(1, 4),
    n_query=st.integers(1, 6),
    mix=st.sampled_from(MIXES),
)
def test_every_episode_is_fair(
    sources: dict[str, PackedSource], step: int, n_way: int, k: int, n_query: int, mix: str
) -> None:
    for episode in sampler(sources, n_way=n_way, k_shot=k, n_query=n_query, mix=mix).batch(step):
        source = sources[episode.source]
        support, query = (rows.tolist() for rows in episode.indices)
        assert not set(support) & set(query)
        assert len(set(support)) == n_way * k
        assert len(set(query)) == n_way * n_query
        assert len(set(episode.classes)) == n_way
        train = {source.classes[c] for c in source.classes_of("train")}
        assert set(episode.classes) <= train
        for examples, rows, each in ((episode.support, support, k), (episode.query, query, n_query)):
            assert Counter(examples.y.tolist()) == dict.fromkeys(range(n_way), each)
            owner = np.searchsorted(source.offsets, rows, side="right") - 1
            assert [source.classes[c] for c in owner] == [episode.classes[y] for y in examples.y.tolist()]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_gives_its_own_classes_and_all_of_them(sources: dict[str, PackedSource], split: str) -> None:
    draw = sampler(sources, split=split)
    seen = {(e.source, name) for step in range(30) for e in draw.batch(step) for name in e.classes}
    assert seen == {(s.name, s.classes[c]) for s in sources.values() for c in s.classes_of(split)}


def test_labels_are_shuffled(sources: dict[str, PackedSource]) -> None:
    draw = sampler(sources, n_way=4, k_shot=2)
    episodes = [e for step in range(30) for e in draw.batch(step)]
    for side in ("support", "query"):
        orders = {tuple(getattr(e, side).y.tolist()) for e in episodes}
        assert len(orders) > 80  # of 90 episodes
        at_front = Counter(getattr(e, side).y[0].item() for e in episodes)
        assert max(at_front.values()) < 45
    # a class is not tied to a label either
    labels = Counter(e.classes.index("class00") for e in episodes if "class00" in e.classes)
    assert len(labels) == 4


@settings(max_examples=20, deadline=None)
@given(step=st.integers(0, 10**6), n=st.integers(1, 8))
def test_one_source_per_task_repeats_none_before_all_came(sources: dict[str, PackedSource], step: int, n: int) -> None:
    drawn = [e.source for e in sampler(sources, tasks_per_batch=n).batch(step)]
    for start in range(0, n, len(sources)):
        of_round = drawn[start : start + len(sources)]
        assert len(set(of_round)) == len(of_round)


def test_single_source_gives_one_source_a_minibatch_and_each_in_turn(sources: dict[str, PackedSource]) -> None:
    draw = sampler(sources, mix="single-source")
    batches = [{e.source for e in draw.batch(step)} for step in range(30)]
    assert all(len(batch) == 1 for batch in batches)
    assert set.union(*batches) == set(sources)


def test_uniform_draws_each_task_on_its_own(sources: dict[str, PackedSource]) -> None:
    draw = sampler(sources, mix="uniform", tasks_per_batch=2)
    pairs = Counter(tuple(e.source for e in draw.batch(step)) for step in range(180))
    assert len(pairs) == 9  # every ordered pair, twins too
    assert max(pairs.values()) < 45  # 20 expected


def test_by_classes_draws_a_source_as_often_as_it_has_classes_for_the_task(uneven: dict[str, PackedSource]) -> None:
    draw = sampler(uneven, mix="by-classes", k_shot=1, tasks_per_batch=3)
    have = {name: sum(len(source.rows(c)) >= 4 for c in source.classes_of("train")) for name, source in uneven.items()}
    assert len(set(have.values())) > 1
    drawn = Counter(e.source for step in range(400) for e in draw.batch(step))
    for name, classes in have.items():
        assert drawn[name] / 1200 == pytest.approx(classes / sum(have.values()), abs=0.05)


def test_a_range_of_shots_is_drawn_for_each_task(sources: dict[str, PackedSource]) -> None:
    draw = sampler(sources, k_shot=(2, 4))
    shots = Counter(len(e.support.y) // 2 for step in range(20) for e in draw.batch(step))
    assert set(shots) == {2, 3, 4}
    assert all(len(e.query.y) == 6 for e in draw.batch(0))
    assert len({len(e.support.y) for step in range(5) for e in draw.batch(step)}) > 1


def test_a_source_with_too_few_images_is_left_out_of_that_draw_and_said_once(
    uneven: dict[str, PackedSource], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        draw = sampler(uneven, k_shot=(1, 3), tasks_per_batch=3)
        episodes = [e for step in range(40) for e in draw.batch(step)]
    shots_of_small = {len(e.support.y) // 2 for e in episodes if e.source == "small"}
    assert shots_of_small == {1}
    assert {len(e.support.y) // 2 for e in episodes} == {1, 2, 3}
    assert [r.getMessage() for r in caplog.records] == [
        "small: 4 of its 6 'train' classes hold fewer than 1 + 3 images and are never drawn",
        "small is left out of 2-way tasks of 2 shots and more: 0 'train' classes hold 2 + 3 images",
    ]


def test_tasks_of_one_shot_leave_a_source_to_those_of_many(uneven: dict[str, PackedSource]) -> None:
    draw = sampler({name: uneven[name] for name in ("large", "small")}, k_shot=(1, 2), tasks_per_batch=2)
    batches = [draw.batch(step) for step in range(60)]
    shots = Counter(tuple(len(e.support.y) // 2 for e in batch) for batch in batches)
    assert set(shots) == {(1, 1), (1, 2), (2, 1), (2, 2)}
    for batch in batches:
        named = sorted(e.source for e in batch)
        many = all(len(e.support.y) // 2 == 2 for e in batch)  # small has no images for a single one of these
        assert named == (["large", "large"] if many else ["large", "small"])


def test_small_classes_of_a_usable_source_are_left_out(uneven: dict[str, PackedSource]) -> None:
    draw = sampler(uneven)
    small = [e for step in range(10) for e in draw.batch(step) if e.source == "small"]
    assert small
    assert all(set(e.classes) == {"class00", "class01"} for e in small)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"n_way": 1}, ["n_way is 1", "at least 2"]),
        ({"n_way": 7}, ["n_way is 7", "'train'", "'alpha' with 6", "lower n_way"]),
        ({"n_query": 12}, ["1 + 12 = 13", "'alpha'", "12 or more", "lower n_query"]),
        ({"k_shot": 0}, ["k_shot is 0", "≥ 1"]),
        ({"k_shot": (3, 2)}, ["k_shot is [3, 2]", "low ≤ high"]),
        ({"k_shot": (1, 20)}, ["20 + 3 = 23", "lower n_query or k_shot"]),
        ({"n_query": 0}, ["n_query is 0", "≥ 1"]),
        ({"tasks_per_batch": 0}, ["tasks_per_batch is 0", "≥ 1"]),
        ({"split": "nothing"}, ["'nothing' classes", "with 0"]),
    ],
)
def test_a_request_that_cannot_be_met_names_the_value_and_the_mend(
    sources: dict[str, PackedSource], changes: dict[str, Any], parts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UsageError) as error:
        sampler(sources, **changes)
    for part in parts:
        assert part in str(error.value)
    assert not caplog.records  # the error says it all


@pytest.mark.parametrize("mix", ["one-source-per-task", "by-classes"])
def test_no_source_or_a_lone_one_is_refused_where_several_are_needed(
    sources: dict[str, PackedSource], uneven: dict[str, PackedSource], mix: str
) -> None:
    with pytest.raises(UsageError, match=r"no source to draw 'train' episodes from: name at least one"):
        sampler({})
    alone = {"alpha": sources["alpha"]}
    with pytest.raises(UsageError, match=r"needs two sources or more, here is only 'alpha': add sources, or take"):
        sampler(alone, mix=mix)
    two_of_which_one_is_able = {name: uneven[name] for name in ("large", "small")}
    with pytest.raises(UsageError, match=r"here is only 'large' \(the others lack classes or images for 3-way"):
        sampler(two_of_which_one_is_able, mix=mix, n_way=3)
    assert len(sampler(alone, mix=mix, tasks_per_batch=1).batch(0)) == 1
    assert {e.source for e in sampler(alone, mix="single-source").batch(0)} == {"alpha"}
