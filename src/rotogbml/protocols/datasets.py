"""The nine datasets of the paper: what they are called, what was published of them, and what stands in for them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from rotogbml.errors import UsageError, did_you_mean

Classes = Literal["base", "validation", "novel", "all"]
"""Which classes of a dataset, in the literature's words."""
SPLIT_OF: dict[Classes, str] = {"base": "train", "validation": "val", "novel": "test", "all": "all"}
"""What a pack calls them."""
Suite = Literal["paper", "core"]
"""Whose images: the datasets themselves, or the small stand-ins of a pack of ours."""
SUITES: dict[str, str] = {
    "paper": "the datasets that the paper names, packed by the user",
    "core": "STAND-INS: small public sets in place of the paper's datasets; not comparable with its numbers",
}


@dataclass(frozen=True)
class Dataset:
    """One dataset as the literature uses it.

    Attributes:
        name: How we call it; also the name under which it is imported.
        title: How papers call it.
        classes: Classes in all.
        images: Images in all; None where copies differ.
        split: Classes that are base, validation and novel; None where the literature does not split.
        images_of: Images of each of those three; None where not known.
        rule: Where the split comes from.
        aliases: Names of packed sources that are taken for it, the likeliest first.
        stands_in: Names of sources of the suite ``core``, and what those images are.
    """

    name: str
    title: str
    classes: int
    images: int | None
    split: tuple[int, int, int] | None
    images_of: tuple[int, int, int] | None
    rule: str
    aliases: tuple[str, ...]
    stands_in: tuple[str, ...]
    stand_in: str

    def count(self, classes: Classes) -> int:
        """Return how many classes were published; all of them where there is no split."""
        if classes == "all" or self.split is None:
            return self.classes
        return self.split[("base", "validation", "novel").index(classes)]

    def count_images(self, classes: Classes) -> int | None:
        """Return how many images those classes have, where known."""
        if classes == "all" or self.split is None:
            return self.images
        return None if self.images_of is None else self.images_of[("base", "validation", "novel").index(classes)]

    def names(self, suite: Suite) -> tuple[str, ...]:
        """Return the names that a packed source of it may have."""
        return self.aliases if suite == "paper" else self.stands_in


_EVERY_OTHER = "every other class in sorted order is base, of the rest in turn validation and novel"
_UNSPLIT = "not split in the literature: BSCD-FSL tests on every class"

_ALL = (
    Dataset(
        "miniimagenet",
        "miniImageNet",
        100,
        60_000,
        (64, 16, 20),
        (38_400, 9_600, 12_000),
        "the published lists of Ravi and Larochelle",
        ("miniimagenet", "mini-imagenet", "mini_imagenet", "mini", "imagenet", "tiny-imagenet"),
        ("imagenet", "tiny-imagenet"),
        "100 classes of tiny-imagenet, 64 px",
    ),
    Dataset(
        "cub",
        "CUB-200-2011",
        200,
        11_788,
        (100, 50, 50),
        (5_885, 2_950, 2_953),
        f"{_EVERY_OTHER} (Closer-Look); 140/30/30 is in use elsewhere",
        ("cub", "cub-200-2011", "cub_200_2011", "birds"),
        ("birds",),
        "100 species of CUB",
    ),
    Dataset(
        "cars",
        "Stanford Cars",
        196,
        8_144,
        (98, 49, 49),
        (4_108, 2_009, 2_027),
        f"{_EVERY_OTHER} (by label number); the training part alone",
        ("cars", "stanford-cars", "stanford_cars"),
        ("cars",),
        "100 of the 196 models",
    ),
    Dataset(
        "places",
        "Places365",
        365,
        73_000,
        (183, 91, 91),
        (36_600, 18_200, 18_200),
        f"{_EVERY_OTHER}; the first 200 images of each",
        ("places", "places365", "mini-places", "scenes"),
        ("scenes",),
        "15 grey scenes",
    ),
    Dataset(
        "plantae",
        "Plantae of iNaturalist 2017",
        200,
        None,
        (100, 50, 50),
        None,
        "every other of the 200 species with most images, fewest first; up to 600 images of each",
        ("plantae", "plants"),
        ("plants",),
        "89 flowers",
    ),
    Dataset(
        "cropdiseases",
        "CropDiseases (PlantVillage)",
        38,
        43_456,
        None,
        None,
        f"{_UNSPLIT}; the training part alone",
        ("cropdiseases", "cropdisease", "crop-diseases", "plantvillage", "crop"),
        ("cropdisease",),
        "15 of the 38 leaves",
    ),
    Dataset(
        "eurosat",
        "EuroSAT",
        10,
        27_000,
        None,
        None,
        _UNSPLIT,
        ("eurosat",),
        ("eurosat",),
        "2,000 of its images",
    ),
    Dataset(
        "isic",
        "ISIC 2018",
        7,
        10_015,
        None,
        None,
        _UNSPLIT,
        ("isic", "isic2018", "ham10000"),
        ("isic",),
        "1,219 of its images",
    ),
    Dataset(
        "chestx",
        "ChestX",
        7,
        25_848,
        None,
        None,
        f"{_UNSPLIT}; the seven single findings",
        ("chestx", "chestx-ray14", "chestx-ray8", "chestx_ray8"),
        ("chestx",),
        "424 of its images",
    ),
)
DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _ALL}
NATURAL = ("miniimagenet", "cub", "cars", "places", "plantae")
"""Natural photographs: those that the cross-domain literature splits."""
UNSPLIT = tuple(dataset.name for dataset in _ALL if dataset.split is None)
"""The four of BSCD-FSL."""


def dataset_named(name: str) -> Dataset:
    """Return a dataset by its name or an alias.

    Raises:
        UsageError: there is none.
    """
    key = name.casefold()
    for dataset in _ALL:
        if key in (dataset.name, *dataset.aliases, *dataset.stands_in):
            return dataset
    known = [alias for dataset in _ALL for alias in (dataset.name, *dataset.aliases)]
    raise UsageError(f"no dataset '{name}'{did_you_mean(name, known)}: there are {', '.join(DATASETS)}")


def find(dataset: Dataset, suite: Suite, sources: Collection[str]) -> str | None:
    """Return the packed source that is taken for a dataset: the likeliest of its names, whatever the case."""
    there = {name.casefold(): name for name in sorted(sources, reverse=True)}
    return next((there[name] for name in dataset.names(suite) if name in there), None)
