"""PACS: seven classes as art paintings, cartoons, photos and sketches."""

from __future__ import annotations

from rotogbml.releases.files import Files, base, is_image
from rotogbml.releases.reading import Reading, Row
from rotogbml.releases.release import Release
from rotogbml.sources.tree import ClassSplit

CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
DOMAINS = {
    **dict.fromkeys(("art_painting", "art", "art painting"), "art_painting"),
    "cartoon": "cartoon",
    "photo": "photo",
    "sketch": "sketch",
}


def read(files: Files, whole: bool) -> Reading:
    """Read DOMAIN/CLASS folders: a source for each domain."""
    reading = Reading("DOMAIN/CLASS folders, a source for each domain")
    seen: set[tuple[str, str, str]] = set()
    for path in sorted(files.images, key=lambda path: (path.count("/"), path)):
        folders = [folder.casefold() for folder in path.split("/")[:-1]]
        domain = next((DOMAINS[folder] for folder in folders[-2::-1] if folder in DOMAINS), None)
        if domain is None or folders[-1] not in CLASSES:
            reading.leave(path, "unnamed_file")
            continue
        if (domain, folders[-1], base(path)) in seen:
            reading.leave(path, "nested_copy")
            continue
        seen.add((domain, folders[-1], base(path)))
        reading.rows.append(Row(path, folders[-1], source=f"pacs-{domain}"))
    places = {row.path.rpartition("/")[0] for row in reading.rows}
    for path in sorted(files.found):
        if not is_image(path) and path.rpartition("/")[0] in places:
            reading.leave(path, "not_an_image")
    reading.rows.sort(key=lambda row: (row.source, row.label, row.path))
    reading.classes = sorted({row.label for row in reading.rows})
    return reading


def unsplit(reading: Reading) -> ClassSplit:
    """Leave the classes unsplit: domains are what PACS is split by."""
    return ClassSplit(
        {"all": list(reading.classes)}, "not split: the domains are its distributions, with the same classes"
    )


RELEASE = Release(
    name="pacs",
    title="PACS",
    publisher="Queen Mary University of London (Li et al.)",
    terms="no licence found",
    classes=7,
    images=9991,
    layout="kfold/{art_painting,cartoon,photo,sketch}/CLASS/*",
    takes="all images; each domain is a source of its own",
    folders=("art_painting", "cartoon", "photo", "sketch"),
    read=read,
    splits={"all": unsplit},
    traps=("files of one name lie in several domains and classes: a flat copy mixes them up",),
)
