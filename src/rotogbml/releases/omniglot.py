"""Omniglot: hand-drawn characters of 50 alphabets."""

from __future__ import annotations

from rotogbml.releases.files import Files
from rotogbml.releases.folders import leave_strays
from rotogbml.releases.reading import Reading, Row
from rotogbml.releases.release import Release
from rotogbml.sources.tree import ClassSplit


def read(files: Files, whole: bool) -> Reading:
    """Read images_background/ALPHABET/characterNN and images_evaluation likewise."""
    reading = Reading("ALPHABET/characterNN folders")
    full = any(_set(path) in ("images_background", "images_evaluation") for path in files.images)
    seen: set[tuple[str, str]] = set()
    for path in files.images:
        parts = path.split("/")
        if len(parts) < 3 or not parts[-2].casefold().startswith("character"):
            reading.leave(path, "unnamed_file")
            continue
        if full and _set(path).startswith("images_background_small"):
            reading.leave(path, "other_version")
            continue
        label = f"{parts[-3]}/{parts[-2]}"
        if (label, parts[-1]) in seen:
            reading.leave(path, "nested_copy")
            continue
        seen.add((label, parts[-1]))
        part = "test" if _set(path) == "images_evaluation" else "train" if _set(path) else ""
        reading.rows.append(Row(path, label, part=part))
    leave_strays(reading, files)
    reading.rows.sort(key=lambda row: (row.label, row.path))
    reading.classes = sorted({row.label for row in reading.rows})
    return reading


def _set(path: str) -> str:
    """Return the innermost part of a path that names one of the release's sets, as the folder is called."""
    for part in reversed(path.casefold().split("/")):
        for name in ("images_background_small1", "images_background_small2", "images_background", "images_evaluation"):
            if part.startswith(name):
                return name
    return ""


def split(reading: Reading) -> ClassSplit | None:
    """Split by the release's own sets, every fifth background alphabet being for validation."""
    sets = {row.label: row.part for row in reading.rows}
    if "" in sets.values():
        return None
    alphabets = sorted({label.split("/")[0] for label, part in sets.items() if part == "train"})
    for_choice = set(alphabets[4::5])
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label in sorted(sets):
        alphabet = label.split("/")[0]
        parts["test" if sets[label] == "test" else "val" if alphabet in for_choice else "train"].append(label)
    rule = "evaluation alphabets are test classes, every fifth background alphabet is for validation (our own rule)"
    return ClassSplit(parts, rule)


RELEASE = Release(
    name="omniglot",
    title="Omniglot",
    publisher="Brenden Lake",
    terms="MIT: LICENSE of its author's repository, brendenlake/omniglot",
    classes=1623,
    images=32460,
    layout="images_background/ALPHABET/characterNN/*.png and images_evaluation/… (or their .zip)",
    takes="every character as a class; no rotated copies as further classes, which some code bases add",
    marks=("images_background*", "images_evaluation*"),
    folders=("character[0-9][0-9]",),
    read=read,
    splits={"alphabets": split},
    per_class=20,
    traps=(
        "images_background_small1 and _small2 repeat parts of images_background",
        "dark strokes on white, of one bit a pixel; take episodes.augment shape-safe: characters are not mirrored",
    ),
)
