"""Every piece of a real release, as a folder and as an archive, is read as its expect.json says."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rotogbml.cli import main
from rotogbml.releases.check import check
from rotogbml.releases.importing import import_release, read_release
from rotogbml.releases.listing import list_releases
from rotogbml.sources.packed import open_pack

Piece = Callable[..., tuple[Path, dict[str, Any]]]

PIECES = {
    "cars": "cars",
    "chestx": "chestx",
    "cropdisease": "cropdiseases",
    "cropdisease_kaggle": "cropdiseases",
    "cub": "cub",
    "eurosat": "eurosat",
    "flowers102": "flowers102",
    "ham10000": "ham10000",
    "isic": "isic",
    "miniimagenet": "miniimagenet",
    "miniimagenet_folders": "miniimagenet",
    "places": "places",
    "places_easyformat": "places",
    "places_train": "places",
    "plantae": "plantae",
    "tinyimagenet": "tiny-imagenet",
}
NEED_SCIPY = {"cars", "flowers102"}


def needs(name: str) -> None:
    if name in NEED_SCIPY:
        pytest.importorskip("scipy")


@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
@pytest.mark.parametrize("name", sorted(PIECES))
def test_import_equals_expect(piece: Piece, tmp_path: Path, name: str, kind: str) -> None:
    needs(name)
    place, expect = piece(name, kind)
    read, report = import_release(PIECES[name], place, tmp_path / "out", size=16, margin=0, workers=1)
    source = open_pack(tmp_path / "out")[PIECES[name]]
    here = {label: len(source.rows(c)) for c, label in enumerate(source.classes)}
    assert list(source.classes) == sorted(expect["classes"])
    assert here == expect["images"]
    assert read.reading.counts() == expect["skipped"]
    assert dict(report.skipped) == expect["skipped"]
    with (tmp_path / "out" / "skipped.csv").open(encoding="utf-8", newline="") as file:
        listed = Counter(row["reason"].split(":")[0] for row in csv.DictReader(file))
    assert {reason: n for reason, n in listed.items() if not reason.startswith("ignored")} == expect["skipped"]
    if "by_split" in expect:
        assert read.reading.parts() == expect["by_split"]
    if "patients" in expect:
        assert source.groups is not None
        assert len(np.unique(source.groups)) == expect["patients"]


def test_the_other_label_file_of_isic(piece: Piece) -> None:
    place, expect = piece("isic", expected="expect_ham10000.json")
    reading = read_release("ham10000", place).reading
    assert reading.per_class() == expect["images"]
    assert reading.counts() == expect["skipped"]
    lesions = {label: len({row.group for row in reading.rows if row.label == label}) for label in expect["classes"]}
    assert lesions == expect["lesions"]


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("cub", "images"),
        ("cub", "images/001.Black_footed_Albatross"),
        ("cars", "cars_train"),
        ("cars", "devkit"),
        ("chestx", "images"),
        ("cropdisease", "Tomato___Late_blight"),
        ("cropdisease_kaggle", "CropDiseases/dataset/train"),
        ("cropdisease_kaggle", "CropDiseases"),
        ("eurosat", "Forest"),
        ("flowers102", "jpg"),
        ("ham10000", "HAM10000_images_part_1"),
        ("isic", "ISIC2018_Task3_Training_GroundTruth"),
        ("miniimagenet", "images"),
        ("miniimagenet_folders", "train"),
        ("miniimagenet_folders", "val/n02174001"),
        ("places", "val_256"),
        ("places_train", "data_256/i/ice_skating_rink"),
        ("places_easyformat", "places365_standard/train"),
        ("plantae", "train_val2018/Plantae/5321"),
        ("tinyimagenet", "train/n01644900/images"),
        ("tinyimagenet", "val"),
    ],
)
def test_the_root_is_found_from_within(piece: Piece, name: str, inside: str) -> None:
    needs(name)
    place, expect = piece(name)
    reading = read_release(PIECES[name], place / inside).reading
    assert reading.per_class() == expect["images"]
    assert reading.counts() == expect["skipped"]


@pytest.mark.parametrize("name", sorted(PIECES))
def test_the_root_is_found_from_above(piece: Piece, name: str) -> None:
    needs(name)
    place, expect = piece(name)
    reading = read_release(PIECES[name], place.parent / place.name).reading
    wrapped = place.parent / f"{place.name}-above"
    wrapped.mkdir()
    place.rename(wrapped / "some folder")
    (wrapped / "notes.txt").write_text("not of the release")
    above = read_release(PIECES[name], wrapped).reading
    assert above.per_class() == reading.per_class() == expect["images"]
    assert above.counts() == expect["skipped"]


@pytest.mark.parametrize("name", sorted(PIECES))
def test_check_says_the_same(piece: Piece, name: str) -> None:
    needs(name)
    place, expect = piece(name, "zip")
    report = check(PIECES[name], place)
    assert dict(report.images) == expect["images"]
    assert dict(report.left) == expect["skipped"]
    said = "\n".join(report._lines())
    for reason, count in expect["skipped"].items():
        assert f"{count:,} {reason}" in said
    assert report.terms in said
    assert all(trap in said for trap in report.traps)


def test_the_list_knows_what_is_packed(
    piece: Piece, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = piece("eurosat")
    import_release("eurosat", place, tmp_path / "packs" / "satellite", size=16, workers=1)
    listing = list_releases([str(tmp_path)])
    assert {name: len(found) for name, found in listing.packed.items() if found} == {"eurosat": 1}
    assert all(release.terms and release.publisher and release.layout for release in listing.releases)
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    assert main(["data", "list", "--packs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert f"packed: eurosat, 36 at 16 px: {tmp_path / 'packs' / 'satellite'}" in lines
    (row,) = (line for line in lines if line.split()[:1] == ["eurosat"])
    assert row.split() == ["eurosat", "10", "27,000", "0.76", "GB", "test-only"]
    for release in listing.releases:  # each has one line in the table
        assert sum(line.startswith(f" {release.name} ") for line in lines) == 1


def test_check_as_json(piece: Piece, capsys: pytest.CaptureFixture[str]) -> None:
    place, expect = piece("ham10000")
    assert main(["data", "check", "ham10000", str(place), "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["images"] == expect["images"]
    assert said["left"] == expect["skipped"]
    assert said["wrong"]["nv"] == [6, 6705]


@pytest.mark.parametrize("name", ["miniimagenet", "miniimagenet_folders"])
def test_the_published_split_is_that_of_the_pieces(piece: Piece, name: str) -> None:
    place, _ = piece(name)
    read = read_release("miniimagenet", place)
    assert not read.release.notes(read.reading)
    said = {row.label: row.part for row in read.reading.rows}
    split = next(iter(read.release.splits.values()))(read.reading)
    assert split is not None
    assert said == {label: part for part, labels in split.splits.items() for label in labels if label in said}
