"""Oxford Flowers-102."""

from __future__ import annotations

from rotogbml.errors import UsageError
from rotogbml.releases.files import Files
from rotogbml.releases.folders import class_folders
from rotogbml.releases.reading import Named, Reading, by_names
from rotogbml.releases.release import Release, at_random
from rotogbml.releases.tables import numbers, read_mat

IMAGES = 8189
_PARTS = {"trnid": "train", "valid": "val", "tstid": "test"}


def read(files: Files, whole: bool) -> Reading:
    """Read imagelabels.mat and setid.mat, else class folders named 1 … 102."""
    path = files.one("imagelabels.mat")
    if path is None:
        return class_folders(files, "class folders (no imagelabels.mat)", _is_number)
    labels = numbers(files, path, read_mat(files, path, ("labels",))["labels"])
    if not labels.size or labels.min() < 1 or labels.max() > 102:
        raise UsageError(f"'{path}' in {files.root} is of another release: its labels are not 1 to 102")
    parts: dict[int, str] = {}
    sets = files.one("setid.mat")
    if sets is not None:
        ids = read_mat(files, sets, tuple(_PARTS))
        parts = {int(i): part for key, part in _PARTS.items() for i in numbers(files, sets, ids[key])}
    if labels.max() <= 17:
        raise UsageError(
            f"'{path}' in {files.root} is of Oxford Flowers-17: {labels.size:,} labels from 1 to {labels.max()}; fetch "
            "the one of Flowers-102"
        )
    rows = [Named(f"image_{i:05}.jpg", str(label), part=parts.get(i, "")) for i, label in enumerate(labels.tolist(), 1)]
    reading = by_names(files, rows, "imagelabels.mat", [str(i) for i in range(1, 103)])
    if labels.size != IMAGES:
        reading.remarks.append(
            f"'{path}' has {labels.size:,} labels where the release's has {IMAGES:,}: it is of another version, and "
            "labels go by the number of an image"
        )
    return reading


def _is_number(folder: str) -> bool:
    return folder in {str(i) for i in range(1, 103)}


RELEASE = Release(
    name="flowers102",
    title="Oxford Flowers-102",
    publisher="Visual Geometry Group, Oxford",
    terms="no licence found",
    classes=102,
    images=IMAGES,
    layout="jpg/image_NNNNN.jpg, imagelabels.mat and setid.mat; or {train,valid,test}/{1…102}/*.jpg",
    takes="all images, whatever part of setid.mat they are in",
    marks=("imagelabels.mat",),
    folders=tuple(str(i) for i in range(1, 103)),
    read=read,
    splits={"64/16/20": at_random},
    names=[str(i) for i in range(1, 103)],
    traps=(
        "setid.mat parts images, not classes, and its test part is the largest",
        "classes have numbers and no names; sorted folders put '2' after '102': their index is no label",
    ),
)
