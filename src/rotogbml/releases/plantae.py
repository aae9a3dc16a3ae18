"""Plantae: the plants of iNaturalist's competitions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import Any

from rotogbml.errors import UsageError
from rotogbml.releases import eurosat, isic
from rotogbml.releases.files import Files, base
from rotogbml.releases.folders import class_folders
from rotogbml.releases.places import first
from rotogbml.releases.reading import Named, Reading, by_names
from rotogbml.releases.release import Release, every_other, published_lines
from rotogbml.releases.tables import read_json, records
from rotogbml.sources.tree import ClassSplit

CLASSES = 200
TAKEN = 600
_PLANTS = {"plantae", "plants"}
_ID = (int, str)
_FLAT = re.compile(r"(train|val|test|train_val)_?(20\d\d|images|mini)$", re.IGNORECASE)
"""A folder of the release itself: images right in it are of no class."""
_OTHERS = {
    "cub": re.compile(r"\d{3}\.\S"),
    "cropdiseases": re.compile(r".+___.+"),
    "eurosat": re.compile(rf"({'|'.join(eurosat.COUNTS)})$"),
    "miniimagenet or tiny-imagenet": re.compile(r"n\d{8}$"),
    "cars": re.compile(r".+ (Cab|Convertible|Coupe|Hatchback|Minivan|Sedan|SUV|Van|Wagon) [12]\d{3}$"),
    "isic": re.compile(rf"({'|'.join(isic.WORDS)})$", re.IGNORECASE),
    "omniglot": re.compile(r"character\d\d$"),
    "pacs": re.compile(r"(dog|elephant|giraffe|guitar|horse|house|person)$"),
}
"""What class folders look like in other releases."""
_LABELS = ("*.mat", "wnids.txt", "*GroundTruth*", "HAM10000_metadata*", "Data_Entry_2017*", "sample_labels.csv")
_LABELS += ("categories_places365.txt", "places365_*.txt", "train.csv", "image_class_labels.txt", "*_kfold.txt")
"""Label files of other releases: beside them folders are no classes."""
_HEAP = re.compile(r"(.*[_-])?(images?|imgs?|jpe?gs?|pngs?|photos?|pictures|train|test|ims|256|large)([_-].*)?$", re.I)
"""What folders are called that hold images of any class."""


def read(files: Files, whole: bool) -> Reading:
    """Read the COCO-like JSON, else class folders; then take the 200 largest classes, up to 600 images of each."""
    reading = _annotated(files, whole) or _folders(files)
    counts = Counter(row.label for row in reading.rows)
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    chosen = ranked if whole else ranked[:CLASSES]
    if not whole:
        kept = set(chosen)
        reading.select((row, "" if row.label in kept else "beyond_200_classes") for row in reading.rows)
        reading.select(first(reading.rows, TAKEN, "beyond_first_600"))
    reading.classes = sorted(chosen, key=lambda label: (counts[label], label))
    return reading


def _annotated(files: Files, whole: bool) -> Reading | None:
    trains = files.named("train20[0-9][0-9].json", "train.json", "train_mini.json")  # not train2018_locations.json
    vals = files.named("val20[0-9][0-9].json", "val.json")
    years = {base(path) for path in trains}
    if len(years) > 1:
        raise UsageError(f"{files.root} holds two releases: {' and '.join(sorted(years))}: give the folder of one")
    if not trains and not vals:
        return None
    rows, classes = [], {}
    for path, part in [*((path, "train") for path in trains[:1]), *((path, "val") for path in vals[:1])]:
        tree = read_json(files, path, ("images", "annotations", "categories"))
        names = _names(records(files, path, tree, "categories", {"id": _ID, "name": _ID}))
        annotations = records(files, path, tree, "annotations", {"image_id": _ID, "category_id": _ID})
        labels = {each["image_id"]: each["category_id"] for each in annotations}
        for image in records(files, path, tree, "images", {"id": _ID, "file_name": (str,)}):
            category = labels.get(image["id"])
            if category not in names:
                raise UsageError(
                    f"'{path}' in {files.root}: image '{image['file_name']}' has category {category!r}, which is "
                    "not listed: the file is damaged, or of the test part"
                )
            label, plant = names[category]
            plant = plant or _PLANTS & {part.casefold() for part in image["file_name"].split("/")[:-1]} != set()
            unused = "val_part" if part == "val" and trains else ""
            rows.append(
                Named(
                    image["file_name"],
                    label,
                    part=part,
                    unused=unused if plant else "other_supercategory",
                    missing="missing_file" if plant else "other_supercategory_missing_file",
                )
            )
        classes |= {label: None for label, plant in names.values() if plant}
        classes |= {row.label: None for row in rows if row.missing == "missing_file"}
    return by_names(files, rows, f"{base((trains or vals)[0])}", classes, whole=whole)


def _names(categories: list[dict[str, Any]]) -> dict[Any, tuple[str, bool]]:
    """Return the class name of each category, and whether it is a plant's; equal names are told apart by number."""
    count = Counter(str(each["name"]) for each in categories)
    named = {}
    for each in categories:
        name = str(each["name"])
        plant = any(str(each.get(key, "")).casefold() in _PLANTS for key in ("supercategory", "kingdom"))
        named[each["id"]] = (name if count[name] == 1 else f"{name} ({each['id']})", plant)
    return named


