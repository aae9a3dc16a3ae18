"""What lies beside a release, above it or instead of it is not taken for it; what lies apart but belongs to it is."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rotogbml.cli import main
from rotogbml.errors import UsageError
from rotogbml.releases.check import check
from rotogbml.releases.importing import read_release

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]

SCENES = ("airfield", "alcove", "bakery-shop", "beach")
CHEST = "Image Index,Finding Labels,Follow-up #,Patient ID\n"


def classes(name: str, place: Path) -> dict[str, int]:
    return read_release(name, place).reading.per_class()


@pytest.mark.parametrize("form", ["places365_standard/train/{}", "data_256/{0[0]}/{0}"])
def test_a_folder_that_is_no_class_shifts_no_split(lay: Lay, pictures: Pictures, form: str) -> None:
    """Its classes are split by the place of each among the 365, which a stray folder beside them leaves as it is."""
    files = pictures([f"{form.format(name)}/1.jpg" for name in SCENES])
    alone = read_release("places", lay(files, "alone"))
    stray = "airfield extra"  # begins with a letter's folder too
    both = read_release("places", lay(files | pictures([f"{form.format(stray)}/1.jpg"]), "both"))
    assert both.reading.per_class() == alone.reading.per_class() == dict.fromkeys(sorted(SCENES), 1)
    assert both.reading.counts() == {"other_class": 1}
    assert any("1 folders are no class of the 365" in remark for remark in both.reading.remarks)
    (split,) = both.release.splits.values()
    assert split(both.reading) == split(alone.reading)


def test_another_release_beside_places_is_not_of_it(lay: Lay, pictures: Pictures) -> None:
    scenes = [f"places/train/{name}/1.jpg" for name in SCENES]
    fields = [f"eurosat/{name}/1.jpg" for name in ("AnnualCrop", "Forest", "Highway", "Pasture", "River")]
    assert classes("places", lay(pictures([*scenes, *fields]))) == dict.fromkeys(sorted(SCENES), 1)


def test_classes_of_another_set_of_places_are_kept(lay: Lay, pictures: Pictures) -> None:
    names = ["airfield", "my kitchen", "my garden", "my cellar"]
    assert sorted(classes("places", lay(pictures([f"train/{name}/1.jpg" for name in names])))) == sorted(names)


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("places", ["b/birds/1.jpg"]),
        ("places", ["b/birds/1.jpg", "c/cats/1.jpg"]),
        ("places", ["w/x/1.jpg"]),
        ("flowers102", ["1/1.jpg"]),
        ("flowers102", ["1/1.jpg", "2/1.jpg"]),
        ("eurosat", ["Forest/1.jpg", "River/1.jpg"]),
        ("plantae", ["Plantae/moss/1.jpg"]),
    ],
)
def test_an_empty_folder_takes_nothing_from_beside_it(
    lay: Lay, pictures: Pictures, name: str, beside: list[str]
) -> None:
    root = lay(pictures(beside))
    (root / "empty").mkdir()
    with pytest.raises(UsageError, match="nothing of"):
        read_release(name, root / "empty")


def test_an_archive_takes_nothing_from_beside_it(lay: Lay, pictures: Pictures) -> None:
    root = lay(pictures(["Plantae/moss/1.jpg"]))
    with zipfile.ZipFile(root / "other.zip", "w") as archive:
        archive.writestr("jpg/image_00001.jpg", b"x")
    with pytest.raises(UsageError, match="nothing of"):
        read_release("plantae", root / "other.zip")


@pytest.mark.parametrize(
    ("name", "files", "given"),
    [
        ("places", ["a/airfield/1.jpg", "b/beach/1.jpg"], "b/beach"),
        ("places", ["train/airfield/1.jpg", "train/beach/1.jpg"], "train/beach"),
        ("flowers102", ["train/1/1.jpg", "train/77/1.jpg"], "train/77"),
        ("eurosat", ["2750/Forest/1.jpg", "2750/River/1.jpg"], "2750/River"),
        ("cropdiseases", ["train/Apple___scab/1.jpg", "test/Apple___scab/2.jpg", "train/Corn___rust/3.jpg"], "test"),
    ],
)
def test_the_root_is_found_from_a_class_or_a_part_of_it(
    lay: Lay, pictures: Pictures, name: str, files: list[str], given: str
) -> None:
    root = lay(pictures(files))
    assert classes(name, root / given) == classes(name, root)
    assert len(classes(name, root)) == 2


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["jpg/image_00001.jpg", "imagelabels.mat"], "'imagelabels.mat' is a label file of another release"),
        (["images/00001.png", "Data_Entry_2017.csv"], "'Data_Entry_2017.csv' is a label file"),
        (["val_256/1.jpg"], "its images lie in 'val_256', which is no species"),
        (["photos/1.jpg", "test_images/2.jpg"], "which is no species"),
        (["train/airfield/1.jpg", "train/beach/1.jpg"], "'airfield' is as in places"),
        (["photo/dog/1.jpg", "photo/guitar/1.jpg"], "'dog' is as in pacs"),
        (["Greek/character01/1.png"], "'character01' is as in omniglot"),
    ],
)
def test_other_releases_are_no_plants(lay: Lay, pictures: Pictures, files: list[str], said: str) -> None:
    with pytest.raises(UsageError, match="nothing of Plantae") as refusal:
        read_release("plantae", lay(pictures(files)))
    assert said in str(refusal.value)


def test_a_list_that_is_not_here_is_named(lay: Lay, pictures: Pictures) -> None:
    names = ["images/n0153282900000001.jpg", "images/n0155899300000001.jpg"]
    row = "filename,label\nn0153282900000001.jpg,n01532829\n"
    reading = read_release("miniimagenet", lay(pictures(names) | {"train.csv": row.encode()})).reading
    assert reading.form == "train.csv"
    assert [remark for remark in reading.remarks if "not here" in remark] == [
        "val.csv is not here: the images of its 16 classes have no label",
        "test.csv is not here: the images of its 20 classes have no label",
    ]


@pytest.mark.parametrize("given", ["", "images", "labels"])
def test_labels_in_a_folder_beside_the_images(lay: Lay, pictures: Pictures, given: str) -> None:
    table = CHEST + "1.png,Mass,0,1\n2.png,Nodule,0,2\n"
    root = lay(pictures(["images/1.png", "images/2.png"]) | {"labels/Data_Entry_2017.csv": table.encode()})
    assert classes("chestx", root / given) == {"Mass": 1, "Nodule": 1}


def test_of_two_label_files_that_differ_the_other_is_named(lay: Lay, pictures: Pictures) -> None:
    tables = {
        "Data_Entry_2017.csv": CHEST + "1.png,Mass,0,1\n",
        "Data_Entry_2017_v2020.csv": CHEST + "1.png,Nodule,0,1\n",
    }
    root = lay(pictures(["images/1.png"]) | {name: text.encode() for name, text in tables.items()})
    remarks = check("chestx", root).remarks
    assert "'Data_Entry_2017.csv' is read, and 'Data_Entry_2017_v2020.csv', which differs from it, is not" in remarks


@pytest.mark.parametrize(("count", "classes", "refused"), [(1360, 17, True), (1360, 102, False), (8189, 102, False)])
def test_labels_of_flowers_of_another_version(
    lay: Lay, pictures: Pictures, count: int, classes: int, refused: bool
) -> None:
    """Labels go by an image's number: those of Flowers-17 would be wrong for every one."""
    file = io.BytesIO()
    pytest.importorskip("scipy.io").savemat(file, {"labels": 1 + np.arange(count)[None] % classes})
    root = lay(pictures(["jpg/image_00001.jpg"]) | {"imagelabels.mat": file.getvalue()})
    if refused:
        with pytest.raises(UsageError, match="is of Oxford Flowers-17: 1,360 labels from 1 to 17"):
            read_release("flowers102", root)
        return
    remarks = read_release("flowers102", root).reading.remarks
    assert any("1,360 labels where the release's has 8,189" in remark for remark in remarks) == (count != 8189)


