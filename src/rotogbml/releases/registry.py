"""Which releases there are."""

from __future__ import annotations

from rotogbml.errors import UsageError, did_you_mean
from rotogbml.releases import (
    cars,
    chestx,
    cropdiseases,
    cub,
    eurosat,
    flowers102,
    generic,
    isic,
    miniimagenet,
    omniglot,
    pacs,
    places,
    plantae,
    tinyimagenet,
)
from rotogbml.releases.release import Release

_ALL = (
    miniimagenet.RELEASE,
    cub.RELEASE,
    cars.RELEASE,
    places.RELEASE,
    plantae.RELEASE,
    cropdiseases.RELEASE,
    eurosat.RELEASE,
    isic.RELEASE,
    isic.HAM10000,
    chestx.RELEASE,
    tinyimagenet.RELEASE,
    flowers102.RELEASE,
    omniglot.RELEASE,
    pacs.RELEASE,
    generic.RELEASE,
)
RELEASES: dict[str, Release] = {release.name: release for release in _ALL}
_ALSO = {
    "mini": "miniimagenet",
    "mini-imagenet": "miniimagenet",
    "cub-200-2011": "cub",
    "stanford-cars": "cars",
    "places365": "places",
    "cropdisease": "cropdiseases",
    "plantvillage": "cropdiseases",
    "isic2018": "isic",
    "chestxray": "chestx",
    "chestx-ray14": "chestx",
    "tinyimagenet": "tiny-imagenet",
    "flowers": "flowers102",
    "inaturalist": "plantae",
}


def release_named(name: str) -> Release:
    """Return a release by its name, or by another one that it goes by.

    Raises:
        UsageError: There is none.
    """
    key = name.casefold().replace("_", "-")
    key = _ALSO.get(key, key)
    if key not in RELEASES:
        raise UsageError(
            f"no release '{name}'{did_you_mean(name, [*RELEASES, *_ALSO])}: there are {', '.join(RELEASES)}"
        )
    return RELEASES[key]
