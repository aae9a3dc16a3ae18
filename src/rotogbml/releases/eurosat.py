"""EuroSAT, the RGB images."""

from __future__ import annotations

from rotogbml.errors import UsageError
from rotogbml.releases.files import Files
from rotogbml.releases.folders import class_folders
from rotogbml.releases.reading import Reading
from rotogbml.releases.release import Release, test_only

COUNTS = {
    "AnnualCrop": 3000,
    "Forest": 3000,
    "HerbaceousVegetation": 3000,
    "Highway": 2500,
    "Industrial": 2500,
    "Pasture": 2000,
    "PermanentCrop": 2500,
    "Residential": 3000,
    "River": 2500,
    "SeaLake": 3000,
}


def read(files: Files, whole: bool) -> Reading:
    """Read the class folders, in whatever folder they lie."""
    spelt = {name.casefold(): name for name in COUNTS}
    reading = class_folders(
        files,
        "class folders",
        is_class=lambda folder: folder.casefold() in spelt,
        spell=lambda folder: spelt[folder.casefold()],
        keep=lambda path: not path.lower().endswith((".tif", ".tiff")),
    )
    if not reading.rows and any(path.lower().endswith((".tif", ".tiff")) for path in files.images):
        raise UsageError(
            f"{files.root} holds EuroSAT of 13 bands (.tif): fetch the RGB images (EuroSAT.zip, or EuroSAT_RGB)"
        )
    return reading


RELEASE = Release(
    name="eurosat",
    title="EuroSAT (RGB)",
    publisher="DFKI (Helber et al.)",
    terms="MIT, by its authors' repository",
    classes=10,
    images=27000,
    layout="2750/CLASS/CLASS_N.jpg",
    takes="all images of all classes, to test on",
    folders=tuple(COUNTS),
    read=read,
    splits={"test-only": test_only},
    names=tuple(COUNTS),
    per_class=COUNTS,
    traps=(
        "EuroSATallBands are .tif of 13 bands, not this",
        "train.csv and test.csv of copies part images, not classes",
    ),
)
