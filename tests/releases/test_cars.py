"""Stanford Cars in the forms in which they go round, made up in the names that they really have."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rotogbml.errors import UsageError
from rotogbml.releases.importing import import_release, read_release
from rotogbml.releases.release import published_lines
from rotogbml.sources.packed import open_pack

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]
SplitOf = Callable[..., dict[str, list[str]]]

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

    def test_the_test_part_alone(self, lay: Lay, pictures: Pictures) -> None:
        files = pictures(["cars_test/00001.jpg", "cars_test/00002.jpg"])
        rows = [("00001.jpg", 2), ("00002.jpg", 1), ("00003.jpg", 1)]
        files["cars_test_annos_withlabels.mat"] = mat(annotations=annotations(rows))
        files["devkit/cars_meta.mat"] = mat(class_names=np.array(CARS, dtype=object))
        root = lay(files)
        with pytest.raises(UsageError, match=r"1 missing_file, 2 test_part.*--whole takes parts"):
            read_release("cars", root)
        reading = read_release("cars", root, whole=True).reading
        assert reading.per_class() == {CARS[0]: 1, CARS[1]: 1}
        assert reading.counts() == {"class_without_images": 1, "missing_file": 1}

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

    def test_the_older_form(self, lay: Lay, pictures: Pictures) -> None:
        rows = [("car_ims/000001.jpg", 1), ("car_ims/000002.jpg", 3), ("car_ims/000003.jpg", 2)]
        files = pictures(name for name, _ in rows)
        files["cars_annos.mat"] = mat(
            annotations=annotations(rows, test=[0, 0, 1]), class_names=np.array(CARS, dtype=object)
        )
        root = lay(files)
        assert read_release("cars", root).reading.per_class() == {CARS[0]: 1, CARS[2]: 1}
        assert read_release("cars", root / "car_ims", whole=True).reading.per_class() == dict.fromkeys(CARS, 1)

    def test_class_folders_without_a_slash(self, lay: Lay, pictures: Pictures, split_of: SplitOf) -> None:
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
