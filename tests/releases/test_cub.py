"""CUB-200-2011 in the forms in which it goes round, made up in the names that it really has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.errors import UsageError
from rotogbml.releases.importing import read_release
from rotogbml.releases.release import published

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]
SplitOf = Callable[..., dict[str, list[str]]]


class TestCub:
    def test_class_folders_alone_keep_their_places_in_the_split(
        self, lay: Lay, pictures: Pictures, split_of: SplitOf
    ) -> None:
        names = [
            "001.Black_footed_Albatross",
            "002.Laysan_Albatross",
            "004.Groove_billed_Ani",
            "200.Common_Yellowthroat",
        ]
        root = lay(
            pictures(f"CUB/{part}/{name}/{i}{part}.jpg" for part in ("train", "test") for name in names for i in "ab")
        )
        read = read_release("cub", root)
        assert read.reading.per_class() == dict.fromkeys(names, 4)
        assert split_of(read) == {"train": names[:1], "val": names[1:2], "test": names[2:]}

    def test_the_splits_have_the_published_sizes(self, lay: Lay, pictures: Pictures) -> None:
        names = [f"{i:03}.Bird_{i}" for i in range(1, 201)]
        files = pictures(["CUB_200_2011/images/001.Bird_1/one.jpg"])
        table = "".join(f"{i} {name}\n" for i, name in enumerate(names, 1))
        labels = {"classes.txt": table, "images.txt": "1 001.Bird_1/one.jpg\n", "image_class_labels.txt": "1 1\n"}
        read = read_release("cub", lay(files | {f"CUB_200_2011/{name}": text for name, text in labels.items()}))
        halves, thirds = (rule(read.reading).splits for rule in read.release.splits.values())
        assert [len(halves[part]) for part in ("train", "val", "test")] == [100, 50, 50]
        assert halves["val"][:2] == ["002.Bird_2", "006.Bird_6"]
        assert halves["test"][:2] == ["004.Bird_4", "008.Bird_8"]
        assert [len(thirds[part]) for part in ("train", "val", "test")] == [140, 30, 30]
        assert "008.Bird_8" in thirds["test"]
        assert sorted(name for part in thirds.values() for name in part) == names

    def test_the_photos_of_imagenet_are_said(self, lay: Lay, pictures: Pictures) -> None:
        assert len(published("cub_imagenet.txt")) == 43
        root = lay(pictures(["087.Mallard/Mallard_0067_77623.jpg", "087.Mallard/other.jpg"]))
        read = read_release("cub", root)
        assert "1 of its 43 photos" in read.release.notes(read.reading)[0]

    def test_masks_are_no_photos(self, lay: Lay, pictures: Pictures) -> None:
        root = lay(pictures(["images/087.Mallard/a.jpg", "segmentations/087.Mallard/a.png"]))
        assert read_release("cub", root).reading.counts() == {"other_version": 1}

    def test_the_release_of_2010_is_another_one(self, lay: Lay, pictures: Pictures) -> None:
        root = lay(pictures(["images/001.Black_footed_Albatross/a.jpg"]) | {"lists/files.txt": "a"})
        with pytest.raises(UsageError, match="CUB-200 of 2010"):
            read_release("cub", root)
