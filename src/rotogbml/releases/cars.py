"""Stanford Cars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rotogbml.errors import UsageError
from rotogbml.releases.files import Files, base
from rotogbml.releases.finder import Finder
from rotogbml.releases.folders import class_folders
from rotogbml.releases.reading import Named, Reading, by_names
from rotogbml.releases.release import Release, every_other, published_lines
from rotogbml.releases.tables import numbers, read_mat, struct
from rotogbml.sources.tree import ClassSplit


def read(files: Files, whole: bool) -> Reading:
    """Read the devkit's .mat files, cars_annos.mat, or class folders as people pass them on."""
    names = _names(files)
    images = Finder(files.images)
    devkit = files.one("cars_train_annos.mat")
    test = files.one("cars_test_annos_withlabels*.mat")
    if devkit or test:
        rows = list(_devkit(files, devkit, names, "train")) if devkit else []
        rows += _devkit(files, test, names, "test") if test else []
        there = any(images.find(row.name) for row in rows)
        if there or (devkit and files.one("cars_annos.mat") is None):
            if not there:  # the folder was renamed, or the .tgz holds the images bare
                rows = [row._replace(name=base(row.name)) for row in rows if row.part == "train"]
                images = Finder(files.images, keep=lambda path: "cars_test" not in path)
            return by_names(files, rows, f"devkit ({base(devkit or test or '')})", names, images, whole)
    annos = files.one("cars_annos.mat")
    if annos is not None:
        return by_names(files, _annos(files, annos, names), "cars_annos.mat", names, images, whole)
    spelt = {_slashless(name): name for name in names}
    return class_folders(
        files,
        "class folders (no .mat file)",
        is_class=lambda folder: _slashless(folder) in spelt,
        spell=lambda folder: spelt[_slashless(folder)],
        train_only=True,
        whole=whole,
    )


def _names(files: Files) -> list[str]:
    meta = files.one("cars_meta.mat")
    if meta is None:
        return published_lines("cars.txt")
    return _strings(read_mat(files, meta, ("class_names",))["class_names"])


def _strings(names: Any) -> list[str]:
    return [str(name).strip() for name in np.asarray(names).reshape(-1)]


def _devkit(files: Files, path: str, names: list[str], part: str) -> Iterator[Named]:
    records = read_mat(files, path, ("annotations",))["annotations"]
    for record in struct(files, path, records, ("fname", "class")):
        label = _label(files, path, names, record["class"])
        yield Named(f"cars_{part}/{record['fname']}", label, part=part, unused="test_part" if part == "test" else "")


def _annos(files: Files, path: str, names: list[str]) -> Iterator[Named]:
    read = read_mat(files, path, ("annotations",))
    if "class_names" in read:
        names = _strings(read["class_names"])
    for record in struct(files, path, read["annotations"], ("relative_im_path", "class", "test")):
        test = bool(numbers(files, path, record["test"]).any())
        label = _label(files, path, names, record["class"])
        part, unused = ("test", "test_part") if test else ("train", "")
        yield Named(str(record["relative_im_path"]), label, part=part, unused=unused)


def _label(files: Files, path: str, names: list[str], number: Any) -> str:
    found = numbers(files, path, number)
    if found.size != 1 or not 1 <= found[0] <= len(names):
        raise UsageError(
            f"'{path}' in {files.root} names class {number}, and there are {len(names)} names: the .mat files are "
            "of two versions"
        )
    return names[int(found[0]) - 1]


def _slashless(name: str) -> str:
    """Return a class name as folders spell it, where no slash can be."""
    return "".join(c for c in name.casefold() if c.isalnum())


def split(reading: Reading) -> ClassSplit:
    """Split by every other class in the order of the labels."""
    known = published_lines("cars.txt")
    order = reading.classes if len(reading.classes) == len(known) and set(reading.classes) != set(known) else known
    return every_other(
        order, "98/49/49: every other class in the order of the labels (as in the cross-domain literature)"
    )


RELEASE = Release(
    name="cars",
    title="Stanford Cars",
    publisher="Stanford AI Lab (its page is gone; copies elsewhere)",
    terms="licence unknown; the devkit says non-commercial research: do not pass on",
    classes=196,
    images=8144,
    layout="cars_train/00001.jpg and devkit/{cars_train_annos,cars_meta}.mat; or car_ims/ and cars_annos.mat; or "
    "{train,test}/CLASS/*.jpg",
    takes="the 8,144 images of the training part, uncut",
    marks=("cars_train_annos.mat", "cars_test_annos_withlabels*.mat", "cars_annos.mat", "devkit", "car_devkit*"),
    folders=("* Sedan [12][0-9][0-9][0-9]", "* SUV [12][0-9][0-9][0-9]", "cars_train", "car_ims"),
    read=read,
    splits={"98/49/49": split},
    names=published_lines("cars.txt"),
    between=(24, 68),
    traps=(
        "cars_test_annos.mat of the devkit has no labels; cars_test_annos_withlabels.mat does",
        "cars_train/ and cars_test/ use the same file names, and car_ims/ numbers its files otherwise",
        "the class 'Ram C/V Cargo Van Minivan 2012' has a slash; folders spell it in several ways",
        "copies cut to the bounding box go round: the boxes of the devkit then point outside",
        "11 images occur byte-identically under two labels",
    ),
)
