"""Any other data set: a table of file names and labels beside the images, or class folders."""

from __future__ import annotations

from collections import defaultdict

from rotogbml.errors import UsageError
from rotogbml.releases.files import Files
from rotogbml.releases.finder import Finder
from rotogbml.releases.folders import class_folders
from rotogbml.releases.reading import Named, Reading, by_names
from rotogbml.releases.release import Release
from rotogbml.releases.tables import header_of, read_csv
from rotogbml.sources.tree import SPLIT_FOLDERS, ClassSplit

FILE = ("filename", "file_name", "file", "image", "image_id", "image_path", "path", "img", "name", "id")
LABEL = ("label", "class", "class_name", "category", "species", "target", "diagnosis", "dx")
GROUP = ("group", "lesion_id", "lesion", "leaf", "patient", "patient_id", "subject", "subject_id")
PART = ("split", "part", "set", "subset")


def read(files: Files, whole: bool) -> Reading:
    """Read a table with a column of file names and one of labels, else class folders."""
    tables = [path for path in files.named("*.csv", "*.tsv") if _columns(files, path)]
    if not tables:
        return class_folders(files, "class folders (no table of labels)")
    finder = Finder(files.images)
    rows: list[Named] = []
    for path in tables:
        columns = _columns(files, path)
        part = next((p for word, p in SPLIT_FOLDERS.items() if word in path.rpartition("/")[2].casefold()), "")
        for row in read_csv(files, path, tuple(columns.values())):
            said = row[columns["part"]].casefold() if "part" in columns else ""
            rows.append(
                Named(
                    row[columns["file"]],
                    row[columns["label"]],
                    row[columns["group"]] if "group" in columns else "",
                    SPLIT_FOLDERS.get(said, "") if said else part,
                    unused="" if row[columns["label"]] else "label_unreadable",
                    stem=True,
                )
            )
    labelled = [row for row in rows if row.label]
    if not any(finder.find_stem(row.name) for row in labelled):
        named = len(labelled)
        raise UsageError(
            f"'{tables[0]}' in {files.root} names {named:,} files such as '{labelled[0].name}', and none is there"
            if labelled
            else f"'{tables[0]}' in {files.root} has no row with a label"
        )
    return by_names(files, rows, f"table {', '.join(tables)}", sorted({row.label for row in labelled}), whole=whole)


def _columns(files: Files, path: str) -> dict[str, str]:
    """Return the columns of file, label, group and part, as far as there are; empty where the first two are not."""
    header = {name.casefold(): name for name in header_of(files, path)}
    kinds = (("file", FILE), ("label", LABEL), ("group", GROUP), ("part", PART))
    found = {kind: next((header[name] for name in known if name in header), "") for kind, known in kinds}
    return {kind: name for kind, name in found.items() if name} if found["file"] and found["label"] else {}


def split(reading: Reading) -> ClassSplit | None:
    """Split as folders or a column say, where they split classes and not images; else at random."""
    parts: dict[str, set[str]] = defaultdict(set)
    for row in reading.rows:
        parts[row.label].add(row.part)
    said = {label: next(iter(found)) for label, found in parts.items() if len(found) == 1}
    if len(said) < len(parts) or "" in said.values() or len(set(said.values())) < 2:
        return None
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label, part in said.items():
        splits[part].append(label)
    return ClassSplit(
        {part: sorted(labels) for part, labels in splits.items()}, "as the release's own parts split classes"
    )


RELEASE = Release(
    name="generic",
    title="any other",
    publisher="you",
    terms="yours to know",
    classes=0,
    images=0,
    layout="CLASS/*.jpg, {train,val,test}/CLASS/*.jpg, or images and a .csv with columns filename and label "
    "(and group, split)",
    takes="everything",
    anywhere=False,
    read=read,
    splits={"own": split},
)
