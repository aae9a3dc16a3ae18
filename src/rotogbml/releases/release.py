"""What is known of a published data set, whatever copy of it a user has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files as resources

from rotogbml.releases.files import Files
from rotogbml.releases.reading import Reading
from rotogbml.sources.tree import ClassSplit

IMAGENET_TERMS = (
    "ImageNet's, as read on the Hugging Face cards of timm's copies and in imagenet_license.md of "
    "HowToTrainYourMAMLPytorch: non-commercial research and education, to be passed only to colleagues who accept the "
    "terms"
)
"""Of every subset of ImageNet."""

Rule = Callable[[Reading], ClassSplit | None]
"""From a reading to the split of its classes; ``None`` leaves it to the default, 64/16/20 at random."""


@dataclass(frozen=True)
class Release:
    """One data set.

    Attributes:
        name: How the command line calls it.
        title: How people call it.
        publisher: Who publishes it; where its page is, is theirs to say.
        terms: Terms of use as they were read, and where.
        classes: Published number of classes, of what is taken.
        images: Published number of images, of what is taken; 0 where nobody published it.
        layout: What is expected on disk.
        takes: Which images and classes the literature takes, and where ours differ.
        marks: Names of its label files, with ``*`` for any text.
        folders: Names of folders by which its tree is known where there are no label files.
        anywhere: Whether its root is looked for above a place that has none of these.
        read: From the files to the labelled images; the flag takes parts that the literature leaves out.
        splits: Class splits by name; the first is the default.
        names: Published names of the classes, where known.
        per_class: Published number of images of each class, or the same for all, where known.
        between: Published fewest and most images of a class, where no more than that is known; zeros where not that.
        traps: What goes wrong with copies of it.
        groups: What its groups are: ``lesion``, ``leaf``, ``patient``; empty where it has none.
    """

    name: str
    title: str
    publisher: str
    terms: str
    classes: int
    images: int
    layout: str
    takes: str
    read: Callable[[Files, bool], Reading]
    splits: Mapping[str, Rule]
    marks: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    anywhere: bool = True
    names: Sequence[str] = ()
    per_class: Mapping[str, int] | int | None = None
    between: tuple[int, int] = (0, 0)
    traps: tuple[str, ...] = ()
    groups: str = ""
    notes: Callable[[Reading], Sequence[str]] = field(default=lambda reading: [])
    """What is to be said of the very copy at hand."""


def published(name: str) -> list[list[str]]:
    """Return the words of each line of a list in ``lists/``, comments left out."""
    text = (resources("rotogbml.releases") / "lists" / name).read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def published_lines(name: str) -> list[str]:
    """Return the lines of a list in ``lists/``, comments left out."""
    return [" ".join(words) for words in published(name)]


def spelling(label: str) -> str:
    """Return a class name without what copies spell in several ways: case, signs, spaces, what is in parentheses."""
    return "".join(c for c in re.sub(r"\(.*?\)", "", label.casefold()) if c.isalnum())


def every_other(order: Sequence[str], rule: str) -> ClassSplit:
    """Split classes by their place: even ones train, of the odd ones in turn validation and test.

    This is the rule of Closer Look (CUB) and of the cross-domain literature (Cars, Places, Plantae): class i, counted
    from 0, is a training class if i is even, a validation class if i mod 4 is 1, a test class if it is 3.

    Args:
        order: Every class of the release, in the order that counts; also those that are not here.
        rule: How ``order`` came about, to be said with the split.
    """
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for i, label in enumerate(order):
        parts[("train", "val", "train", "test")[i % 4]].append(label)
    return ClassSplit({split: sorted(labels) for split, labels in parts.items()}, rule)


def test_only(reading: Reading) -> ClassSplit:
    """Leave the classes unsplit: BSCD-FSL tests on all of them."""
    return ClassSplit({"all": sorted(reading.per_class())}, "not split: BSCD-FSL tests on every class")


def at_random(reading: Reading) -> None:
    """Leave the split to the default."""
