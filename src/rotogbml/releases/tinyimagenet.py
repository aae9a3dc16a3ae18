"""Tiny ImageNet."""

from __future__ import annotations

import re

from rotogbml.releases.files import Files
from rotogbml.releases.finder import Finder
from rotogbml.releases.reading import Reading, Row
from rotogbml.releases.release import IMAGENET_TERMS, Release, at_random
from rotogbml.releases.tables import pairs

_WNID = re.compile(r"n\d{8}$")


def read(files: Files, whole: bool) -> Reading:
    """Read train/WNID/images and the rows of val_annotations.txt (or val/WNID, into which people sort them)."""
    reading = Reading("train/WNID/images and val_annotations.txt")
    wnids = files.one("wnids.txt")
    listed = [line.strip() for line in files.text(wnids).split("\n") if line.strip()] if wnids else []
    taken: set[str] = set()

    def take(path: str, label: str, part: str) -> None:
        taken.add(path)
        reading.rows.append(Row(path, label, part=part))

    for path in files.images:
        folders = path.split("/")[:-1]
        labels = [folder for folder in folders if _WNID.match(folder)]
        if labels and "test" not in folders:
            take(path, labels[-1], "val" if "val" in folders else "train")
    annotations = files.one("val_annotations.txt")
    if annotations is None and not any(row.part == "val" for row in reading.rows):
        reading.form = "train/WNID/images"
        if any("val" in path.split("/")[:-1] for path in files.images):
            reading.remarks.append("val_annotations.txt is not here: the images of the val part have no label")
    if annotations is not None:
        finder = Finder(files.images, keep=lambda path: "val" in path.split("/"))
        for name, rest in pairs(files, annotations):
            found = finder.find(name)
            if found is None:
                reading.leave(name, "missing_file")
            elif found not in taken:
                take(found, rest.split()[0], "val")
    for path in files.images:
        if path not in taken:
            test = "test" in path.split("/")
            reading.leave(path, "unlabelled_test_image" if test else "unnamed_file")
    if not wnids and not any("images" in row.path.split("/") for row in reading.rows):
        reading.rows = []  # synset folders, but not of this data set
    here = {row.label for row in reading.rows}
    reading.classes = sorted({*listed, *here})
    for label in reading.classes:
        if label not in here:
            reading.leave(label, "class_without_images")
    reading.rows.sort(key=lambda row: (row.label, row.path))
    return reading


RELEASE = Release(
    name="tiny-imagenet",
    title="Tiny ImageNet",
    publisher="Stanford CS 231N",
    terms=f"{IMAGENET_TERMS}; none of the subset's own were found",
    classes=200,
    images=110000,
    layout="tiny-imagenet-200/{train/WNID/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt, wnids.txt}",
    takes="the labelled images, train and val together",
    marks=("wnids.txt",),
    folders=("n[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]",),
    read=read,
    splits={"64/16/20": at_random},
    per_class=550,
    traps=(
        "many classes are miniImageNet's too, of the same photos at another size",
        "val/ is flat: its labels are in val_annotations.txt; test/ has none",
    ),
)
