"""miniImageNet and Tiny ImageNet in the forms in which they go round, made up in the names that they really have."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.errors import UsageError
from rotogbml.releases.importing import read_release
from rotogbml.releases.release import published

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]
SplitOf = Callable[..., dict[str, list[str]]]


class TestMiniImageNet:
    def test_the_published_split(self) -> None:
        counts = Counter(part for part, _ in published("miniimagenet.txt"))
        assert counts == {"train": 64, "val": 16, "test": 20}
        assert len({wnid for _, wnid in published("miniimagenet.txt")}) == 100
        parts = dict(map(reversed, published("miniimagenet.txt")))
        # house finch, nematode and goose, as everybody names them first
        assert (parts["n01532829"], parts["n01930112"], parts["n01855672"]) == ("train", "test", "val")

    def test_parts_of_images_are_put_together(self, lay: Lay, pictures: Pictures, split_of: SplitOf) -> None:
        wnids = ["n01532829", "n01930112", "n01855672"]
        root = lay(
            pictures(f"{part}/{wnid}/{part}{i}.jpg" for part in ("train", "val") for wnid in wnids for i in range(2))
        )
        read = read_release("miniimagenet", root)
        assert read.reading.per_class() == dict.fromkeys(sorted(wnids), 4)
        assert "part images, not classes" in read.reading.remarks[0]
        assert read.release.notes(read.reading) == []  # that each class lies in two parts is said once
        assert split_of(read) == {"train": [wnids[0]], "test": [wnids[1]], "val": [wnids[2]]}

    def test_another_split_of_the_classes_is_said(self, lay: Lay, pictures: Pictures) -> None:
        places = ("train/n01532829", "train/n01930112", "val/n01855672")  # the second is a test class
        read = read_release("miniimagenet", lay(pictures(f"{place}/1.jpg" for place in places)))
        (said,) = read.release.notes(read.reading)
        assert said.startswith("1 classes lie in another part")

    def test_imagenets_own_folders_by_rank(self, lay: Lay, pictures: Pictures) -> None:
        names = [f"n01532829_{number}.JPEG" for number in (9, 10, 200, 1000)]
        files = pictures(f"ILSVRC/Data/CLS-LOC/train/n01532829/{name}" for name in names)
        lists = {"train.csv": "filename,label\nn0153282900000002.jpg,n01532829\nn0153282900000004.jpg,n01532829\n"}
        read = read_release("miniimagenet", lay(files | lists))
        assert [row.path.rpartition("/")[2] for row in read.reading.rows] == [names[1], names[3]]
        assert "must be complete" in read.reading.remarks[0]
        assert read.reading.counts() == {}

    def test_two_layouts_in_one_place(self, lay: Lay, pictures: Pictures) -> None:
        files = pictures(["images/n0153282900000001.jpg", "images/n0153282900000002.jpg", "test/n01930112/a.jpg"])
        table = "filename,label\nn0153282900000001.jpg,n01532829\n"
        reading = read_release("miniimagenet", lay(files | {"train.csv": table})).reading
        assert reading.counts() == {"other_layout": 1, "unnamed_file": 1}
        said, *absent = reading.remarks
        assert [remark.split(" ")[0] for remark in absent] == ["val.csv", "test.csv"]
        assert said.startswith("two layouts lie in one place: lists, which are read, and class folders with 1 more")
        assert "such as 'test/n01930112/a.jpg'" in said

    def test_two_pieces_beside_each_other(self, layouts: Path, tmp_path: Path) -> None:
        for name in ("miniimagenet", "miniimagenet_folders"):
            shutil.copytree(layouts / name, tmp_path / name)
        counts = read_release("miniimagenet", tmp_path).reading.counts()
        assert counts["other_layout"] == 30
        assert not {"unnamed_file", "unlabelled_test_image"} & set(counts)

    def test_lists_of_something_else_above(self, lay: Lay, pictures: Pictures) -> None:
        places = ("train/n01532829", "test/n01930112")
        table = "filename,label\nn0153282900000001.jpg,n01532829\n"
        names = [f"{place}/{place.partition('/')[2]}00000001.jpg" for place in places]
        for depth, where in enumerate(("mini", "a/mini", "a/b/mini")):
            root = lay(pictures(f"{where}/{name}" for name in names) | {"train.csv": table}, str(depth))
            taken = len(read_release("miniimagenet", root / where).reading.rows)
            assert taken == (2 if depth else 1)  # right above, the list is of these images
        for where in ("flat", "a/flat"):
            other = {"train.csv": "id,text\n1,a\n"}
            root = lay(pictures(f"{where}/{name.partition('/')[2]}" for name in names) | other, where)
            assert len(read_release("miniimagenet", root / where).reading.rows) == 2
            with pytest.raises(UsageError, match="no column 'filename'"):
                read_release("miniimagenet", root)

    def test_imagenet_without_the_lists_is_refused(self, lay: Lay, pictures: Pictures) -> None:
        root = lay(dict.fromkeys((f"train/n01532829/n01532829_{i}.JPEG" for i in range(601)), b"x"))
        with pytest.raises(UsageError, match=r"601 images of n01532829.*train\.csv"):
            read_release("miniimagenet", root)

    def test_other_synsets_are_no_classes(self, lay: Lay, pictures: Pictures) -> None:
        root = lay(pictures(["n01532829/a.jpg", "n00000001/a.jpg"]))
        assert read_release("miniimagenet", root).reading.counts() == {"other_class": 1}

    def test_pickles_are_refused(self, lay: Lay) -> None:
        with pytest.raises(UsageError, match="pickle, which can run any code"):
            read_release("miniimagenet", lay({"mini-imagenet-cache-train.pkl": b"\x80\x03."}))


def test_tiny_imagenet_with_sorted_val(lay: Lay, pictures: Pictures) -> None:
    files = pictures(["train/n01443537/images/n01443537_0.JPEG", "val/n01443537/val_7.JPEG"])
    labels = {"wnids.txt": "n01443537\n", "val/val_annotations.txt": "val_7.JPEG\tn01443537\t0\t0\t1\t1\n"}
    reading = read_release("tiny-imagenet", lay(files | labels)).reading
    assert reading.per_class() == {"n01443537": 2}
    assert reading.counts() == {}
