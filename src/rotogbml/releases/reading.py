"""What an importer reads off a release: which file is of which class, and what is left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rotogbml.releases.files import Files
from rotogbml.releases.finder import Finder
from rotogbml.sources.containers import Skip

REASONS = {
    "missing_file": "named by the labels, not there",
    "class_without_images": "a class that the labels name, without an image here",
    "unnamed_file": "an image that no label names",
    "unlabelled_test_image": "a test image whose label was not released",
    "not_an_image": "no image, among the images of a class",
    "test_part": "of the test part, which the literature leaves out",
    "val_part": "of the validation part, which the literature leaves out",
    "multi_label": "more than one label",
    "no_finding": "no label",
    "other_finding": "of a finding that the literature leaves out",
    "other_supercategory": "of another branch of life",
    "other_supercategory_missing_file": "of another branch of life, and not there",
    "other_class": "of a class that does not belong to this data set",
    "other_version": "another version of an image that is taken",
    "other_layout": "in a class folder of another layout of the same data set: the lists count",
    "nested_copy": "stands again in a copy of the tree",
    "second_label": "named again, with another label: the first one counts",
    "beyond_first_200": "not among the first 200 of its class, which the literature takes",
    "beyond_first_600": "not among the first 600 of its class, which the literature takes",
    "beyond_200_classes": "of a class that is not among the 200 with the most images",
    "label_unreadable": "a row of the labels that cannot be read",
}
"""Every reason by which an importer leaves something out; those of damaged files come from decoding."""


class Row(NamedTuple):
    """A labelled image."""

    path: str
    label: str
    group: str = ""
    """The lesion, leaf or patient that it shows; empty where the release does not say."""
    part: str = ""
    """Where the release puts it: train, val or test; empty where it does not say."""
    source: str = ""
    """Which distribution, of a release of several; empty for its only one."""


class Named(NamedTuple):
    """A row of a label file."""

    name: str
    """As the label file says it."""
    label: str
    group: str = ""
    part: str = ""
    unused: str = ""
    """A reason, where the literature (or the task) leaves it out though it is there."""
    missing: str = "missing_file"
    """The reason where its file is not there."""
    stem: bool = False
    """Whether the name lacks its ending, or may have another one."""


@dataclass
class Reading:
    """Everything an importer found.

    Attributes:
        form: How the release was read, in one sentence.
        rows: The labelled images that are taken.
        classes: Every class that the release names, in its own order: splits go by it, whatever part is here.
        left: What is left out, as (path, reason key).
        remarks: What else the user should know.
        published: (classes, images) of the very release that was read, where it is a smaller one of the same form.
    """

    form: str
    rows: list[Row] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    published: tuple[int, int] | None = None

    def leave(self, path: str, reason: str) -> None:
        """Note something that is not taken."""
        self.left.append((path, reason))

    def counts(self) -> dict[str, int]:
        """Return how many were left out for each reason."""
        return dict(sorted(Counter(reason for _, reason in self.left).items()))

    def skips(self) -> list[Skip]:
        """Return what is left out as a pack lists it."""
        return [Skip(path, f"{reason}: {REASONS[reason]}") for path, reason in self.left]

    def per_class(self) -> dict[str, int]:
        """Return the number of images of each class that has any, by name."""
        return dict(sorted(Counter(row.label for row in self.rows).items()))

    def parts(self) -> dict[str, int]:
        """Return the number of images in each part that the release itself names."""
        return dict(Counter(row.part for row in self.rows if row.part))

    def select(self, keep: Iterator[tuple[Row, str]]) -> None:
        """Replace the rows by those that come with no reason; the others are left out."""
        rows: list[Row] = []
        for row, reason in keep:
            if reason:
                self.leave(row.path, reason)
            else:
                rows.append(row)
        self.rows = rows


def by_names(
    files: Files,
    named: Iterable[Named],
    form: str,
    classes: Iterable[str],
    finder: Finder | None = None,
    whole: bool = False,
) -> Reading:
    """Find the file of each row of a label file.

    Args:
        files: The release.
        named: The rows.
        form: How the release was read.
        classes: Every class that the labels name, in the release's order.
        finder: Where to look; all images where not given.
        whole: Whether rows of parts that the literature leaves out are taken all the same.

    Returns:
        The reading: rows without a file, classes without an image and images without a row are left out.
    """
    finder = finder or Finder(files.images)
    reading = Reading(form, classes=list(dict.fromkeys(classes)))
    labels: dict[str, str] = {}
    seen: set[str] = set()
    missing: set[str] = set()
    twice = 0
    for row in named:
        path = finder.find_stem(row.name) if row.stem else finder.find(row.name)
        if path is None:
            if row.name in missing:
                twice += 1
            else:
                reading.leave(row.name, row.missing)
            missing.add(row.name)
            continue
        if path in labels:
            twice += 1
            if labels[path] != row.label:
                reading.leave(path, "second_label")
            continue
        labels[path] = row.label
        seen.add(row.label)
        if row.unused and not (whole and row.unused.endswith("_part")):
            reading.leave(path, row.unused)
        else:
            reading.rows.append(Row(path, row.label, row.group, row.part))
    for label in reading.classes:
        if label not in seen:
            reading.leave(label, "class_without_images")
    folders = {_tail(path): path.rpartition("/")[0] for path in labels}
    for path in files.images:
        if path not in labels:
            copy = folders.get(_tail(path), path.rpartition("/")[0]) != path.rpartition("/")[0]
            reading.leave(
                path, "nested_copy" if copy else "unlabelled_test_image" if _of_test(path) else "unnamed_file"
            )
    if finder.other_case:
        reading.remarks.append(
            f"{finder.other_case:,} files differ from their names in the labels by upper and lower case"
        )
    if twice:
        reading.remarks.append(f"{twice:,} rows of the labels name a file again")
    return reading


def _tail(path: str) -> str:
    """Return the folder and name of a file, by which a copy of a tree is known."""
    return "/".join(path.casefold().rsplit("/", 2)[-2:])


def _of_test(path: str) -> bool:
    return any("test" in part.casefold() for part in path.split("/")[:-1])
