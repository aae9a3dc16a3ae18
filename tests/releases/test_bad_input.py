"""What is wrong with a copy of a release is said in one line; nothing is written beside OUT, no half pack is left."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.cli import main
from rotogbml.errors import UsageError
from rotogbml.releases.importing import import_release, read_release
from rotogbml.releases.root import open_files
from rotogbml.releases.tables import read_csv

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]

CHEST = "Image Index,Finding Labels,Follow-up #,Patient ID\n"


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that imports by the command line, which must refuse; it returns what was said."""

    def run(name: str, place: Path) -> str:
        before = set(tmp_path.rglob("*"))
        assert main(["data", "import", name, str(place), str(tmp_path / "out"), "--size", "16", "--workers", "1"]) in (
            1,
            2,
        )
        said = capsys.readouterr().err
        assert said.startswith("rotogbml: ")
        assert said.count("\n") == 1
        assert "Traceback" not in said
        assert set(tmp_path.rglob("*")) == before  # nothing was written
        return said

    return run


def test_nothing_of_the_release(lay: Lay, pictures: Pictures, refused: Callable[..., str]) -> None:
    said = refused("chestx", lay(pictures(["holiday/beach.jpg"])))
    for part in ("nothing of ChestX", "no Data_Entry_2017.csv", "'holiday/beach.jpg'", "expected images/*.png"):
        assert part in said


NAMES = ["cars", "chestx", "cropdiseases", "cub", "eurosat", "flowers102", "ham10000", "isic", "miniimagenet"]
NAMES += ["omniglot", "pacs", "places", "plantae", "tiny-imagenet"]


@pytest.mark.parametrize("name", NAMES)
def test_class_folders_of_something_else(lay: Lay, pictures: Pictures, refused: Callable[..., str], name: str) -> None:
    root = lay(pictures(["train/001.ak47/a.jpg", "train/teapot/b.jpg", "n99999999/c.jpg"]))
    assert "nothing of" in refused(name, root)


def test_one_imagenet_for_another(lay: Lay, pictures: Pictures, refused: Callable[..., str]) -> None:
    tiny = pictures(["train/n01532829/images/a.JPEG"]) | {"wnids.txt": b"n01532829"}
    assert "is Tiny ImageNet" in refused("miniimagenet", lay(tiny, "tiny"))
    assert "nothing of Tiny ImageNet" in refused("tiny-imagenet", lay(pictures(["train/n01532829/a.jpg"]), "mini"))


def test_two_forms_of_places(lay: Lay, pictures: Pictures, refused: Callable[..., str]) -> None:
    root = lay(pictures(["places365_standard/train/airfield/1.jpg", "data_256/a/airfield/1.jpg"]))
    assert "holds two releases, such as 'places365_standard/train/airfield/1.jpg'" in refused("places", root)


def test_an_empty_folder_and_no_folder(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "empty").mkdir()
    assert "it is empty" in refused("eurosat", tmp_path / "empty")
    assert "no folder or archive at" in refused("eurosat", tmp_path / "absent")


def test_a_name_that_is_no_release(lay: Lay, refused: Callable[..., str]) -> None:
    assert "did you mean 'miniimagenet'?" in refused("miniimagnet", lay({"a": b""}))


