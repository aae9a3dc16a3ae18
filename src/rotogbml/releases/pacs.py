"""PACS: seven classes as art paintings, cartoons, photos and sketches."""

from __future__ import annotations

from rotogbml.releases.files import Files, base
from rotogbml.releases.folders import leave_strays
from rotogbml.releases.reading import Reading, Row
from rotogbml.releases.release import Release
from rotogbml.releases.tables import pairs
from rotogbml.sources.tree import ClassSplit

CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
DOMAINS = {
    **dict.fromkeys(("art_painting", "art", "art painting"), "art_painting"),
    "cartoon": "cartoon",
    "photo": "photo",
    "sketch": "sketch",
}
PARTS = {"train": "train", "crossval": "val"}
"""Of images, by a word in a list's name: no split of classes."""


def read(files: Files, whole: bool) -> Reading:
    """Read DOMAIN/CLASS folders, a source for each domain; the lists of the release say what is missing."""
    reading = Reading("DOMAIN/CLASS folders, a source for each domain")
    seen: set[tuple[str, str, str]] = set()
    listed = _lists(files)
    for path in sorted(files.images, key=lambda path: (path.count("/"), path)):
        domain, label, name = key = _key(path)
        if not domain or label not in CLASSES:
            reading.leave(path, "unnamed_file")
            continue
        if key in seen:
            reading.leave(path, "nested_copy")
            continue
        seen.add(key)
        reading.rows.append(Row(path, label, part=listed.get(key, ("", ""))[1], source=f"pacs-{domain}"))
    for key, (name, _) in listed.items():
        if key not in seen:
            reading.leave(name, "missing_file")
    leave_strays(reading, files)
    reading.rows.sort(key=lambda row: (row.source, row.label, row.path))
    here = {row.label for row in reading.rows}
    reading.classes = sorted({label for _, label, _ in listed} | here)
    for label in reading.classes:
        if label not in here:
            reading.leave(label, "class_without_images")
    return reading


def _key(path: str) -> tuple[str, str, str]:
    """Return domain, class and file name; an empty domain where no folder is named after one."""
    folders = [folder.casefold() for folder in path.split("/")[:-1]]
    domain = next((DOMAINS[folder] for folder in folders[-2::-1] if folder in DOMAINS), "")
    return domain, folders[-1] if folders else "", base(path)


def _lists(files: Files) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Return (name, part) of each image in the lists ``art_painting_train_kfold.txt``, ``…_crossval…``, ``…_test…``.

    The test list of a domain is all of it: a domain is tested on as a whole.
    """
    listed: dict[tuple[str, str, str], tuple[str, str]] = {}
    for path in files.named("*_kfold.txt"):
        part = next((PARTS[word] for word in base(path).casefold().split("_") if word in PARTS), "")
        for name, _ in pairs(files, path, last=True):
            key = _key(name)
            if key not in listed or part:
                listed[key] = (name, part)
    return listed


def unsplit(reading: Reading) -> ClassSplit:
    """Leave the classes unsplit: domains are what PACS is split by."""
    return ClassSplit(
        {"all": list(reading.per_class())}, "not split: the domains are its distributions, with the same classes"
    )


RELEASE = Release(
    name="pacs",
    title="PACS",
    publisher="Queen Mary University of London (Li et al.)",
    terms="no licence found",
    classes=7,
    images=9991,
    layout="kfold/{art_painting,cartoon,photo,sketch}/CLASS/* (and DOMAIN_{train,crossval,test}_kfold.txt)",
    takes="all images; each domain is a source of its own",
    marks=("*_kfold.txt", "Train val splits*"),
    folders=("art_painting", "cartoon", "photo", "sketch"),
    read=read,
    splits={"all": unsplit},
    names=tuple(CLASSES),
    traps=("files of one name lie in several domains and classes: a flat copy mixes them up",),
)
