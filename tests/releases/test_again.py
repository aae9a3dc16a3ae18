"""A pack's files and labels equal the label files, as pandas and scipy read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rotogbml.releases.importing import import_release
from rotogbml.releases.verbs import import_

pd = pytest.importorskip("pandas")

Piece = Callable[..., tuple[Path, dict[str, Any]]]


def packed(name: str, place: Path, out: Path) -> dict[str, str]:
    """Import, and return file name to label by what the pack itself says."""
    import_release(name, place, out, size=16, margin=0, workers=1)
    head = json.loads((out / name / "source.json").read_text(encoding="utf-8"))
    labels = [
        label
        for label, start, stop in zip(head["classes"], head["offsets"], head["offsets"][1:], strict=False)
        for _ in range(stop - start)
    ]
    return {path.rpartition("/")[2]: label for (path, _), label in zip(head["inputs"], labels, strict=True)}


def there(place: Path, pattern: str) -> set[str]:
    return {path.name for path in place.rglob(pattern)}


def kept(table: Any, file: str, label: str, names: set[str]) -> dict[str, str]:
    here = table[table[file].isin(names)]
    return dict(zip(here[file], here[label], strict=True))


def test_cub(piece: Piece, tmp_path: Path) -> None:
    place, _ = piece("cub")
    paths = pd.read_csv(place / "images.txt", sep=" ", names=["id", "path"])
    labels = pd.read_csv(place / "image_class_labels.txt", sep=" ", names=["id", "class"])
    classes = pd.read_csv(place / "classes.txt", sep=" ", names=["class", "name"])
    table = paths.merge(labels, on="id").merge(classes, on="class")
    table["file"] = table["path"].str.split("/").str[-1]
    assert packed("cub", place, tmp_path / "out") == kept(table, "file", "name", there(place, "*.jpg"))


def test_cars(piece: Piece, tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    place, _ = piece("cars")
    names = io.loadmat(place / "devkit/cars_meta.mat")["class_names"][0]
    rows = io.loadmat(place / "devkit/cars_train_annos.mat")["annotations"][0]
    table = pd.DataFrame({"file": [r["fname"][0] for r in rows], "class": [int(r["class"][0, 0]) for r in rows]})
    table["name"] = [str(names[i - 1][0]) for i in table["class"]]
    assert packed("cars", place, tmp_path / "out") == kept(table, "file", "name", there(place, "*.jpg"))


def test_flowers(piece: Piece, tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    place, _ = piece("flowers102")
    labels = io.loadmat(place / "imagelabels.mat")["labels"][0]
    expected = {name: str(labels[int(name[6:11]) - 1]) for name in there(place, "*.jpg")}
    assert packed("flowers102", place, tmp_path / "out") == expected


def test_chestx(piece: Piece, tmp_path: Path) -> None:
    place, expect = piece("chestx")
    table = pd.read_csv(
        place / "Data_Entry_2017.csv", usecols=[0, 1, 3], skiprows=1, names=["file", "label", "patient"]
    )
    seven = table[table["label"].isin(expect["classes"])]
    assert packed("chestx", place, tmp_path / "out") == kept(seven, "file", "label", there(place, "*.png"))
    head = json.loads((tmp_path / "out/chestx/source.json").read_text())
    patients = dict(zip(table["file"], table["patient"], strict=True))
    assert head["groups"] == [f"patient {patients[path.rpartition('/')[2]]}" for path, _ in head["inputs"]]


def test_isic_one_hot(piece: Piece, tmp_path: Path) -> None:
    place, _ = piece("isic")
    hot = pd.read_csv(next(place.rglob("*GroundTruth.csv"))).set_index("image").idxmax(axis=1).reset_index(name="label")
    hot["file"] = hot["image"] + ".jpg"
    assert packed("isic", place, tmp_path / "out") == kept(hot, "file", "label", there(place, "*.jpg"))
    lesions = pd.read_csv(place / "HAM10000_metadata.csv").set_index("image_id")["lesion_id"]
    head = json.loads((tmp_path / "out/isic/source.json").read_text())
    assert head["groups"] == [lesions[Path(path).stem] for path, _ in head["inputs"]]


def test_ham10000(piece: Piece, tmp_path: Path) -> None:
    place, _ = piece("ham10000")
    table = pd.read_csv(place / "HAM10000_metadata.csv")
    table["file"] = table["image_id"] + ".jpg"
    assert packed("ham10000", place, tmp_path / "out") == kept(table, "file", "dx", there(place, "*.jpg"))


def test_miniimagenet(piece: Piece, tmp_path: Path) -> None:
    place, _ = piece("miniimagenet")
    table = pd.concat([pd.read_csv(place / f"{part}.csv") for part in ("train", "val", "test")])
    assert packed("miniimagenet", place, tmp_path / "out") == kept(table, "filename", "label", there(place, "*.jpg"))


def test_places(piece: Piece, tmp_path: Path) -> None:
    place, _ = piece("places")
    names = pd.read_csv(place / "categories_places365.txt", sep=" ", names=["name", "class"])
    names["label"] = names["name"].str[3:]
    table = pd.read_csv(place / "places365_val.txt", sep=" ", names=["file", "class"]).merge(names, on="class")
    assert packed("places", place, tmp_path / "out") == kept(table, "file", "label", there(place, "*.jpg"))


def test_plantae(piece: Piece, tmp_path: Path) -> None:
    place, _ = piece("plantae")
    tree = json.loads((place / "train2018.json").read_text())
    images = pd.DataFrame(tree["images"])[["id", "file_name"]].rename(columns={"id": "image_id"})
    kinds = pd.DataFrame(tree["categories"]).rename(columns={"id": "category_id"})
    table = images.merge(pd.DataFrame(tree["annotations"]), on="image_id").merge(kinds, on="category_id")
    table = table[table["supercategory"] == "Plantae"]
    table["file"] = table["file_name"].str.split("/").str[-1]
    assert packed("plantae", place, tmp_path / "out") == kept(table, "file", "name", there(place, "*.jpg"))


def test_tiny_imagenet(piece: Piece, tmp_path: Path) -> None:
    place, _ = piece("tinyimagenet")
    table = pd.read_csv(place / "val/val_annotations.txt", sep="\t", usecols=[0, 1], names=["file", "label"])
    expected = kept(table, "file", "label", there(place / "val", "*.JPEG"))
    expected |= {path.name: path.parts[-3] for path in (place / "train").rglob("*.JPEG")}
    assert packed("tiny-imagenet", place, tmp_path / "out") == expected


def test_the_verb_says_what_it_did(piece: Piece, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, _ = piece("eurosat")
    import_("eurosat", str(place), str(tmp_path / "out"), size=16, workers=1)
    said = capsys.readouterr().out
    assert "36 images" in said
    assert "BSCD-FSL" in said
    assert "terms of use: MIT" in said