def test_a_file_that_is_absent_counts_once(lay: Lay, pictures: Pictures) -> None:
    table = CHEST + 2 * "1.png,Mass,0,1\n9.png,Mass,0,9\n"
    reading = read_release("chestx", lay(pictures(["1.png"]) | {"Data_Entry_2017.csv": table.encode()})).reading
    assert reading.counts() == {"missing_file": 1}
    assert "2 rows of the labels name a file again" in reading.remarks


def test_a_comma_and_a_space_in_a_name_without_quotes(lay: Lay, pictures: Pictures) -> None:
    table = "filename,label\na, b.jpg,x\nc.jpg, y, z\nd.jpg,\n"
    reading = read_release("generic", lay(pictures(["a, b.jpg", "c.jpg", "d.jpg"]) | {"t.csv": table.encode()})).reading
    assert {row.path: row.label for row in reading.rows} == {"a, b.jpg": "x", "c.jpg": "y, z"}
    assert reading.left == [("d.jpg", "label_unreadable")]


def test_a_tar_that_was_cut_between_two_files(tmp_path: Path, pictures: Pictures) -> None:
    """Cut at any block, it is refused: what was lost cannot be told from what was never there."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in pictures([f"2750/{name}/{i}.jpg" for name in ("Forest", "River") for i in (1, 2)]).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        end = archive.offset
    for cut in (*range(tarfile.BLOCKSIZE, end + 1, tarfile.BLOCKSIZE), end // 2):
        place = tmp_path / "cut.tar"
        place.write_bytes(file.getvalue()[:cut])
        with pytest.raises(UsageError, match="is damaged"):
            read_release("eurosat", place)
    place.write_bytes(file.getvalue()[: end + tarfile.BLOCKSIZE])
    assert classes("eurosat", place) == {"Forest": 2, "River": 2}


def test_control_characters_of_a_damaged_file_do_not_reach_the_terminal(
    lay: Lay, pictures: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    root = lay(pictures(["1.png"]) | {"Data_Entry_2017.csv": b"\x1b[2J\x07,\x15\n1,2\n"})
    assert main(["data", "check", "chestx", str(root)]) == 2
    said = capsys.readouterr().err
    assert r"\x1b[2J" in said
    assert said.strip().isprintable()