@pytest.mark.parametrize("cut", [0.5, 0.99])
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "zip"])
def test_a_half_downloaded_archive(
    tmp_path: Path, pictures: Pictures, refused: Callable[..., str], kind: str, cut: float
) -> None:
    place = tmp_path / f"EuroSAT.{kind}"
    files = pictures(f"2750/Forest/Forest_{i}.jpg" for i in range(40))
    if kind == "zip":
        with zipfile.ZipFile(place, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(place, {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2"}[kind]) as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    data = place.read_bytes()
    if kind == "tar":
        data = data.rstrip(b"\0")  # the archive's end is zeros, which a download may well lack
    place.write_bytes(data[: int(cut * len(data))])
    assert "is damaged" in refused("eurosat", place)
    folder = tmp_path / "downloads"
    folder.mkdir()
    place.rename(folder / place.name)
    assert place.name in refused("eurosat", folder)


def test_a_download_in_progress(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "EuroSAT.zip.part").write_bytes(b"PK")
    assert "download that is not finished" in refused("eurosat", tmp_path / "EuroSAT.zip.part")


def test_labels_of_another_version(lay: Lay, pictures: Pictures, refused: Callable[..., str]) -> None:
    root = lay(pictures(["images/a.png"]) | {"Data_Entry_2017.csv": "file,finding\na.png,Mass\n"})
    said = refused("chestx", root)
    assert "of another version: no column 'Image Index', its columns are file, finding" in said
    cub = pictures(["CUB/images/001.A/a.jpg"])
    listed = {"CUB/images.txt": "1 001.A/a.jpg\n2 001.A/b.jpg\n", "CUB/classes.txt": "1 001.A\n"}
    said = refused("cub", lay(cub | listed, "b"))
    assert "no image_class_labels.txt beside 'CUB/images.txt'" in said
    listed["CUB/image_class_labels.txt"] = "1 1\n"
    assert "image 2 ('001.A/b.jpg') has no class" in refused("cub", lay(cub | listed, "c"))
    assert "two words should be" in refused("cub", lay(cub | listed | {"CUB/classes.txt": "001.A\n"}, "d"))
    said = refused("plantae", lay({"train2017.json": '{"images": []}'}, "e"))
    assert "no 'annotations' in it" in said
    assert "no JSON, or cut short" in refused("plantae", lay({"train2017.json": '{"images": [{"id": 1'}, "f"))
    assert "no column 'filename'" in refused("miniimagenet", lay({"train.csv": "name,label\na,b\n"}, "g"))
    assert "is empty" in refused("miniimagenet", lay({"train.csv": ""}, "h"))


def test_rows_for_absent_images(lay: Lay, pictures: Pictures, refused: Callable[..., str]) -> None:
    root = lay(pictures(["images/other.png"]) | {"Data_Entry_2017.csv": f"{CHEST}a.png,Mass,0,1\nb.png,Mass,0,1\n"})
    said = refused("chestx", root)
    assert "2 missing_file" in said
    assert "1 unnamed_file" in said


def test_two_releases_in_one_place(lay: Lay, pictures: Pictures, refused: Callable[..., str]) -> None:
    def cub(name: str) -> dict[str, bytes | str]:
        lists = {"images.txt": f"1 001.A/{name}.jpg\n", "classes.txt": "1 001.A\n", "image_class_labels.txt": "1 1\n"}
        return {f"{name}/{file}": text for file, text in lists.items()} | pictures([f"{name}/images/001.A/{name}.jpg"])

    root = lay(cub("first") | cub("second"))
    assert "holds two releases: 'first/images.txt' and 'second/images.txt' differ" in refused("cub", root)
    assert read_release("cub", root / "second").reading.per_class() == {"001.A": 1}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 200, "MATLAB 7.3"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + b" " * 100, "MATLAB 7.3"),
        (b"<html>404</html>" * 20, "no MATLAB file"),
        (b"", "no MATLAB file"),
    ],
)
def test_wrong_mat_files(lay: Lay, pictures: Pictures, refused: Callable[..., str], data: bytes, said: str) -> None:
    pytest.importorskip("scipy")
    assert said in refused("flowers102", lay(pictures(["jpg/image_00001.jpg"]) | {"imagelabels.mat": data}))
    assert said in refused("cars", lay(pictures(["cars_train/1.jpg"]) | {"devkit/cars_train_annos.mat": data}, "cars"))


def test_mat_files_of_another_release(lay: Lay, pictures: Pictures, refused: Callable[..., str]) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    file = io.BytesIO()
    savemat(file, {"labels": [1, 2, 3000], "annotations": [1, 2]})
    flowers = {"imagelabels.mat": file.getvalue()}
    assert "its labels are not 1 to 102" in refused("flowers102", lay(pictures(["jpg/image_00001.jpg"]) | flowers))
    cars = {"devkit/cars_train_annos.mat": file.getvalue()}
    assert "no field 'fname'" in refused("cars", lay(pictures(["cars_train/1.jpg"]) | cars, "cars"))
    cars = {"devkit/cars_train_annos.mat": file.getvalue(), "devkit/cars_meta.mat": file.getvalue()}
    assert "no 'class_names' in it" in refused("cars", lay(pictures(["cars_train/1.jpg"]) | cars, "both"))


TABLE = [["filename", "label"], ["a b.jpg", "elm"], ["x/c.jpg", "oak, red"], ["D.JPG", "elm"]]


