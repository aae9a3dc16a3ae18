"""Releases whose labels are the names of folders, as published or as people pass them on."""

from __future__ import annotations

from collections.abc import Callable

from rotogbml.releases.files import Files, base, is_image
from rotogbml.releases.reading import Reading, Row
from rotogbml.sources.tree import SPLIT_FOLDERS


def part_of(folders: list[str]) -> str:
    """Return train, val or test, where a folder on the way is so named (the innermost counts)."""
    for folder in reversed(folders):
        part = SPLIT_FOLDERS.get(folder.casefold())
        if part:
            return part
    return ""


def leave_strays(reading: Reading, files: Files) -> None:
    """Note the files that are no images and lie among the images that are taken."""
    places = {row.path.rpartition("/")[0] for row in reading.rows}
    for path in sorted(files.found):
        if not is_image(path) and path.rpartition("/")[0] in places:
            reading.leave(path, "not_an_image")


def class_folders(
    files: Files,
    form: str,
    is_class: Callable[[str], bool] = lambda folder: True,
    spell: Callable[[str], str] = lambda folder: folder,
    keep: Callable[[str], bool] = lambda path: True,
    train_only: bool = False,
    whole: bool = False,
) -> Reading:
    """Take each image as one of the class that its folder is named after.

    Args:
        files: The release.
        form: How the release was read.
        is_class: Whether a folder's name is that of a class; other images are left out.
        spell: The class of a folder's name.
        keep: Whether a path is looked at at all; others are ``other_version``.
        train_only: Whether, of a tree parted into train and val or test, the literature takes the first alone.
        whole: Whether all parts are taken all the same.

    Returns:
        The reading; an image that stands again deeper in a copy of the tree is left out, and so is a file that is no
        image in a class's folder.
    """
    reading = Reading(form)
    seen: dict[tuple[str, str, str], str] = {}
    for path in sorted(files.images, key=lambda path: (path.count("/"), path)):
        folders = path.split("/")[:-1]
        if not keep(path):
            reading.leave(path, "other_version")
            continue
        if not folders or folders[-1].casefold() in SPLIT_FOLDERS or not is_class(folders[-1]):
            reading.leave(path, "unlabelled_test_image" if part_of(folders[-1:]) == "test" else "unnamed_file")
            continue
        row = Row(path, spell(folders[-1]), part=part_of(folders[:-1]))
        if (row.part, row.label, base(path)) in seen:
            reading.leave(path, "nested_copy")
            continue
        seen[row.part, row.label, base(path)] = path
        reading.rows.append(row)
    leave_strays(reading, files)
    reading.rows.sort(key=lambda row: (row.label, row.path))
    reading.classes = sorted({row.label for row in reading.rows})
    if train_only and not whole and any(row.part == "train" for row in reading.rows):
        reading.select((row, f"{row.part}_part" if row.part in ("val", "test") else "") for row in reading.rows)
    return reading
