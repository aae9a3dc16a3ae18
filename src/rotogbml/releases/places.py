"""Places365, and MiniPlaces, which has its form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rotogbml.errors import UsageError
from rotogbml.releases.files import Files, base
from rotogbml.releases.finder import Finder
from rotogbml.releases.folders import class_folders, leave_strays, part_of
from rotogbml.releases.reading import Named, Reading, Row, by_names
from rotogbml.releases.release import Release, every_other, published_lines
from rotogbml.releases.tables import pairs
from rotogbml.sources.tree import ClassSplit

TAKEN = 200
"""Images of a class that the cross-domain literature takes: the first of the sorted training images."""
_TRAIN = ("places365_train_standard.txt", "places365_train_challenge.txt", "train.txt")
_VAL = ("places365_val.txt", "val.txt")
MINI_CLASSES, MINI_TRAIN, MINI_VAL = 100, 100_000, 10_000
"""MiniPlaces as published (Zhou et al., a challenge of 2015)."""
MINI_OWN = ("abbey", "monastery/outdoor", "temple/east_asia", "track/outdoor")
"""Of its classes those that are none of the 365 (categories.txt of github.com/CSAILVision/miniplaces)."""
_FLAT = ("val_256", "val_large", "test_256", "test_large")


def read(files: Files, whole: bool) -> Reading:
    """Read the lists of the release, else its folders: a/airfield, or airfield (easy format)."""
    reading = _lists(files, whole) or _folders(files, whole)
    if not whole:
        reading.select(first(reading.rows, TAKEN, "beyond_first_200"))
    return reading


def first(rows: list[Row], count: int, reason: str) -> Iterator[tuple[Row, str]]:
    """Yield each row, with a reason where it is not among the first of its class by file name."""
    taken: dict[str, int] = defaultdict(int)
    for row in sorted(rows, key=lambda row: (row.label, base(row.path), row.path)):
        taken[row.label] += 1
        yield row, reason if taken[row.label] > count else ""


def _lists(files: Files, whole: bool) -> Reading | None:
    """Read the lists: the training part, or the validation part where no image of the former is there."""
    categories = _categories(files)
    finder = Finder(files.images)
    train = [row for path in _own(files, _TRAIN) for row in _rows(files, path, categories, "train")]
    for row in train:
        if index := row.part.partition(":")[2]:
            categories.setdefault(index, row.label)
    val = [row for path in _own(files, _VAL) for row in _rows(files, path, categories, "val")]
    train, val = ([row._replace(part=row.part.partition(":")[0]) for row in rows] for rows in (train, val))
    if not train and not val:
        return None
    if not any(finder.find(row.name) for row in train):
        train = _by_folders(files, train, categories)
    known = dict.fromkeys([*categories.values(), *(row.label for row in train)])
    if any(finder.find(row.name) for row in train):
        val = [row._replace(unused="val_part") for row in val if finder.find(row.name)]
        reading = by_names(files, [*train, *val], "lists of the training part", known, whole=whole)
        if len(reading.classes) == MINI_CLASSES and len(train) == MINI_TRAIN:
            reading.form = "lists of MiniPlaces' training part"
            images = MINI_TRAIN + MINI_VAL if whole else MINI_CLASSES * TAKEN
            reading.published = (MINI_CLASSES, images)
        return reading
    if any(finder.find(row.name) for row in val):
        reading = by_names(files, val, "list of the validation part", known, whole=whole)
        reading.remarks.append("no image of the training part is here: the validation images are taken instead")
        return reading
    return None


def _own(files: Files, names: Sequence[str]) -> list[str]:
    """Return the lists of these names that are there; the last name, train.txt or val.txt, where no other is."""
    paths = [path for name in names[:-1] if (path := files.one(name))]
    other = None if paths else files.one(names[-1])
    return [other] if other else paths


def _by_folders(files: Files, train: list[Named], categories: dict[str, str]) -> list[Named]:
    """Return the training rows for a tree that its lists do not spell, with images that lie there unlisted.

    The easy format has ``train/bakery-shop`` where the lists of the release say ``/b/bakery/shop``; or there are lists
    of the validation part alone.
    """
    easy = [row._replace(name=f"train/{_easy(row.label)}/{base(row.name)}") for row in train]
    finder = Finder(files.images)
    if any(finder.find(row.name) for row in easy):
        return easy
    spelt = {_easy(label): label for label in [*published_lines("places365.txt"), *categories.values()]}
    for path in files.images:
        folders = path.split("/")[:-1]
        if part_of(folders) == "train" and folders[-1] in spelt:
            train.append(Named(path, spelt[folders[-1]], part="train"))
        elif part_of(folders) in ("train", "") and (label := _class_of(folders)):
            train.append(Named(path, label, part="train"))
    return train


def _easy(label: str) -> str:
    """Return a class name as folders of the easy format spell it."""
    return label.replace("/", "-")


def _rows(files: Files, path: str, categories: dict[str, str], part: str) -> Iterator[Named]:
    """Yield the rows of a list; their part carries the number of the class along."""
    easy = {_easy(name): _easy(name) for name in published_lines("places365.txt")}
    easy |= {_easy(name): name for name in categories.values()}
    for name, index in pairs(files, path, last=True):
        folders = name.split("/")[:-1]
        label = categories.get(index) or _class_of(folders)
        if label is None and folders:
            label = easy.get(folders[-1])
        if label is None:
            raise UsageError(
                f"'{path}' in {files.root}: no name for class '{index}' of '{name}': categories_places365.txt belongs "
                "to it, fetch it too"
            )
        yield Named(name, label, part=f"{part}:{index}")


def _categories(files: Files) -> dict[str, str]:
    path = files.one("categories_places365.txt")
    if path is None:
        return {}
    names = ((index, _class_of(name.split("/"))) for name, index in pairs(files, path, last=True))
    return {index: name for index, name in names if name}


def _class_of(folders: list[str]) -> str | None:
    """Return what follows a folder of one letter: ``['', 'b', 'bakery', 'shop']`` is ``bakery/shop``."""
    for i in range(len(folders) - 1):
        if len(folders[i]) == 1 and folders[i + 1][:1].casefold() == folders[i].casefold():
            return "/".join(folders[i + 1 :])
    return None


def _folders(files: Files, whole: bool) -> Reading:
    known = {_easy(name) for name in (*published_lines("places365.txt"), *MINI_OWN)}
    lettered = [(path, _class_of(path.split("/")[:-1])) for path in files.images]
    easy = next((path for path, label in lettered if label is None and f"/{path}".split("/")[-2] in known), "")
    letters = next((path for path, label in lettered if label is not None), "")
    if easy and letters:
        raise UsageError(f"{files.root} holds two releases, such as '{easy}' and '{letters}': give the folder of one")
    if sum(label is not None for _, label in lettered) * 2 <= len(lettered):
        siblings = _siblings(files, known)
        reading = class_folders(
            files,
            "class folders (no lists)",
            is_class=lambda folder: folder in siblings,
            train_only=True,
            whole=whole,
        )
        return _without_strangers(reading, known)
    reading = Reading("folders by first letter (no lists)")
    for path, label in lettered:
        if label is None:
            reading.leave(path, "unnamed_file")
        else:
            reading.rows.append(Row(path, label, part=part_of(path.split("/")[:-1])))
    leave_strays(reading, files)
    reading.classes = sorted({row.label for row in reading.rows})
    reading = _without_strangers(reading, known)
    if not whole and any(row.part in ("train", "") for row in reading.rows):
        reading.select((row, f"{row.part}_part" if row.part in ("val", "test") else "") for row in reading.rows)
    return reading


def _siblings(files: Files, known: set[str]) -> set[str]:
    """Return the names of the folders that lie where folders of known classes lie."""
    places = [path.rpartition("/")[0].rpartition("/") for path in files.images]
    homes = {home for home, _, folder in places if folder in known}
    return {folder for home, _, folder in places if home in homes and folder.casefold() not in _FLAT}


def _without_strangers(reading: Reading, known: set[str]) -> Reading:
    """Leave out folders that are no class, where most are: one of them would shift the split of all others."""
    strangers = {label for label in reading.classes if _easy(label) not in known}
    if 0 < len(strangers) * 2 <= len(reading.classes):
        reading.select((row, "other_class" if row.label in strangers else "") for row in reading.rows)
        reading.classes = [label for label in reading.classes if label not in strangers]
        names = ", ".join(sorted(strangers)[:5])
        reading.remarks.append(f"{len(strangers):,} folders are no class of the 365, and left out: {names}")
    return reading


def split(reading: Reading) -> ClassSplit:
    """Split by every other of the 365 sorted classes; other sets of classes by their own order."""
    spelt = {_easy(label): label for label in reading.classes}
    order = sorted(_easy(name) for name in published_lines("places365.txt"))
    if set(spelt) <= set(order):
        rule = "183/91/91: every other of the 365 sorted classes (as in the cross-domain literature)"
        return every_other([spelt.get(name, name) for name in order], rule)
    others = len(set(spelt) - set(order))
    rule = f"every other of the {len(spelt)} sorted classes here: {others} of them are not among the 365"
    return every_other(sorted(reading.classes), rule)


RELEASE = Release(
    name="places",
    title="Places365",
    publisher="MIT CSAIL",
    terms="images belong to their owners (CSAILVision/places365): do not pass on",
    classes=365,
    images=73000,
    layout="places365_standard/{train,val}/CLASS/*.jpg; or data_256/a/airfield/*.jpg with "
    "places365_train_standard.txt; or val_256/*.jpg with places365_val.txt and categories_places365.txt",
    takes=f"the first {TAKEN} sorted training images of each class",
    marks=("categories_places365.txt", "places365_*.txt"),
    folders=("[a-z]", "airfield", "train"),
    read=read,
    splits={"183/91/91": split},
    names=published_lines("places365.txt"),
    per_class=TAKEN,
    traps=(
        "categories of two levels are two folders, or one with a hyphen (easy format)",
        "places365_val.txt gives numbers alone: categories_places365.txt names them",
        "MiniPlaces numbers its files and its 100 classes otherwise",
    ),
)
