"""What a pack has is held against what was published: classes, their split, images too few and too many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rotogbml.protocols import create_protocol
from rotogbml.training.protocol import unlike_published


def packed(images: int, *split: int) -> Any:
    """Return what is asked of a source with so many classes to train, validate and test on."""
    names = dict(zip(("train", "val", "test"), split, strict=False))
    return SimpleNamespace(
        classes=range(sum(split)),
        offsets=np.array([0, images]),
        classes_of=lambda name: tuple(range(names.get(name, 0))),
    )


@pytest.mark.parametrize(
    ("target", "source", "said"),
    [
        ("cub", packed(11_788, 100, 50, 50), []),
        ("cub", packed(11_788, 140, 30, 30), ["cub: 140/30/30 classes to train, validate and test for 100/50/50"]),
        ("cub", packed(11_788, 200), ["cub: not split, so all its classes"]),
        ("cub", packed(11_788, 140, 30, 20), ["cub: 190 of 200 classes"]),
        (
            "miniimagenet",
            packed(60_000, 80, 0, 20),
            ["miniimagenet: 80/0/20 classes to train, validate and test for 64/16/20"],
        ),
        ("cars", packed(16_185, 98, 49, 49), ["cars: 16,185 images, more than 8,144"]),
        ("cars", packed(7_000, 98, 49, 49), ["cars: 7,000 of 8,144 images"]),
    ],
)
def test_a_split_or_count_that_is_not_the_published_one_is_said(target: str, source: Any, said: list[str]) -> None:
    assert unlike_published(create_protocol("weak", target), {target: source}) == said


def test_too_many_images_of_a_set_that_nobody_splits_are_said_and_its_split_is_its_own() -> None:
    protocol = create_protocol("bscd-fsl", "cropdiseases")
    assert unlike_published(protocol, {"cropdiseases": packed(76_000, 26, 6, 6)}) == [
        "cropdiseases: 76,000 images, more than 43,456"
    ]
    assert unlike_published(protocol, {"cropdiseases": packed(43_456, 26, 6, 6)}) == []


def test_where_all_classes_are_trained_on_the_split_is_none_of_its_business() -> None:
    assert unlike_published(create_protocol("closer-look"), {"miniimagenet": packed(60_000, 80, 0, 20)}) == []
