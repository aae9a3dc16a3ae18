"""Releases in the other forms in which they go round, made up in the names that they really have."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rotogbml.errors import UsageError
from rotogbml.releases import places
from rotogbml.releases.check import check
from rotogbml.releases.importing import import_release, read_release, tree_of
from rotogbml.releases.release import published, published_lines
from rotogbml.sources.decode import decode
from rotogbml.sources.packed import open_pack
from rotogbml.sources.splits import split_classes

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]

CARS = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012"]


def mat(**variables: object) -> bytes:
    savemat = pytest.importorskip("scipy.io").savemat
    file = io.BytesIO()
    savemat(file, variables)
    return file.getvalue()


def annotations(rows: list[tuple[str, int]], **more: list[int]) -> np.ndarray:
    """Return a struct array as the devkit has it; the first column is the name."""
    field = "relative_im_path" if more else "fname"
    kinds = [("bbox_x1", "O"), ("class", "O"), (field, "O"), *((name, "O") for name in more)]
    array = np.zeros((1, len(rows)), dtype=kinds)
    for i, (name, label) in enumerate(rows):
        array[0, i] = (1, label, name, *(values[i] for values in more.values()))
    return array


def split_of(read: object) -> dict[str, list[str]]:
    source = tree_of(read).sources[0]  # type: ignore[arg-type]
    return split_classes(source, source.classes, file=None, seed=0, n_way=1).splits


class TestCub:
    def test_class_folders_alone_keep_their_places_in_the_split(self, lay: Lay, pictures: Pictures) -> None:
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


class TestCars:
    def test_the_devkit_with_the_test_part(self, lay: Lay, pictures: Pictures) -> None:
        files = pictures(["cars_train/00001.jpg", "cars_train/00002.jpg", "cars_test/00001.jpg", "cars_test/00002.jpg"])
        files["devkit/cars_meta.mat"] = mat(class_names=np.array(CARS, dtype=object))
        files["devkit/cars_train_annos.mat"] = mat(annotations=annotations([("00001.jpg", 1), ("00002.jpg", 3)]))
        files["cars_test_annos_withlabels.mat"] = mat(annotations=annotations([("00001.jpg", 2), ("00002.jpg", 1)]))
        root = lay(files)
        reading = read_release("cars", root).reading
        assert {row.path: row.label for row in reading.rows} == {
            "cars_train/00001.jpg": CARS[0],
            "cars_train/00002.jpg": CARS[2],
        }
        assert reading.counts() == {"test_part": 2}
        whole = read_release("cars", root, whole=True).reading
        assert whole.per_class() == {CARS[0]: 2, CARS[1]: 1, CARS[2]: 1}
        (root / "cars_test_annos_withlabels.mat").unlink()
        reading = read_release("cars", root).reading
        assert reading.counts() == {"unlabelled_test_image": 2, "class_without_images": 1}

    def test_two_archives_beside_each_other(self, tmp_path: Path, pictures: Pictures) -> None:
        devkit = {
            "devkit/cars_meta.mat": mat(class_names=np.array(CARS, dtype=object)),
            "devkit/cars_train_annos.mat": mat(annotations=annotations([("00001.jpg", 1), ("00002.jpg", 3)])),
        }
        for name, files in (
            ("cars_train", pictures(["cars_train/00001.jpg", "cars_train/00002.jpg"])),
            ("car_devkit", devkit),
        ):
            with tarfile.open(tmp_path / f"{name}.tgz", "w:gz") as archive:
                for path, data in files.items():
                    info = tarfile.TarInfo(path)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
        for place in (tmp_path, tmp_path / "cars_train.tgz"):
            reading = read_release("cars", place).reading
            assert reading.per_class() == {CARS[0]: 1, CARS[2]: 1}
        import_release("cars", tmp_path / "car_devkit.tgz", tmp_path / "out", size=16, workers=1)
        assert len(open_pack(tmp_path / "out")["cars"].images) == 2

    def test_an_unpacked_archive_is_not_counted_twice(self, tmp_path: Path, lay: Lay, pictures: Pictures) -> None:
        files = pictures(["2750/Forest/Forest_1.jpg", "2750/River/River_1.jpg"])
        root = lay(files)
        with zipfile.ZipFile(root / "EuroSAT.zip", "w") as archive:
            for path, data in files.items():
                archive.writestr(path, data)
        reading = read_release("eurosat", root).reading
        assert reading.per_class() == {"Forest": 1, "River": 1}
        assert reading.counts() == {}

    def test_the_older_form(self, lay: Lay, pictures: Pictures) -> None:
        rows = [("car_ims/000001.jpg", 1), ("car_ims/000002.jpg", 3), ("car_ims/000003.jpg", 2)]
        files = pictures(name for name, _ in rows)
        files["cars_annos.mat"] = mat(
            annotations=annotations(rows, test=[0, 0, 1]), class_names=np.array(CARS, dtype=object)
        )
        root = lay(files)
        assert read_release("cars", root).reading.per_class() == {CARS[0]: 1, CARS[2]: 1}
        assert read_release("cars", root / "car_ims", whole=True).reading.per_class() == dict.fromkeys(CARS, 1)

    def test_class_folders_without_a_slash(self, lay: Lay, pictures: Pictures) -> None:
        spelt = {"Ram C-V Cargo Van Minivan 2012": "a", "Acura RL Sedan 2012": "b", "cars of mine": "c"}
        root = lay(
            pictures(
                f"car_data/car_data/{part}/{folder}/{name}{part}.jpg"
                for part in ("train", "test")
                for folder, name in spelt.items()
            )
        )
        read = read_release("cars", root)
        assert read.reading.per_class() == {"Acura RL Sedan 2012": 1, "Ram C/V Cargo Van Minivan 2012": 1}
        assert read.reading.counts() == {"test_part": 2, "unnamed_file": 2}
        places = [published_lines("cars.txt").index(name) % 4 for name in read.reading.per_class()]
        assert places == [1, 1]
        assert split_of(read) == {"val": list(read.reading.per_class())}

    def test_the_split_has_the_published_size(self, lay: Lay, pictures: Pictures) -> None:
        read = read_release("cars", lay(pictures(["Acura RL Sedan 2012/a.jpg"])))
        split = next(iter(read.release.splits.values()))(read.reading)
        assert [len(split.splits[part]) for part in ("train", "val", "test")] == [98, 49, 49]


class TestMiniImageNet:
    def test_the_published_split(self) -> None:
        counts = Counter(part for part, _ in published("miniimagenet.txt"))
        assert counts == {"train": 64, "val": 16, "test": 20}
        assert len({wnid for _, wnid in published("miniimagenet.txt")}) == 100
        parts = dict(map(reversed, published("miniimagenet.txt")))
        # house finch, nematode and goose, as everybody names them first
        assert (parts["n01532829"], parts["n01930112"], parts["n01855672"]) == ("train", "test", "val")

    def test_parts_of_images_are_put_together(self, lay: Lay, pictures: Pictures) -> None:
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


class TestPlantae:
    def test_the_largest_classes_and_the_first_of_their_images(self, lay: Lay) -> None:
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


class TestIsic:
    HEADER = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"

    def test_the_test_part_and_the_list_of_lesions(self, lay: Lay, pictures: Pictures) -> None:
        files = pictures(
            f"ISIC2018_Task3_{part}_Input/{name}.jpg"
            for part, name in (("Training", "A"), ("Training", "B"), ("Test", "C"))
        )
        files |= {
            "ISIC2018_Task3_Training_GroundTruth.csv": self.HEADER + "A,1,0,0,0,0,0,0\nB,0,1,0,0,0,0,0\n",
            "ISIC2018_Task3_Test_GroundTruth.csv": self.HEADER + "C,1,0,0,0,0,0,0\n",
            "ISIC2018_Task3_Training_LesionGroupings.csv": "image,lesion_id,diagnosis_confirm_type\nA,L1,x\nB,L1,x\n",
        }
        reading = read_release("isic", lay(files)).reading
        assert [(row.label, row.group) for row in reading.rows] == [("MEL", "L1"), ("NV", "L1")]
        assert reading.counts() == {"class_without_images": 5, "test_part": 1}

    def test_without_lesions_it_says_so(self, lay: Lay, pictures: Pictures) -> None:
        root = lay(pictures(["A.jpg"]) | {"x_GroundTruth.csv": self.HEADER + "A,1,0,0,0,0,0,0\n"})
        assert any("no list of lesions" in remark for remark in read_release("isic", root).reading.remarks)

    @pytest.mark.parametrize(
        ("header", "year"),
        [("image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK", "2019"), ("image_id,melanoma,seborrheic_keratosis", "2017")],
    )
    def test_other_years_are_named(self, lay: Lay, pictures: Pictures, header: str, year: str) -> None:
        root = lay(pictures(["A.jpg"]) | {f"ISIC_{year}_Training_GroundTruth.csv": f"{header}\nA,1,0\n"})
        with pytest.raises(UsageError, match=f"is of ISIC {year}"):
            read_release("isic", root)

    def test_harvards_table_without_an_ending(self, lay: Lay, pictures: Pictures) -> None:
        table = "lesion_id\timage_id\tdx\nHAM_1\tISIC_1\tnv\nHAM_1\tISIC_2\tnv\nHAM_2\tISIC_3\thealthy\n"
        root = lay(pictures(f"HAM10000_images_part_1/ISIC_{i}.jpg" for i in (1, 2, 3)) | {"HAM10000_metadata": table})
        reading = read_release("ham10000", root).reading
        assert [(row.label, row.group) for row in reading.rows] == [("nv", "HAM_1")] * 2
        assert reading.counts() == {"class_without_images": 6, "other_class": 1}

    @pytest.mark.parametrize(
        ("name", "labels", "left"),
        [
            ("ham10000", ["nv"], {"class_without_images": 5, "test_part": 1}),
            ("isic", ["nv"], {"class_without_images": 5, "test_part": 1}),
            ("isic", ["NV"], {"class_without_images": 5, "test_part": 1}),
        ],
    )
    def test_the_test_part_in_the_columns_of_the_metadata(
        self, lay: Lay, pictures: Pictures, name: str, labels: list[str], left: dict[str, int]
    ) -> None:
        columns = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\n"
        files = pictures(["ISIC_1.jpg", "ISIC_2.jpg"])
        files["ISIC2018_Task3_Test_GroundTruth.csv"] = columns + "HAMTEST_0,ISIC_2,mel,histo,40.0,male,back,x\n"
        if labels == ["NV"]:
            files["ISIC2018_Task3_Training_GroundTruth.csv"] = self.HEADER + "ISIC_1,0,1,0,0,0,0,0\n"
        else:
            files["HAM10000_metadata.csv"] = columns + "HAM_0,ISIC_1,nv,histo,40.0,male,back,x\n"
        root = lay(files)
        reading = read_release(name, root).reading
        assert [row.label for row in reading.rows] == labels
        assert reading.counts() == left
        assert len(read_release(name, root, whole=True).reading.rows) == 2

    def test_the_test_part_alone_is_nothing_of_the_release(self, lay: Lay, pictures: Pictures) -> None:
        table = "lesion_id,image_id,dx\nHAMTEST_0,ISIC_2,mel\n"
        root = lay(pictures(["ISIC_2.jpg"]) | {"ISIC2018_Task3_Test_GroundTruth.csv": table})
        with pytest.raises(UsageError, match=r"nothing of ISIC.*1 test_part"):
            read_release("isic", root)

    def test_folders_that_stand_there_twice(self, lay: Lay, pictures: Pictures) -> None:
        files = pictures(f"{folder}_part_1/ISIC_1.jpg" for folder in ("HAM10000_images", "ham10000_images"))
        reading = read_release(
            "ham10000", lay(files | {"HAM10000_metadata.csv": "lesion_id,image_id,dx\nH,ISIC_1,nv\n"})
        ).reading
        assert reading.per_class() == {"nv": 1}
        assert reading.counts() == {"class_without_images": 6, "nested_copy": 1}


class TestChestX:
    def test_twelve_folders_and_a_trailing_comma(self, lay: Lay, pictures: Pictures) -> None:
        header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        header += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        rows = ["Mass,0,7", "Pneumonia,0,8", "Mass|Nodule,0,7", "No Finding,0,9", "Mass,1,7"]
        tail = ",58,M,PA,2682,2749,0.143,0.143,\n"
        table = header + "".join(f"0000000{i}_000.png,{row}{tail}" for i, row in enumerate(rows))
        names = [f"images_{1 + i:03}/images/0000000{i}_000.png" for i in range(5)]
        reading = read_release("chestx", lay(pictures(names) | {"Data_Entry_2017.csv": table})).reading
        assert [(row.path, row.label, row.group) for row in reading.rows] == [
            (names[0], "Mass", "patient 7"),
            (names[4], "Mass", "patient 7"),
        ]
        assert reading.counts() == {"multi_label": 1, "no_finding": 1, "other_finding": 1}


def test_eurosat_beside_its_thirteen_bands(lay: Lay, pictures: Pictures) -> None:
    bands = {"EuroSATallBands/Forest/Forest_1.tif": b"x"}
    reading = read_release("eurosat", lay(pictures(["EuroSAT/Forest/Forest_1.jpg"]) | bands)).reading
    assert reading.per_class() == {"Forest": 1}
    assert reading.counts() == {"other_version": 1}
    with pytest.raises(UsageError, match="13 bands"):
        read_release("eurosat", lay(bands, "alone"))


def test_flowers_in_folders(lay: Lay, pictures: Pictures) -> None:
    root = lay(
        pictures(f"flowers/{part}/{label}/image_{part}{label}.jpg" for part in ("train", "valid") for label in (1, 10))
    )
    reading = read_release("flowers102", root).reading
    assert reading.per_class() == {"1": 2, "10": 2}
    assert reading.parts() == {"train": 2, "val": 2}


def test_tiny_imagenet_with_sorted_val(lay: Lay, pictures: Pictures) -> None:
    files = pictures(["train/n01443537/images/n01443537_0.JPEG", "val/n01443537/val_7.JPEG"])
    labels = {"wnids.txt": "n01443537\n", "val/val_annotations.txt": "val_7.JPEG\tn01443537\t0\t0\t1\t1\n"}
    reading = read_release("tiny-imagenet", lay(files | labels)).reading
    assert reading.per_class() == {"n01443537": 2}
    assert reading.counts() == {}


def test_omniglot(lay: Lay, pictures: Pictures) -> None:
    alphabets = ["Aurek", "Balinese", "Early_Aramaic", "Greek", "Latin"]
    names = [f"images_background/{a}/character01/0001_{i}.png" for a in alphabets for i in range(2)]
    names += [
        "images_evaluation/Tibetan/character01/0002_1.png",
        "images_background_small1/Greek/character01/0001_0.png",
    ]
    read = read_release("omniglot", lay(pictures(names)))
    assert read.reading.per_class() == {f"{a}/character01": 2 for a in alphabets} | {"Tibetan/character01": 1}
    assert read.reading.counts() == {"other_version": 1}
    split = split_of(read)
    assert (split["val"], split["test"]) == (["Latin/character01"], ["Tibetan/character01"])


def test_pacs_is_four_sources(lay: Lay, tmp_path: Path, pictures: Pictures) -> None:
    domains = ("art_painting", "cartoon", "photo", "sketch")
    root = lay(pictures(f"PACS/kfold/{d}/{c}/pic_001.jpg" for d in domains for c in ("dog", "house")))
    import_release("pacs", root / "PACS/kfold/photo", tmp_path / "out", size=16, workers=1)
    pack = open_pack(tmp_path / "out")
    assert list(pack) == [f"pacs-{d}" for d in domains]
    assert all(source.classes == ("dog", "house") for source in pack.values())


class TestGeneric:
    def test_a_table_with_groups_and_parts(self, lay: Lay, tmp_path: Path, pictures: Pictures) -> None:
        rows = ("a.png;elm;1;train", "b.png;elm;1;train", "c.png;oak;2;test", "d.png;oak;3;test")
        table = "\n".join(["image;species;patient;split", *(f"x/{row}" for row in rows)])
        root = lay(pictures(f"x/{name}.png" for name in "abcd") | {"labels.csv": table})
        read, _ = import_release("generic", root, tmp_path / "out", size=16, workers=1)
        source = open_pack(tmp_path / "out")["generic"]
        assert source.classes == ("elm", "oak")
        assert source.groups is not None
        assert source.groups.tolist() == [0, 0, 1, 2]
        assert split_of(read) == {"train": ["elm"], "test": ["oak"]}

    def test_class_folders(self, lay: Lay, pictures: Pictures) -> None:
        assert read_release("generic", lay(pictures(["elm/a.jpg", "oak/b.jpg"]))).reading.per_class() == {
            "elm": 1,
            "oak": 1,
        }


def test_copies_are_kept_as_one_group(lay: Lay, tmp_path: Path, pictures: Pictures) -> None:
    files = pictures(["Forest/a.jpg", "Forest/b.jpg", "River/c.jpg"])
    files["Forest/copy.jpg"] = files["River/under another label.jpg"] = files["Forest/a.jpg"]
    import_release("eurosat", lay(files), tmp_path / "out", size=16, workers=1)
    source = open_pack(tmp_path / "out")["eurosat"]
    assert source.groups is not None
    assert len(source.images) == 5
    inputs = json.loads((source.path / "source.json").read_text())["inputs"]
    of = {path: int(group) for (path, _), group in zip(inputs, source.groups, strict=True)}
    same = {of["Forest/a.jpg"], of["Forest/copy.jpg"], of["River/under another label.jpg"]}
    assert len(same) == 1
    assert len(set(of.values())) == 3


def test_several_archives_give_the_same_bytes_on_any_number_of_workers(
    tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ChestX comes: twelve archives and a table."""
    monkeypatch.setattr("rotogbml.sources.examine.CHUNK", 3)
    root = tmp_path / "nih"
    root.mkdir()
    names = [f"{i:08}_000.png" for i in range(24)]
    images = pictures(names)
    for number, (kind, mode) in enumerate((("tar.gz", "w:gz"), ("tar", "w"), ("tar.bz2", "w:bz2"))):
        with tarfile.open(root / f"images_{number:03}.{kind}", mode) as archive:  # ty: ignore[no-matching-overload]
            for name in names[number::4]:
                info = tarfile.TarInfo(f"images/{name}")
                info.size = len(images[name])
                archive.addfile(info, io.BytesIO(images[name]))
    (root / "images").mkdir()
    for name in names[3::4]:
        (root / "images" / name).write_bytes(images[name])
    findings = ["Mass", "Nodule", "Effusion"]
    rows = [f"{name},{findings[i % 3]},0,{i // 2}" for i, name in enumerate(names)]
    (root / "Data_Entry_2017.csv").write_text("\n".join(["Image Index,Finding Labels,Follow-up #,Patient ID", *rows]))
    packs = []
    for workers in (1, 2):
        import_release("chestx", root, tmp_path / str(workers), size=16, workers=workers)
        packs.append({f.name: f.read_bytes() for f in sorted((tmp_path / str(workers) / "chestx").iterdir())})
    assert packs[0] == packs[1]
    source = open_pack(tmp_path / "1")["chestx"]
    assert [len(source.rows(c)) for c in range(3)] == [8, 8, 8]
    assert source.groups is not None
    assert len(np.unique(source.groups)) == 12
    inputs = json.loads((source.path / "source.json").read_text())["inputs"]
    for row, (path, _) in enumerate(inputs):
        assert (source.images[row] == decode(images[path.rpartition("/")[2]], source.side).pixels).all()
