"""The other releases in the forms in which they go round, and what holds for archives and copies of any of them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rotogbml.errors import UsageError
from rotogbml.releases.importing import import_release, read_release
from rotogbml.sources.decode import decode
from rotogbml.sources.packed import open_pack

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]
SplitOf = Callable[..., dict[str, list[str]]]


def test_eurosat_beside_its_thirteen_bands(lay: Lay, pictures: Pictures) -> None:
    bands = {"EuroSATallBands/Forest/Forest_1.tif": b"x"}
    reading = read_release("eurosat", lay(pictures(["EuroSAT/Forest/Forest_1.jpg"]) | bands)).reading
    assert reading.per_class() == {"Forest": 1}
    assert reading.counts() == {"other_version": 1}
    with pytest.raises(UsageError, match="13 bands"):
        read_release("eurosat", lay(bands, "alone"))


def test_omniglot(lay: Lay, pictures: Pictures, split_of: SplitOf) -> None:
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


def test_the_lists_of_pacs_say_what_is_missing(lay: Lay, pictures: Pictures) -> None:
    files = pictures(["PACS/kfold/photo/dog/1.jpg", "PACS/kfold/photo/dog/2.jpg", "PACS/kfold/sketch/dog/1.png"])
    lists = {
        "photo_train": "photo/dog/1.jpg 1\nphoto/dog/3.jpg 1\n",
        "photo_crossval": "photo/dog/2.jpg 1\n",
        "photo_test": "photo/dog/1.jpg 1\nphoto/dog/2.jpg 1\nphoto/dog/3.jpg 1\n",
        "sketch_test": "sketch/dog/1.png 1\nsketch/horse/1.png 5\n",
    }
    splits = "PACS/Train val splits and h5py files pre-read"
    root = lay(files | {f"{splits}/{name}_kfold.txt": text for name, text in lists.items()})
    for place in (root, root / "PACS/kfold", root / "PACS/kfold/photo/dog"):
        reading = read_release("pacs", place).reading
        assert {(row.source, row.path[-9:]): row.part for row in reading.rows} == {
            ("pacs-photo", "dog/1.jpg"): "train",
            ("pacs-photo", "dog/2.jpg"): "val",
            ("pacs-sketch", "dog/1.png"): "",
        }
        assert reading.counts() == {"class_without_images": 1, "missing_file": 2}


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("omniglot", "images_background/Greek/character01/0001_01.png"),
        ("miniimagenet", "train/n01532829/a.jpg"),
        ("places", "data_256/a/abbey/1.jpg"),
        ("pacs", "photo/dog/1.jpg"),
        ("eurosat", "2750/Forest/Forest_1.jpg"),
    ],
)
def test_what_is_no_image_among_the_images_is_said(lay: Lay, pictures: Pictures, name: str, image: str) -> None:
    root = lay(pictures([image]) | {f"{image.rpartition('/')[0]}/Thumbs.db": b"x", "README": b"x"})
    assert read_release(name, root).reading.counts() == {"not_an_image": 1}


def test_an_archive_in_an_archive_is_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "omniglot-master.zip", "w") as archive:
        archive.writestr("python/images_background.zip", b"x")
    with pytest.raises(UsageError, match="archive in an archive is not read: unpack the outer one"):
        read_release("omniglot", tmp_path / "omniglot-master.zip")


class TestGeneric:
    def test_a_table_with_groups_and_parts(
        self, lay: Lay, tmp_path: Path, pictures: Pictures, split_of: SplitOf
    ) -> None:
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


def test_an_unpacked_archive_is_not_counted_twice(lay: Lay, pictures: Pictures) -> None:
    files = pictures(["2750/Forest/Forest_1.jpg", "2750/River/River_1.jpg"])
    root = lay(files)
    with zipfile.ZipFile(root / "EuroSAT.zip", "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    reading = read_release("eurosat", root).reading
    assert reading.per_class() == {"Forest": 1, "River": 1}
    assert reading.counts() == {}
