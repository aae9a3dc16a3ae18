"""Caltech-UCSD Birds-200-2011."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rotogbml.errors import UsageError
from rotogbml.releases.files import Files, base
from rotogbml.releases.folders import class_folders
from rotogbml.releases.reading import Named, Reading, by_names
from rotogbml.releases.release import Release, every_other, published, published_lines
from rotogbml.releases.tables import pairs
from rotogbml.sources.tree import ClassSplit

_NUMBERED = re.compile(r"(\d{3})\.\S")


def read(files: Files, whole: bool) -> Reading:
    """Read images.txt and its companions, else class folders named ``001.Black_footed_Albatross``."""
    listed = files.one("images.txt")
    if listed is None:
        if any(path.split("/")[-2:-1] == ["lists"] for path in files.named("files.txt")):
            raise UsageError(f"{files.root} is CUB-200 of 2010 (lists/files.txt), not CUB-200-2011: fetch the latter")
        return _folders(files)
    classes = _companion(files, listed, "classes.txt")
    labels = _companion(files, listed, "image_class_labels.txt")
    parts = _companion(files, listed, "train_test_split.txt", needed=False)
    rows = []
    for number, path in pairs(files, listed):
        label = classes.get(labels.get(number, ""))
        if label is None:
            raise UsageError(
                f"'{listed}' in {files.root}: image {number} ('{path}') has no class in image_class_labels.txt and "
                "classes.txt: the files are of two versions, fetch them together"
            )
        rows.append(Named(path, label, part={"1": "train", "0": "test"}.get(parts.get(number, ""), "")))
    return by_names(files, rows, "images.txt, image_class_labels.txt, classes.txt", sorted(classes.values()))


def _folders(files: Files) -> Reading:
    """Read class folders, with their numbers or without them."""
    spelt = {name.casefold(): name for name in published_lines("cub.txt")}
    spelt |= {folded.partition(".")[2]: name for folded, name in spelt.items()}
    return class_folders(
        files,
        "class folders (no images.txt)",
        is_class=lambda folder: folder.casefold() in spelt,
        spell=lambda folder: spelt[folder.casefold()],
        keep=_is_photo,
    )


def _is_photo(path: str) -> bool:
    """Return whether an image is none of the masks that can be fetched beside the release."""
    return "segmentations" not in path.casefold().split("/")


def _companion(files: Files, listed: str, name: str, needed: bool = True) -> dict[str, str]:
    """Return a file of (id, value) lines that lies beside images.txt."""
    folder = listed.rpartition("/")[0]
    there = [path for path in files.named(name) if path.rpartition("/")[0] == folder]
    if not there and needed:
        raise UsageError(f"no {name} beside '{listed}' in {files.root}: it belongs to the release, fetch it too")
    return {number: value.strip() for number, value in pairs(files, there[0])} if there else {}


def _order(reading: Reading) -> list[str]:
    """Return the 200 classes in order; one that is not here keeps its place by its number."""
    numbers = {match[1]: label for label in reading.classes if (match := _NUMBERED.match(label))}
    return [numbers.get(name[:3], name) for name in published_lines("cub.txt")]


def halves(reading: Reading) -> ClassSplit:
    """Split 100/50/50 by every other class."""
    return every_other(_order(reading), "100/50/50: every other class in sorted order (Closer Look)")


def thirds(reading: Reading) -> ClassSplit:
    """Split 140/30/30 by the published list."""
    names = {label[:3]: label for label in _order(reading)}
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for split, number in published("cub_140_30_30.txt"):
        splits[split].append(names[number])
    return ClassSplit({split: sorted(labels) for split, labels in splits.items()}, "140/30/30 as in Meta-Dataset")


def notes(reading: Reading) -> Sequence[str]:
    """Say how many of the photos that ImageNet has too are here."""
    both = {name for _, name in published("cub_imagenet.txt")}
    here = sum(base(row.path) in both for row in reading.rows)
    return [f"{here} of its 43 photos that stand in ImageNet too are here: with miniImagenet, see data overlap"]


RELEASE = Release(
    name="cub",
    title="CUB-200-2011",
    publisher="Caltech",
    terms="no licence text found in the release; its page says non-commercial research and education: do not pass on",
    classes=200,
    images=11788,
    layout="CUB_200_2011/{images/NNN.Name/*.jpg, images.txt, image_class_labels.txt, classes.txt}",
    takes="all images; whole photos, not cut to the bounding boxes",
    marks=("images.txt",),
    folders=("[0-9][0-9][0-9].*",),
    read=read,
    splits={"100/50/50": halves, "140/30/30": thirds},
    names=published_lines("cub.txt"),
    between=(41, 60),
    traps=(
        "43 of its photos stand in ImageNet too",
        "train_test_split.txt parts images, not classes: it is no few-shot split, and is not used",
        "CUB-200 of 2010 has the same class names and other images",
    ),
    notes=notes,
)