def spelt(delimiter: str, end: str, mark: str, quotes: bool) -> bytes:
    rows = [[f'"{value}"' if quotes else value for value in row] for row in TABLE]
    return (mark + end.join(delimiter.join(row) for row in rows) + end).encode(
        "utf-16" if mark == "utf-16" else "utf-8"
    )


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quotes", [False, True])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_of_any_dialect(lay: Lay, pictures: Pictures, delimiter: str, quotes: bool, end: str, mark: str) -> None:
    # Without quotes the comma in "oak, red" is one of the columns' too: the file's ending tells where the name ends.
    root = lay({"labels.csv": spelt(delimiter, end, mark, quotes)})
    rows = list(read_csv(open_files(root), "labels.csv", ("filename", "label")))
    assert [[row["filename"], row["label"].replace(",", ", ").replace("  ", " ")] for row in rows] == TABLE[1:]


def test_utf_16_and_latin_1(lay: Lay) -> None:
    table = "filename,label\na.jpg,Bärlauch\n"
    for name, data in (("u", table.encode("utf-16")), ("l", table.encode("latin-1"))):
        files = open_files(lay({"labels.csv": data}, name))
        assert [row["label"] for row in read_csv(files, "labels.csv", ("filename", "label"))] == ["Bärlauch"]


def test_decimal_commas_between_semicolons(lay: Lay, pictures: Pictures) -> None:
    table = "image;MEL;NV;BCC;AKIEC;BKL;DF;VASC\r\nA;0,0;1,0;0,0;0,0;0,0;0,0;0,0\r\nB;x;1,0;0,0;0,0;0,0;0,0;0,0\r\n"
    reading = read_release("isic", lay(pictures(["A.jpg", "B.jpg"]) | {"GroundTruth.csv": table})).reading
    assert reading.per_class() == {"NV": 1}
    assert reading.counts()["label_unreadable"] == 1


def test_names_that_differ_in_case(lay: Lay, pictures: Pictures) -> None:
    table = f"{CHEST}a.png,Mass,0,1\nB.PNG,Mass,0,1\nc.png,Nodule,0,2\n"
    root = lay(
        pictures(["images/A.PNG", "images/b.png", "images/c.png", "images/C.png"]) | {"data_entry_2017.csv": table}
    )
    reading = read_release("chestx", root).reading
    assert [row.path for row in reading.rows] == ["images/A.PNG", "images/b.png", "images/c.png"]
    assert reading.counts() == {"unnamed_file": 1}
    assert "2 files differ" in reading.remarks[0]


