"""Minibatches of labelled images and pairs of episodes are pure functions of (seed, step)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rotogbml.episodes import POOLED, Elsewhere, EpisodeSampler, Labelled, LabelledSampler, Pair, PairSampler
from rotogbml.errors import UsageError
from rotogbml.sources.packed import PackedSource, open_pack


@pytest.fixture(scope="module")
def sources(pack: Path) -> list[PackedSource]:
    found = open_pack(pack)
    return [found[name] for name in ("alpha", "beta", "gamma")]


def test_the_same_step_is_the_same_minibatch_whoever_asks(sources: list[PackedSource]) -> None:
    one, other = (LabelledSampler(order, 16, 3, seed=4) for order in (sources, sources[::-1]))
    for a, b, c in zip(one.batch(7), other.batch(7), one.batch(7, (1,)), strict=True):
        assert isinstance(a, Labelled)
        assert isinstance(b, Labelled)
        assert a.source == c.source == POOLED
        assert torch.equal(a.images.x, b.images.x)
        assert torch.equal(a.images.y, b.images.y)
    assert [isinstance(each, Elsewhere) for each in one.batch(7, (1,))] == [True, False, True]
    first, second = one.batch(7)[0], one.batch(8)[0]
    assert isinstance(first, Labelled)
    assert isinstance(second, Labelled)
    assert not torch.equal(first.images.y, second.images.y)


def test_labels_run_over_all_training_classes_and_images_are_theirs(sources: list[PackedSource]) -> None:
    sampler = LabelledSampler(sources, 64, 4)
    assert {name: (r.start, r.stop) for name, r in sampler.labels.items()} == {
        "alpha": (0, 6),
        "beta": (6, 12),
        "gamma": (12, 18),
    }
    batches = [b for step in range(3) for b in sampler.batch(step) if isinstance(b, Labelled)]
    y = torch.cat([b.images.y for b in batches])
    assert set(y.tolist()) == set(range(18))
    assert np.bincount(y.numpy() // 6) / len(y) == pytest.approx([1 / 3] * 3, abs=0.08)
    # the mean image of a label is near that of its own class alone
    means = [torch.cat([b.images.x[b.images.y == k] for b in batches]).mean(0) for k in range(18)]
    from rotogbml.episodes import centre

    for k in range(18):
        source = sources[k // 6]
        own = centre(source.images[np.asarray(source.rows(source.classes_of("train")[k % 6]))], source.size).mean(0)
        distances = [float((own - mean).square().mean()) for mean in means]
        assert int(np.argmin(distances)) == k


def test_one_source_at_a_time_in_turns(sources: list[PackedSource]) -> None:
    sampler = LabelledSampler(sources, 8, 6, pooled=False)
    batch = sampler.batch(0)
    assert (
        sorted(each.source for each in batch[:3])
        == sorted(each.source for each in batch[3:])
        == [s.name for s in sources]
    )
    for each in batch:
        assert isinstance(each, Labelled)
        assert set(each.images.y.tolist()) <= set(sampler.labels[each.source])
    alone = LabelledSampler(sources[:1], 8, 2).batch(0)
    assert [each.source for each in alone] == ["alpha", "alpha"]


def test_a_pair_is_of_two_sources(sources: list[PackedSource]) -> None:
    sampler = PairSampler(EpisodeSampler(sources, 2, 1, 2, 2, "one-source-per-task", 0), 3)
    for step in range(4):
        whole, part = sampler.batch(step), sampler.batch(step, (2,))
        assert [a.source for a in whole] == [b.source for b in part]
        for pair in whole:
            assert isinstance(pair, Pair)
            assert pair.seen.source != pair.unseen.source
        assert isinstance(part[2], Pair)
        assert isinstance(part[0], Elsewhere)


def test_of_a_pooled_minibatch_a_source_gives_its_share(sources: list[PackedSource]) -> None:
    images = {s.name: sum(len(s.rows(c)) for c in s.classes_of("train")) for s in sources}
    assert LabelledSampler(sources, 16).shares() == {name: (n, 6) for name, n in images.items()}
    assert LabelledSampler(sources, 16, pooled=False).shares() == {name: (n, 16) for name, n in images.items()}


def test_a_source_of_one_class_is_refused(sources: list[PackedSource]) -> None:
    from dataclasses import replace

    alone = replace(sources[0], splits={"train": (0,)})
    with pytest.raises(UsageError, match="'alpha' has 1 training classes"):
        LabelledSampler([alone], 8)
    with pytest.raises(UsageError, match="at least 2 images"):
        LabelledSampler(sources, 1)
