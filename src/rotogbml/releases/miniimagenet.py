"""miniImageNet, in the layouts in which it goes round."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from rotogbml.errors import UsageError
from rotogbml.releases.files import Files, base
from rotogbml.releases.finder import Finder
from rotogbml.releases.folders import leave_strays, part_of
from rotogbml.releases.reading import Named, Reading, Row, by_names
from rotogbml.releases.release import IMAGENET_TERMS, Release, published
from rotogbml.releases.tables import read_csv
from rotogbml.sources.tree import ClassSplit

_WNID = re.compile(r"n\d{8}$")
_FLAT = re.compile(r"(n\d{8})(\d{8})\.")
_ORIGINAL = re.compile(r"(n\d{8})_(\d+)\.")
_PARTS = ("train", "val", "test")
_UNNAMED = ("unnamed_file", "unlabelled_test_image")
EACH = 600


def read(files: Files, whole: bool) -> Reading:
    """Read train.csv, val.csv and test.csv; else folders named by synset, or flat files whose names begin with it."""
    lists = [(part, path) for part in _PARTS if (path := files.one(f"{part}.csv"))]
    if lists:
        return _listed(files, lists, whole)
    pickles = files.named("*.pickle", "*.pkl")
    if pickles and not files.images:
        raise UsageError(
            f"'{pickles[0]}' in {files.root} is a pickle, which can run any code when it is read: use a layout of "
            "images ({train,val,test}/WNID/*.jpg, or images/*.jpg with train.csv, val.csv and test.csv)"
        )
    if files.one("wnids.txt"):
        raise UsageError(f"{files.root} is Tiny ImageNet (it has a wnids.txt): rotogbml data import tiny-imagenet")
    return _folders(files)


def _listed(files: Files, lists: list[tuple[str, str]], whole: bool) -> Reading:
    rows = []
    for part, path in lists:
        for row in read_csv(files, path, ("filename", "label")):
            flat = _FLAT.match(base(row["filename"]))
            label = row["label"] if _WNID.match(row["label"]) or not flat else flat[1]
            rows.append(Named(row["filename"], label, part=part))
    finder = Finder(files.images)
    form = ", ".join(f"{part}.csv" for part, _ in lists)
    ranked = {} if any(finder.find(row.name) for row in rows) else _originals(files)
    if ranked:
        form += " over ImageNet's own folders, by rank"
        rows = [row._replace(name=_by_rank(row.name, ranked)) for row in rows]
    reading = by_names(files, rows, form, sorted({row.label for row in rows}), whole=whole)
    if ranked:
        reading.left = [(path, reason) for path, reason in reading.left if reason != "unnamed_file"]
        reading.remarks.append("images are taken by their rank in ImageNet's folders: these must be complete")
    else:
        _tell_of_class_folders(reading)
    for part in _PARTS:
        if part not in dict(lists):
            classes = sum(of == part for of, _ in published("miniimagenet.txt"))
            reading.remarks.append(f"{part}.csv is not here: the images of its {classes} classes have no label")
    return reading


def _tell_of_class_folders(reading: Reading) -> None:
    """Give the right reason for images in folders named by synset that the lists do not name: two layouts are mixed."""
    reading.left = [
        (path, "other_layout" if reason in _UNNAMED and any(map(_WNID.match, path.split("/")[:-1])) else reason)
        for path, reason in reading.left
    ]
    others = [path for path, reason in reading.left if reason == "other_layout"]
    if others:
        reading.remarks.append(
            f"two layouts lie in one place: lists, which are read, and class folders with {len(others):,} more images, "
            f"such as '{others[0]}': give the folder of the layout that you mean"
        )


def _originals(files: Files) -> dict[str, list[str]]:
    """Return ImageNet's own files of each synset, sorted by the number in their names."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for path in files.images:
        match = _ORIGINAL.match(base(path))
        if match:
            found[match[1]].append((int(match[2]), path))
    return {wnid: [path for _, path in sorted(paths)] for wnid, paths in found.items()}


def _by_rank(name: str, ranked: dict[str, list[str]]) -> str:
    match = _FLAT.match(base(name))
    paths = ranked.get(match[1], []) if match else []
    rank = int(match[2]) if match else 0
    return paths[rank - 1] if 1 <= rank <= len(paths) else name


def _folders(files: Files) -> Reading:
    known = {wnid for _, wnid in published("miniimagenet.txt")}
    reading = Reading("folders named by synset")
    for path in files.images:
        folders = path.split("/")[:-1]
        flat = _FLAT.match(base(path))
        label = next((folder for folder in reversed(folders) if _WNID.match(folder)), flat[1] if flat else "")
        if not label:
            reading.leave(path, "unnamed_file")
        elif label not in known:
            reading.leave(path, "other_class")
        else:
            reading.rows.append(Row(path, label, part=part_of(folders)))
    leave_strays(reading, files)
    reading.rows.sort(key=lambda row: (row.label, row.path))
    reading.classes = sorted({row.label for row in reading.rows})
    counts = Counter(row.label for row in reading.rows)
    most = max(counts, key=lambda label: counts[label], default="")
    if counts[most] > EACH:
        raise UsageError(
            f"{files.root} has {counts[most]:,} images of {most}, and miniImageNet takes {EACH} certain ones: put "
            "train.csv, val.csv and test.csv of the published split beside the folders"
        )
    parts = defaultdict(set)
    for row in reading.rows:
        parts[row.label].add(row.part)
    spread = sum(len(found) > 1 for found in parts.values())
    if spread:
        reading.remarks.append(
            f"{spread} classes lie in several of the folders train, val and test: these part images, not classes; they "
            "are put together, and split by the published list"
        )
    return reading


def split(reading: Reading) -> ClassSplit | None:
    """Split by the published list."""
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for part, wnid in published("miniimagenet.txt"):
        splits[part].append(wnid)
    return ClassSplit(splits, "64/16/20 by the published lists (Ravi and Larochelle)")


def notes(reading: Reading) -> Sequence[str]:
    """Say whether parts of the release's own split disagree with the published one; parts of images are no split."""
    published_part = {wnid: part for part, wnid in published("miniimagenet.txt")}
    parts: dict[str, set[str]] = defaultdict(set)
    for row in reading.rows:
        parts[row.label].add(row.part)
    wrong = [
        label for label, found in parts.items() if len(found) == 1 and not found <= {"", published_part.get(label, "")}
    ]
    return [f"{len(wrong)} classes lie in another part than in the published split, which counts"] if wrong else []


RELEASE = Release(
    name="miniimagenet",
    title="miniImageNet",
    publisher="Vinyals et al.; split and lists by Ravi and Larochelle; images of ImageNet",
    terms=f"{IMAGENET_TERMS}; none of the subset's own were found",
    classes=100,
    images=60000,
    layout="images/*.jpg with {train,val,test}.csv; or {train,val,test}/WNID/*.jpg; or ImageNet's train folders with "
    "the csv files",
    takes="600 images of each of 100 classes",
    marks=("train.csv",),
    folders=("n[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]",),
    read=read,
    splits={"64/16/20": split},
    names=[wnid for _, wnid in published("miniimagenet.txt")],
    per_class=EACH,
    traps=(
        "three layouts: lists over flat files, folders by class split, and pickles (not read: they can run code)",
        "copies part the images of all 100 classes into train and val: no few-shot split (timm/mini-imagenet is one)",
        "43 photos of CUB stand in ImageNet too",
        "some copies are squeezed to 84 x 84, others cut: numbers differ",
    ),
    notes=notes,
)