class TestArchives:
    def test_names_that_leave_the_archive_and_links(self, tmp_path: Path, pictures: Pictures) -> None:
        place = tmp_path / "in" / "EuroSAT.tar"
        place.parent.mkdir()
        (tmp_path / "secret.jpg").write_bytes(next(iter(pictures(["x"]).values())))
        with tarfile.open(place, "w") as archive:
            for name, data in pictures(
                ["2750/Forest/a.jpg", "../Forest/b.jpg", "/Forest/c.jpg", "2750/Forest/../../../d.jpg"]
            ).items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("2750/Forest/link.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.jpg")
            archive.addfile(link)
        _, report = import_release("eurosat", place, tmp_path / "out", size=16, workers=1)
        assert report.sources[0].images == 1
        assert dict(report.skipped) == {"would lie outside the archive's folder": 3, "link in an archive": 1}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "secret.jpg"]

    def test_a_file_of_negative_size(self, tmp_path: Path, pictures: Pictures, refused: Callable[..., str]) -> None:
        place = tmp_path / "EuroSAT.tar"
        with tarfile.open(place, "w") as archive:
            bad = tarfile.TarInfo("2750/Forest/a.jpg")
            bad.size = -1
            archive.addfile(bad)
            for name, data in pictures(["2750/Forest/b.jpg"]).items():
                good = tarfile.TarInfo(name)
                good.size = len(data)
                archive.addfile(good, io.BytesIO(data))
        said = refused("eurosat", place)
        assert f"{place} is damaged or no tar ('2750/Forest/a.jpg' has a size of -1 bytes)" in said

    def test_a_bomb(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        place = tmp_path / "EuroSAT.zip"
        with (
            zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("2750/Forest/a.jpg", "w") as file,
        ):
            for _ in range(1100):
                file.write(bytes(1 << 19))  # 550 MiB of zeros in half a MB
        assert "larger than 512 MiB" in refused("eurosat", place)

    def test_a_label_file_that_is_a_bomb(
        self, lay: Lay, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
    ) -> None:
        monkeypatch.setattr("rotogbml.releases.files.TABLE_BYTES", 1000)
        assert "no label file is so large" in refused("chestx", lay({"Data_Entry_2017.csv": "x" * 1001}))

    def test_a_label_file_that_is_a_bomb_in_an_archive(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        place = tmp_path / "ChestX.zip"
        with (
            zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("Data_Entry_2017.csv", "w") as file,
        ):
            file.write(b"Image Index,Finding Labels,Follow-up #,Patient ID\n")
            for _ in range(130):
                file.write(b"a.png,Mass,0,001\n" * (1 << 15))  # 68 MiB in 0.3 MB; a table's own limit is further off
        assert "has 72,417,330 bytes: no label file is so large" in refused("chestx", place)

    @pytest.mark.parametrize("kind", ["tar", "zip"])
    def test_very_many_entries_take_little_memory(self, tmp_path: Path, kind: str) -> None:
        place = tmp_path / f"many.{kind}"
        count = 6_000
        names = [f"junk/{i:07}.bin" for i in range(count)]
        if kind == "tar":
            with tarfile.open(place, "w") as tar:
                for name in names:
                    tar.addfile(tarfile.TarInfo(name))
        else:
            with zipfile.ZipFile(place, "w") as archive:
                for name in names:
                    archive.writestr(name, b"")
        tracemalloc.start()
        with pytest.raises(UsageError, match=r"nothing of EuroSAT.*its 6,000 files"):
            read_release("eurosat", place)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1000 * count  # below a GB for a million


def test_no_half_pack_is_left_where_no_image_can_be_decoded(lay: Lay, refused: Callable[..., str]) -> None:
    said = refused("eurosat", lay({"2750/Forest/a.jpg": b"no picture", "2750/River/b.jpg": b""}))
    assert "no usable image" in said


def test_nothing_is_left_where_there_is_nothing_to_go_on_with(
    tmp_path: Path, lay: Lay, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lay(pictures(["2750/Forest/a.jpg"]))

    def fail(*_: object) -> None:
        raise ValueError("of any kind")

    with monkeypatch.context() as patch:
        patch.setattr("rotogbml.sources.pack.examine_all", fail)
        with pytest.raises(ValueError, match="of any kind"):
            import_release("eurosat", root, tmp_path / "out", size=16, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


def test_strict_refuses_what_is_not_whole(
    tmp_path: Path, lay: Lay, pictures: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    root = lay(pictures(["images/a.png"]) | {"Data_Entry_2017.csv": f"{CHEST}a.png,Mass,0,1\nb.png,Mass,0,1\n"})
    arguments = ["data", "import", "chestx", str(root), str(tmp_path / "out"), "--size", "16", "--workers", "1"]
    assert main([*arguments, "--strict"]) == 1
    assert "is not whole (1 missing_file)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(arguments) == 0


def test_out_inside_the_release_is_refused(lay: Lay, pictures: Pictures, capsys: pytest.CaptureFixture[str]) -> None:
    root = lay(pictures(["2750/Forest/a.jpg"]))
    assert main(["data", "import", "eurosat", str(root), str(root / "2750/out")]) == 2
    assert "lies inside ROOT" in capsys.readouterr().err


def test_an_unknown_split_names_those_there_are(tmp_path: Path, lay: Lay, pictures: Pictures) -> None:
    root = lay(pictures(["087.Mallard/a.jpg", "Blue_Jay/a.jpg"]))
    with pytest.raises(UsageError, match=r"no split '150/25/25'.*100/50/50, 140/30/30"):
        import_release("cub", root, tmp_path / "out", split="150/25/25")
    file = tmp_path / "mine.json"
    file.write_text('{"cub": {"train": ["087.Mallard"], "test": ["073.Blue_Jay"]}}')
    _, report = import_release("cub", root, tmp_path / "out", size=16, split=str(file), workers=1)
    assert dict(report.sources[0].splits) == {"train": 1, "test": 1}
