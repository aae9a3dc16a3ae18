"""Places in the forms in which it goes round, made up in the names that it really has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.errors import UsageError
from rotogbml.releases import places
from rotogbml.releases.check import check
from rotogbml.releases.importing import read_release
from rotogbml.releases.release import published_lines

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]


class TestPlaces:
    def test_the_published_split(self, lay: Lay, pictures: Pictures) -> None:
        assert len(published_lines("places365.txt")) == 365
        read = read_release("places", lay(pictures(["places365_standard/train/airfield/00000001.jpg"])))
        split = next(iter(read.release.splits.values()))(read.reading)
        assert [len(split.splits[part]) for part in ("train", "val", "test")] == [183, 91, 91]
        assert split.splits["train"][:2] == ["airfield", "airport_terminal"]
        assert split.splits["val"][0] == "airplane_cabin"
        assert split.splits["test"][0] == "alcove"

    def test_the_first_200_of_a_class(self, lay: Lay) -> None:
        names = [f"train/{kind}/{i:08}.jpg" for kind in ("abbey", "alley") for i in range(1, 204)]
        root = lay(dict.fromkeys(names, b"x"))
        reading = read_release("places", root).reading
        assert reading.per_class() == {"abbey": 200, "alley": 200}
        assert reading.counts() == {"beyond_first_200": 6}
        assert "train/abbey/00000200.jpg" in {row.path for row in reading.rows}
        assert read_release("places", root, whole=True).reading.per_class() == {"abbey": 203, "alley": 203}

    def test_miniplaces(self, lay: Lay, pictures: Pictures) -> None:
        files = pictures(["images/train/a/abbey/1.jpg", "images/train/b/bakery/shop/1.jpg", "images/val/1.jpg"])
        lists = {
            "train.txt": "train/a/abbey/1.jpg 0\ntrain/b/bakery/shop/1.jpg 1\ntrain/a/abbey/2.jpg 0\n",
            "val.txt": "val/1.jpg 1\n",
        }
        reading = read_release("places", lay(files | lists)).reading
        assert reading.per_class() == {"abbey": 1, "bakery/shop": 1}
        assert reading.counts() == {"missing_file": 1, "val_part": 1}
        assert reading.published is None  # two classes are a part of something

    def test_miniplaces_is_held_against_its_own_counts(self, lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(places, "MINI_CLASSES", 2)  # 100 in truth
        monkeypatch.setattr(places, "MINI_TRAIN", 600)
        monkeypatch.setattr(places, "MINI_VAL", 2)
        names = [f"train/a/a{c}/{i:08}.jpg" for c in range(2) for i in range(1, 301)]
        val = [f"val/{i:08}.jpg" for i in range(2)]
        lists = {
            "train.txt": "".join(f"{name} {i // 300}\n" for i, name in enumerate(names)),
            "val.txt": "".join(f"{name} {i}\n" for i, name in enumerate(val)),
        }
        root = lay(dict.fromkeys((f"images/{name}" for name in [*names[:201], *names[300:310], *val]), b"x") | lists)
        report = check("places", root)
        assert report.form == "lists of MiniPlaces' training part"
        assert report.published == (2, 400)
        assert report.wrong == {"a1": (10, 200)}
        assert report.left == {"beyond_first_200": 1, "missing_file": 600 - 211, "val_part": 2}
        whole = check("places", root, whole=True)
        assert whole.published == (2, 602)
        assert whole.images == {"a0": 202, "a1": 11}  # with one of the validation part each
        assert whole.wrong == {"a1": (11, 200)}  # more than the literature takes is no fault

    @pytest.mark.parametrize(
        ("lists", "label", "left"),
        [
            (  # of the release
                {
                    "places365_train_standard.txt": "/a/airfield/1.jpg 0\n/b/bakery/shop/1.jpg 1\n/a/airfield/2.jpg 0",
                    "places365_val.txt": "Places365_val_1.jpg 1\nPlaces365_val_2.jpg 1\n",
                    "categories_places365.txt": "/a/airfield 0\n/b/bakery/shop 1\n/z/zen_garden 2\n",
                },
                "bakery/shop",
                {"class_without_images": 1, "missing_file": 1, "val_part": 1},
            ),
            (  # of the easy format itself
                {
                    "x/train.txt": "train/airfield/1.jpg\ntrain/bakery-shop/1.jpg\ntrain/airfield/2.jpg",
                    "x/val.txt": "val/bakery-shop/Places365_val_1.jpg\n",
                },
                "bakery-shop",
                {"missing_file": 1, "val_part": 1},
            ),
            (  # of the validation part alone
                {
                    "places365_val.txt": "Places365_val_1.jpg 1\n",
                    "categories_places365.txt": "/a/airfield 0\n/b/bakery/shop 1\n",
                },
                "bakery/shop",
                {"val_part": 1},
            ),
        ],
    )
    def test_the_easy_format_with_lists(
        self, lay: Lay, pictures: Pictures, lists: dict[str, str], label: str, left: dict[str, int]
    ) -> None:
        names = ("train/airfield/1.jpg", "train/bakery-shop/1.jpg", "val/bakery-shop/Places365_val_1.jpg")
        reading = read_release("places", lay(pictures(f"places365_standard/{name}" for name in names) | lists)).reading
        assert {row.path.partition("/")[2]: row.label for row in reading.rows} == {
            names[0]: "airfield",
            names[1]: label,
        }
        assert reading.counts() == left

    def test_letters_without_lists(self, lay: Lay, pictures: Pictures) -> None:
        reading = read_release(
            "places", lay(pictures(["data_256/a/abbey/1.jpg", "data_256/b/bakery/shop/1.jpg"]))
        ).reading
        assert reading.per_class() == {"abbey": 1, "bakery/shop": 1}

    def test_numbers_without_names(self, lay: Lay, pictures: Pictures) -> None:
        root = lay(
            pictures(["val_256/Places365_val_00000001.jpg"]) | {"places365_val.txt": "Places365_val_00000001.jpg 7\n"}
        )
        with pytest.raises(UsageError, match=r"no name for class '7'.*categories_places365"):
            read_release("places", root)