def _folders(files: Files) -> Reading:
    reading = class_folders(files, "class folders (no json)", is_class=lambda folder: not _FLAT.match(folder))
    plants = {row.path for row in reading.rows if _is_plant(row.path)}
    if not plants:
        _refuse_others(files, reading)
        reading.remarks.append("no folder says Plantae: every class folder is taken for a species of plants")
    else:
        reading.select((row, "" if row.path in plants else "other_supercategory") for row in reading.rows)
    return reading


def _refuse_others(files: Files, reading: Reading) -> None:
    """Refuse class folders of another release: species may have any name, and all of them would be taken."""
    why = _why_none(files, {row.label: None for row in reading.rows})
    if why:
        raise UsageError(f"nothing of {RELEASE.title} under {files.root}: {why}")


def _why_none(files: Files, labels: Collection[str]) -> str:
    """Return what shows that folders are no species; empty where nothing does."""
    mend = "import that, or give the folder of the plants alone"
    lists = files.named(*_LABELS)
    if lists:
        return f"no folder says Plantae, and '{lists[0]}' is a label file of another release: {mend}"
    if labels and all(map(_HEAP.match, labels)):
        return f"its images lie in '{min(labels)}', which is no species; expected {RELEASE.layout}"
    scenes = sorted({name.replace("/", "-") for name in published_lines("places365.txt")}.intersection(labels))
    if len(scenes) * 2 > len(labels):
        return f"its class folder '{scenes[0]}' is as in places: {mend}"
    for label in labels:
        other = next((name for name, pattern in _OTHERS.items() if pattern.match(label)), "")
        if other:
            return f"its class folder '{label}' is as in {other}: {mend}"
    return ""


def _is_plant(path: str) -> bool:
    """Return whether a folder says so: ``Plantae/…``, ``Plants/…`` or, of 2021, ``05729_Plantae_…``."""
    return any(_PLANTS & set(folder.casefold().split("_")) for folder in path.split("/")[:-1])


def split(reading: Reading) -> ClassSplit:
    """Split by every other class, from the smallest to the largest."""
    rule = "100/50/50: every other class from the smallest to the largest, equal ones by name"
    return every_other(reading.classes, rule)


RELEASE = Release(
    name="plantae",
    title="Plantae (iNaturalist)",
    publisher="iNaturalist and Visipedia (FGVC competitions)",
    terms='iNat2017, by its README in visipedia/inat_comp: "non-commercial research and educational purposes", '
    '"You will NOT distribute the above images"',
    classes=CLASSES,
    images=0,
    layout="train_val20NN/Plantae/CATEGORY/*.jpg with train20NN.json; or plantae/SPECIES/*.jpg",
    takes=f"the {CLASSES} classes with the most images, up to {TAKEN} of each, first by file name. The "
    "literature draws the 600 unseeded and takes equal counts in the order of the file system, which nobody can repeat",
    marks=("train20[0-9][0-9].json", "val20[0-9][0-9].json", "train_mini.json"),
    folders=("Plantae",),
    read=read,
    splits={"100/50/50": split},
    traps=(
        "the literature's is iNat2017; 2018, 2019 and 2021 have other species",
        "counts are those of the images that are here: a part of the release gives other classes and another split",
    ),
)
