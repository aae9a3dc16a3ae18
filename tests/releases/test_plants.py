"""Plantae, CropDiseases and Flowers in the forms in which they go round, made up in the names that they really have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.errors import UsageError
from rotogbml.releases.importing import read_release

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]
SplitOf = Callable[..., dict[str, list[str]]]


class TestPlantae:
    def test_the_largest_classes_and_the_first_of_their_images(self, lay: Lay, split_of: SplitOf) -> None:
        sizes = {f"species {i:03}": 1 + i % 3 for i in range(202)} | {"species big": 603}
        root = lay(dict.fromkeys((f"plantae/{name}/{i:04}.jpg" for name, n in sizes.items() for i in range(n)), b"x"))
        read = read_release("plantae", root)
        counts = read.reading.per_class()
        assert len(counts) == 200
        assert counts["species big"] == 600
        # of the 68 classes of one image the last three by name are left out
        assert read.reading.counts() == {"beyond_200_classes": 3, "beyond_first_600": 3}
        assert not {"species 201", "species 198", "species 195"} & set(counts)
        split = split_of(read)
        assert [len(split[part]) for part in ("train", "val", "test")] == [100, 50, 50]
        assert "species big" in split["test"]  # the largest of 200 stands last

    def test_the_json_of_2021(self, lay: Lay, pictures: Pictures) -> None:
        tree = {
            "images": [{"id": 1, "file_name": "train/a/1.jpg"}, {"id": 2, "file_name": "train/b/2.jpg"}],
            "annotations": [{"image_id": 1, "category_id": 5}, {"image_id": 2, "category_id": 6}],
            "categories": [
                {"id": 5, "name": "Rosa", "supercategory": "Plants", "kingdom": "Plantae"},
                {"id": 6, "name": "Apis", "supercategory": "Insects", "kingdom": "Animalia"},
            ],
        }
        root = lay(pictures(["train/a/1.jpg", "train/b/2.jpg"]) | {"train_mini.json": json.dumps(tree)})
        reading = read_release("plantae", root / "train" / "a").reading
        assert reading.per_class() == {"Rosa": 1}
        assert reading.counts() == {"other_supercategory": 1}

    def test_folders_of_every_year(self, lay: Lay, pictures: Pictures) -> None:
        for year, folders in enumerate(
            (("Plantae/Rosa", "Insecta/Apis"), ("05729_Plantae_Rosa", "00001_Animalia_Apis"))
        ):
            reading = read_release("plantae", lay(pictures(f"{f}/a.jpg" for f in folders), str(year))).reading
            assert list(reading.per_class()) == [folders[0].rpartition("/")[2]]
            assert reading.counts() == {"other_supercategory": 1}

    def test_places_and_test_images_of_the_same_year(self, lay: Lay, pictures: Pictures) -> None:
        tree = {
            "images": [{"id": 1, "file_name": "train_val2018/Plantae/5321/1.jpg"}],
            "annotations": [{"image_id": 1, "category_id": 5321}],
            "categories": [{"id": 5321, "name": "5321", "supercategory": "Plantae"}],
        }
        files = pictures(["train_val2018/Plantae/5321/1.jpg", "test2018/2.jpg"])
        tables = {"train2018.json": json.dumps(tree), "train2018_locations.json": "[]", "test2018.json": "{}"}
        root = lay(files | tables)
        reading = read_release("plantae", root).reading
        assert reading.per_class() == {"5321": 1}
        assert reading.counts() == {"unlabelled_test_image": 1}
        (root / "train2018.json").unlink()
        (root / "train_val2018/Plantae/5321/1.jpg").unlink()
        with pytest.raises(UsageError, match=r"nothing of Plantae.*1 unnamed_file"):
            read_release("plantae", root)  # test2018 is no species

    @pytest.mark.parametrize(
        ("folder", "other"),
        [
            ("CUB_200_2011/images/010.Red_winged_Blackbird", "cub"),
            ("2750/SeaLake", "eurosat"),
            ("PlantVillage/Pepper,_bell___healthy", "cropdiseases"),
            ("train/n02129165", "miniimagenet or tiny-imagenet"),
            ("train/Acura RL Sedan 2012", "cars"),
            ("HAM10000/akiec", "isic"),
        ],
    )
    def test_class_folders_of_another_release(self, lay: Lay, pictures: Pictures, folder: str, other: str) -> None:
        root = lay(pictures([f"{folder}/a.jpg", "Rosa/a.jpg"]))
        label = folder.rpartition("/")[2]
        with pytest.raises(UsageError, match=f"nothing of Plantae.* '{label}' is as in {other}: import that, or give"):
            read_release("plantae", root)
        root = lay(pictures([f"{folder}/a.jpg", "Plantae/Rosa/a.jpg"]), "with plants")
        assert read_release("plantae", root).reading.per_class() == {"Rosa": 1}

    @pytest.mark.parametrize("name", ["cub", "eurosat", "cropdisease", "cropdisease_kaggle", "miniimagenet_folders"])
    def test_pieces_of_other_releases(self, layouts: Path, name: str) -> None:
        with pytest.raises(UsageError, match="nothing of Plantae"):
            read_release("plantae", layouts / name)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"images": None}, "'images' is nothing where a list should be"),
            ({"images": {}}, "'images' is an object where a list should be"),
            ({"images": ["a.jpg"]}, "entry 1 of 'images' is text (\"a.jpg\") where an object should be"),
            ({"images": [{"id": 1, "file_name": 5}]}, "'file_name' in entry 1 of 'images' is a number (5) where text"),
            ({"images": [{"id": 1}]}, "'file_name' in entry 1 of 'images' is nothing where text should be"),
            (
                {"images": [{"id": [], "file_name": "a"}]},
                "'id' in entry 1 of 'images' is a list where a number or text",
            ),
            ({"annotations": [{"image_id": 1, "category_id": {}}]}, "'category_id' in entry 1 of 'annotations' is an"),
            (
                {"categories": [{"id": 5, "name": "x"}, {"id": 5.5, "name": "x"}]},
                "'id' in entry 2 of 'categories' is a",
            ),
            ({"categories": [{"id": 5, "name": True}, 7]}, "entry 2 of 'categories' is a number (7) where an object"),
        ],
    )
    def test_json_of_other_types(self, lay: Lay, change: dict[str, object], said: str) -> None:
        tree: dict[str, object] = {
            "images": [{"id": 1, "file_name": "train/a/1.jpg"}],
            "annotations": [{"image_id": 1, "category_id": 5}],
            "categories": [{"id": 5, "name": "Rosa", "supercategory": "Plants"}],
        }
        root = lay({"train2017.json": json.dumps(tree | change)})
        with pytest.raises(UsageError) as caught:
            read_release("plantae", root)
        assert f"'train2017.json' in {root} is of another version, or damaged: " in str(caught.value)
        assert said in str(caught.value)

    def test_two_years_are_two_releases(self, lay: Lay) -> None:
        with pytest.raises(UsageError, match=r"two releases: train2017\.json and train2018\.json"):
            read_release("plantae", lay({"train2017.json": "{}", "train2018.json": "{}"}))


class TestCropDiseases:
    def test_a_copy_of_the_tree_in_itself(self, lay: Lay, pictures: Pictures) -> None:
        names = [f"{part}/Apple___Apple_scab/{i}{part}.JPG" for part in ("train", "test") for i in range(2)]
        root = lay(pictures([*(f"dataset/{name}" for name in names), *(f"dataset/dataset/{name}" for name in names)]))
        reading = read_release("cropdiseases", root).reading
        assert sorted(row.path for row in reading.rows) == [f"dataset/{name}" for name in names[:2]]
        assert reading.counts() == {"nested_copy": 4, "test_part": 2}

    @pytest.mark.parametrize("tree", [[], ["a"], "a", 5, None, True])
    def test_a_leaf_map_that_is_none(self, lay: Lay, pictures: Pictures, tree: object) -> None:
        root = lay(pictures(["raw/color/Apple___healthy/a.JPG"]) | {"leaf-map.json": json.dumps(tree)})
        with pytest.raises(UsageError, match=r"'leaf-map\.json' in .*: all of it is .* where an object should be"):
            read_release("cropdiseases", root)

    def test_two_copies_that_spell_a_class_in_two_ways(self, lay: Lay, pictures: Pictures) -> None:
        root = lay(pictures(["a/Pepper,_bell___healthy/1.JPG", "b/Potato___healthy/2.JPG"]))
        assert len(read_release("cropdiseases", root).reading.rows) == 2
        more = lay(pictures(["c/train/Pepper__bell___healthy/3.JPG", "c/test/Pepper_bell_healthy/4.JPG"]))
        with pytest.raises(
            UsageError, match=r"two copies .* 'a/Pepper,_bell___healthy/1\.JPG' and 'c/train/Pepper__bell"
        ):
            read_release("cropdiseases", more)
        assert len(read_release("cropdiseases", more / "c").reading.rows) == 1  # of the test part nothing is taken

    def test_two_pieces_beside_each_other(self, layouts: Path, tmp_path: Path) -> None:
        for name in ("cropdisease", "cropdisease_kaggle"):
            shutil.copytree(layouts / name, tmp_path / name)
        with pytest.raises(UsageError, match="two copies of the release"):
            read_release("cropdiseases", tmp_path)

    def test_background_is_no_leaf(self, lay: Lay, pictures: Pictures) -> None:
        root = lay(pictures(["Plant/Apple___healthy/image (1).JPG", "Plant/Background_without_leaves/image (1).jpg"]))
        assert read_release("cropdiseases", root).reading.counts() == {"other_class": 1}

    def test_of_three_versions_the_coloured_one(self, lay: Lay, pictures: Pictures) -> None:
        versions = ("color", "grayscale", "segmented")
        root = lay(pictures(f"raw/{version}/Apple___healthy/a {version}.jpg" for version in versions))
        reading = read_release("cropdiseases", root).reading
        assert [row.path for row in reading.rows] == ["raw/color/Apple___healthy/a color.jpg"]
        assert reading.counts() == {"other_version": 2}

    def test_leaves(self, lay: Lay, pictures: Pictures) -> None:
        ids = [f"{i:08x}-0000-4000-8000-000000000000" for i in range(7)]
        names = [
            f"{ids[0]}___RS_HL 1.JPG",
            f"{ids[1]}___RS_HL 2.JPG",
            f"{ids[2]}___RS_HL 3.JPG",
            f"{ids[3]}___GHLB_PS Leaf 41 Day 18.jpg",
            f"{ids[4]}___GHLB_PS Leaf 41 Day 9.jpg",
            f"{ids[5]}___RS_HL 9.JPG",
            f"{ids[5]}___RS_HL 9_180deg.JPG",
        ]
        files = pictures(f"PlantVillage/Tomato___healthy/{name}" for name in names)
        leaves = {
            "rs_hl 1": ["Tomato___healthy:::7.0"],
            "rs_hl 2": ["Tomato___healthy:::7.0"],
            "rs_hl 3": ["Tomato___healthy:::8.0"],
        }
        root = lay(files | {"leaf-map.json": json.dumps(leaves)})
        group = {row.path.rpartition("___")[2]: row.group for row in read_release("cropdiseases", root).reading.rows}
        assert group["RS_HL 1.JPG"] == group["RS_HL 2.JPG"] != group["RS_HL 3.JPG"]
        assert group["GHLB_PS Leaf 41 Day 18.jpg"] == group["GHLB_PS Leaf 41 Day 9.jpg"]
        assert group["RS_HL 9.JPG"] == group["RS_HL 9_180deg.JPG"]
        assert len(set(group.values())) == 4


def test_flowers_in_folders(lay: Lay, pictures: Pictures) -> None:
    root = lay(
        pictures(f"flowers/{part}/{label}/image_{part}{label}.jpg" for part in ("train", "valid") for label in (1, 10))
    )
    reading = read_release("flowers102", root).reading
    assert reading.per_class() == {"1": 2, "10": 2}
    assert reading.parts() == {"train": 2, "val": 2}
