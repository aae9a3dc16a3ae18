"""ISIC 2018 task 3 and HAM10000: the same dermatoscopic images with two label files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rotogbml.errors import UsageError
from rotogbml.releases.files import Files, base
from rotogbml.releases.folders import class_folders
from rotogbml.releases.reading import Named, Reading, by_names
from rotogbml.releases.release import Release, test_only
from rotogbml.releases.tables import header_of, number, read_csv

ONE_HOT = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
WORDS = tuple(sorted(name.lower() for name in ONE_HOT))
COUNTS = {"nv": 6705, "mel": 1113, "bkl": 1099, "bcc": 514, "akiec": 327, "vasc": 142, "df": 115}


def read_isic(files: Files, whole: bool) -> Reading:
    """Read the one-hot ground truth; HAM10000's metadata where that is all there is."""
    one_hot, worded = _truths(files)
    return _one_hot(files, one_hot, worded, whole) if one_hot else _metadata(files, worded, whole)


def read_ham(files: Files, whole: bool) -> Reading:
    """Read HAM10000's metadata; the one-hot ground truth where that is all there is."""
    one_hot, worded = _truths(files)
    if one_hot and not _metadata_file(files):
        return _one_hot(files, one_hot, worded, whole)
    return _metadata(files, worded, whole)


def _truths(files: Files) -> tuple[list[str], list[str]]:
    """Return the ground truths that are one-hot, and those in the columns of HAM10000's metadata.

    HAM10000's publisher has the task's test part in the latter form, under the very name of the former.
    """
    one_hot: list[str] = []
    worded: list[str] = []
    for path in files.named("*GroundTruth*.csv", "*GroundTruth*.tab"):
        names = {name.casefold() for name in header_of(files, path)}
        (worded if {"image_id", "dx"} <= names else one_hot).append(path)
    return one_hot, worded


def _part(path: str) -> str:
    return next((part for part in ("val", "test") if part in base(path).casefold()), "train")


def _one_hot(files: Files, truths: Sequence[str], worded: Sequence[str], whole: bool) -> Reading:
    lesions = _lesions(files)
    rows: list[Named] = []
    unreadable: list[str] = []
    for path in truths:
        part = _part(path)
        for row in _records(files, path):
            try:
                hot = [name for name in ONE_HOT if number(row[name]) > 0.5]
            except ValueError:
                hot = []
            if len(hot) != 1:
                unreadable.append(row["image"])
                continue
            unused = "" if part == "train" else f"{part}_part"
            rows.append(Named(row["image"], hot[0], lesions.get(row["image"], ""), part, unused, stem=True))
    rows += [row._replace(label=row.label.upper()) for path in worded for row in _worded(files, path)]
    reading = by_names(files, rows, "one-hot ground truth", ONE_HOT, whole=whole)
    for image in unreadable:
        reading.leave(image, "label_unreadable")
    return _with_groups(reading)


def _records(files: Files, path: str) -> Iterator[dict[str, str]]:
    header = files.first_line(path)
    if "SCC" in header or "UNK" in header:
        raise UsageError(f"'{path}' in {files.root} is of ISIC 2019 (columns {header.strip()}): fetch task 3 of 2018")
    if "seborrheic_keratosis" in header:
        raise UsageError(f"'{path}' in {files.root} is of ISIC 2017 (columns {header.strip()}): fetch task 3 of 2018")
    return read_csv(files, path, ("image", *ONE_HOT))


def _metadata_file(files: Files) -> str | None:
    return files.one("HAM10000_metadata", "HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata.txt")


def _worded(files: Files, path: str) -> Iterator[Named]:
    part = _part(path) if "groundtruth" in base(path).casefold() else ""  # the metadata names no parts
    unused = f"{part}_part" if part in ("val", "test") else ""
    for row in read_csv(files, path, ("lesion_id", "image_id", "dx")):
        yield Named(row["image_id"], row["dx"].lower(), row["lesion_id"], part, unused, stem=True)


def _metadata(files: Files, worded: Sequence[str], whole: bool) -> Reading:
    path = _metadata_file(files)
    if path is None and not worded:
        spelt: dict[str, str] = {name.casefold(): name for name in WORDS}
        return class_folders(
            files,
            "class folders (no label file)",
            is_class=lambda folder: folder.casefold() in spelt,
            spell=lambda folder: spelt[folder.casefold()],
            train_only=True,
            whole=whole,
        )
    rows = [row for table in ([path] if path else []) + list(worded) for row in _worded(files, table)]
    others = sorted({row.label for row in rows} - set(WORDS))
    if others:
        rows = [row._replace(unused="other_class") if row.label in others else row for row in rows]
    reading = by_names(files, rows, "HAM10000_metadata", WORDS, whole=whole)
    if others:
        reading.remarks.append(f"classes that HAM10000 does not have are left out: {', '.join(others)}")
    return _with_groups(reading)


def _lesions(files: Files) -> dict[str, str]:
    """Return the lesion of each image, from the task's own list or from HAM10000's."""
    path = files.one("*LesionGroupings*.csv")
    if path:
        return {row["image"]: row["lesion_id"] for row in read_csv(files, path, ("image", "lesion_id"))}
    path = _metadata_file(files)
    if path:
        return {row["image_id"]: row["lesion_id"] for row in read_csv(files, path, ("image_id", "lesion_id"))}
    return {}


def _with_groups(reading: Reading) -> Reading:
    if reading.rows and not any(row.group for row in reading.rows):
        reading.remarks.append(
            "no list of lesions: photos of one lesion can stand on both sides of a task; put "
            "ISIC2018_Task3_Training_LesionGroupings.csv or HAM10000_metadata.csv beside the labels"
        )
    return reading


_TRAPS = (
    "10,015 images show 7,470 lesions: photos of one lesion can stand on both sides of a task",
    "the one-hot file spells classes in capitals, the metadata in small letters",
    "copies have added rows (dx 'healthy'), and copies whose parts share images",
)
_TERMS = (
    "for the 2018 task none were found (a Hugging Face card of ISIC 2019 says CC BY-NC 4.0); of HAM10000 both CC BY-NC "
    "4.0 and CC BY-NC-SA 4.0 are said, by whom is not known: read those on its page at Harvard Dataverse"
)

RELEASE = Release(
    name="isic",
    title="ISIC 2018 task 3",
    publisher="International Skin Imaging Collaboration",
    terms=_TERMS,
    classes=7,
    images=10015,
    layout="ISIC2018_Task3_Training_Input/*.jpg and ISIC2018_Task3_Training_GroundTruth/*.csv",
    takes="the training part, all classes, to test on",
    marks=("*GroundTruth*", "HAM10000_metadata*"),
    folders=WORDS,
    read=read_isic,
    splits={"test-only": test_only},
    names=WORDS,
    per_class={**COUNTS, **{name.upper(): count for name, count in COUNTS.items()}},
    traps=_TRAPS,
    groups="lesion",
)
HAM10000 = replace(  # the same images, as they were first published
    RELEASE,
    name="ham10000",
    title="HAM10000",
    publisher="Harvard Dataverse (Tschandl et al.)",
    layout="HAM10000_images_part_{1,2}/*.jpg and HAM10000_metadata.csv",
    takes="all images of the metadata, to test on; the task's test part is left out",
    marks=("HAM10000_metadata*", "*GroundTruth*"),
    read=read_ham,
    per_class=COUNTS,
)
