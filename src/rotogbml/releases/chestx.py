"""ChestX: the NIH ChestX-ray14 images of one finding."""

from __future__ import annotations

from rotogbml.releases.files import Files
from rotogbml.releases.reading import Named, Reading, by_names
from rotogbml.releases.release import Release, test_only
from rotogbml.releases.tables import read_csv

COUNTS = {
    "Atelectasis": 4215,
    "Cardiomegaly": 1093,
    "Effusion": 3955,
    "Infiltration": 9547,
    "Mass": 2139,
    "Nodule": 2705,
    "Pneumothorax": 2194,
}
_NOTHING = "No Finding"


def read(files: Files, whole: bool) -> Reading:
    """Read Data_Entry_2017: the rows of one finding, of the seven that the literature takes."""
    path = files.one("Data_Entry_2017*.csv") or files.one("sample_labels.csv")
    if path is None:
        return Reading("no Data_Entry_2017.csv")
    rows = []
    for row in read_csv(files, path, ("Image Index", "Finding Labels", "Patient ID")):
        findings = [finding.strip() for finding in row["Finding Labels"].split("|")]
        label = findings[0] if len(findings) == 1 else row["Finding Labels"]
        unused = ""
        if len(findings) > 1:
            unused = "multi_label"
        elif label == _NOTHING:
            unused = "no_finding"
        elif label not in COUNTS:
            unused = "other_finding"
        rows.append(Named(row["Image Index"], label, f"patient {row['Patient ID']}", unused=unused))
    single = sorted({row.label for row in rows if "|" not in row.label and row.label != _NOTHING})
    return by_names(files, rows, f"{path.rpartition('/')[2]}, images of one finding", single, whole=whole)


RELEASE = Release(
    name="chestx",
    title="ChestX (NIH ChestX-ray14)",
    publisher="NIH Clinical Center",
    terms="no restriction of use; link to the NIH page, cite the paper, name the Clinical Center (Google Cloud's page)",
    classes=7,
    images=25848,
    layout="images/*.png (or images_001 … images_012/images/*.png, or their archives) and Data_Entry_2017.csv",
    takes="images of exactly one finding, of seven findings, to test on: Pneumonia and the six others are left out, "
    "though the literature speaks of ChestX-ray8",
    marks=("Data_Entry_2017*", "sample_labels.csv"),
    read=read,
    splits={"test-only": test_only},
    names=tuple(COUNTS),
    per_class=COUNTS,
    traps=(
        "most patients have several images: they can stand on both sides of a task",
        "two column names hold commas without quotes; one version of the file ends every line with a comma",
        "images are 1024 px grey, some of them RGBA",
    ),
    groups="patient",
)
