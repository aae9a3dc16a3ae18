"""CropDiseases: the PlantVillage images as the cross-domain benchmark takes them."""

from __future__ import annotations

import re

from rotogbml.errors import UsageError
from rotogbml.releases.files import Files, base, stem
from rotogbml.releases.folders import class_folders
from rotogbml.releases.reading import Reading, Row
from rotogbml.releases.release import Release, published_lines, spelling, test_only
from rotogbml.releases.tables import other_json, read_json

_OTHER = {"grayscale", "segmented"}
_CROPS = ("apple", "blueberry", "cherry", "corn", "grape", "orange", "peach", "pepper", "potato", "raspberry")
_CROPS += ("soybean", "squash", "strawberry", "tomato", "background_without_leaves")
"""What the name of a class begins with, in every copy."""
_NO_LEAF = {"Background_without_leaves"}
"""A 39th class of one copy."""
_DAYS = re.compile(r"(.*\bleaf [\w.]+?)[ _]+day\b", re.IGNORECASE)
_SAME = re.compile(r"([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})___", re.IGNORECASE)


def read(files: Files, whole: bool) -> Reading:
    """Read the class folders; of a tree parted into train and test, train alone."""
    parted = {folder.casefold() for path in files.images for folder in path.split("/")[:-1]}
    reading = class_folders(
        files,
        "class folders",
        is_class=lambda folder: folder.casefold().startswith(_CROPS),
        keep=lambda path: "color" not in parted or not _OTHER & {part.casefold() for part in path.split("/")[:-1]},
        train_only=True,
        whole=whole,
    )
    reading.select((row, "other_class" if row.label in _NO_LEAF else "") for row in reading.rows)
    _refuse_two_spellings(files, reading)
    leaves = _leaves(files)
    reading.rows = [row._replace(group=_leaf(row, leaves)) for row in reading.rows]
    if reading.rows and not any(row.part for row in reading.rows):
        reading.remarks.append("no train folder: all images are taken (the literature's 43,456 are those of one)")
    if any("augmented" in path.casefold() for path in files.found):
        reading.remarks.append(
            "a folder is named 'Augmented': its images are turned and recoloured copies of each other"
        )
    return reading


def _refuse_two_spellings(files: Files, reading: Reading) -> None:
    """Refuse two copies in one place: they would be read as one, with some classes twice."""
    spelt: dict[str, Row] = {}
    for row in reading.rows:
        first = spelt.setdefault(spelling(row.label), row)
        if first.label != row.label:
            raise UsageError(
                f"{files.root} holds two copies of the release that spell a class in two ways, such as '{first.path}' "
                f"and '{row.path}': give the folder of one"
            )


def _leaves(files: Files) -> dict[str, str]:
    """Return which leaf a photo shows, by leaf-map.json of the PlantVillage repository, where it is there.

    Raises:
        UsageError: It is no JSON object.
    """
    path = files.one("leaf-map.json")
    if path is None:
        return {}
    tree = read_json(files, path)
    if not isinstance(tree, dict):
        raise other_json(files, path, "all of it", tree, "an object")
    return {str(name): "; ".join(map(str, leaf)) for name, leaf in tree.items() if isinstance(leaf, list) and leaf}


def _leaf(row: Row, leaves: dict[str, str]) -> str:
    """Return the leaf: by the map, by a name such as ``... Leaf 10 Day 6``, or by the id that altered copies share."""
    name = stem(row.path)
    photo = name.rpartition("___")[2]
    known = leaves.get(re.sub(r"(_final_masked|copy.*)$", "", photo, flags=re.IGNORECASE).strip().casefold())
    if known:
        return known
    days = _DAYS.match(photo)
    if days:
        return f"{row.label}: {days[1]}"
    same = _SAME.match(base(row.path))
    return same[1].lower() if same else ""


RELEASE = Release(
    name="cropdiseases",
    title="CropDiseases (PlantVillage)",
    publisher="PlantVillage (Hughes and Salathe); the literature's copy is Kaggle's saroz014/plant-disease",
    terms="copies contradict each other: CC BY-SA 3.0 (Hugging Face mohanty), CC0 and MIT elsewhere",
    classes=38,
    images=43456,
    layout="dataset/{train,test}/CLASS/*.JPG; or PlantVillage/CLASS/*.JPG; or raw/color/CLASS/*.JPG",
    takes="the training part alone, of all classes, to test on",
    folders=("*___*", "Tomato_*"),
    read=read,
    splits={"test-only": test_only},
    names=published_lines("plantvillage.txt"),
    between=(122, 4406),
    traps=(
        "a tree often holds a second copy of itself (dataset/dataset, PlantVillage/PlantVillage): it is left out",
        "leaf-map.json of the PlantVillage repository says which photos show one leaf; without it only names tell",
        "15-class copies spell the classes otherwise; 'new plant diseases dataset' is made of altered copies",
    ),
    groups="leaf",
)
