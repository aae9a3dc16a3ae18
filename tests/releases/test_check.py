"""What a check says of classes: which published ones are absent, and which have another number of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.releases.check import check
from rotogbml.releases.eurosat import COUNTS
from rotogbml.releases.registry import RELEASES
from rotogbml.releases.release import spelling

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]
Piece = Callable[..., tuple[Path, dict[str, object]]]


def said_of(name: str, place: Path) -> str:
    return "\n".join(check(name, place)._lines())


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_published_names_are_as_many_as_the_classes(name: str) -> None:
    release = RELEASES[name]
    assert len(set(map(spelling, release.names))) in (0, release.classes)
    assert release.between[0] <= release.between[1]


def test_absent_classes_by_name(piece: Piece) -> None:
    place, expect = piece("eurosat")
    report = check("eurosat", place)
    assert isinstance(expect["images"], dict)
    assert set(report.absent) == set(COUNTS) - set(expect["images"])
    assert "absent: 4 of the published classes: 'Highway', 'Industrial', 'Pasture', 'Residential'" in said_of(
        "eurosat", place
    )
    assert report.as_json()["absent"] == report.absent


@pytest.mark.parametrize(("name", "absent"), [("cropdisease", 31), ("cropdisease_kaggle", 30)])
def test_absent_classes_of_copies_that_spell_them_otherwise(piece: Piece, name: str, absent: int) -> None:
    report = check("cropdiseases", piece(name)[0])
    assert len(report.absent) == absent
    assert "Pepper,_bell___healthy" not in report.absent  # it is here, as Pepper__bell___healthy in one of them
    assert "Strawberry___Leaf_scorch" in report.absent


def test_many_absent_classes(piece: Piece) -> None:
    said = said_of("miniimagenet", piece("miniimagenet_folders")[0])
    assert "absent: 94 of the published classes: 'n01532829', " in said
    assert " and 54 more (--format json names all)" in said


def test_classes_that_labels_name_are_told_of_once(piece: Piece) -> None:
    pytest.importorskip("scipy")
    for name in ("cub", "cars", "miniimagenet"):
        report = check(name, piece(name)[0])
        assert len(report.absent) + report.left["class_without_images"] + len(report.images) == sum(
            report.published[:1]
        )


def test_absent_classes_of_unknown_names(lay: Lay, pictures: Pictures) -> None:
    root = lay(pictures(["images_background/Greek/character01/0394_01.png"]))
    assert "absent: 1,622 of the published classes, whose names are not known here" in said_of("omniglot", root)
    assert "absent:" not in said_of("generic", root)


def test_classes_outside_the_published_range(lay: Lay) -> None:
    counts = {"087.Mallard": 40, "073.Blue_Jay": 41, "017.Cardinal": 60, "014.Indigo_Bunting": 61}
    root = lay({f"images/{label}/{i}.jpg": b"x" for label, n in counts.items() for i in range(n)})
    report = check("cub", root)
    assert dict(report.outside) == {"014.Indigo_Bunting": 61, "087.Mallard": 40}
    assert "class '087.Mallard': 40 images here, 41 to 60 of each class published" in said_of("cub", root)
    assert dict(check("cub", root, whole=True).outside) == {"087.Mallard": 40}
    assert (RELEASES["cars"].between, RELEASES["cropdiseases"].between) == ((24, 68), (122, 4406))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("miniimagenet", "timm's copies and in imagenet_license.md of HowToTrainYourMAMLPytorch"),
        ("tiny-imagenet", "timm's copies and in imagenet_license.md of HowToTrainYourMAMLPytorch"),
        ("isic", "none were found (a Hugging Face card of ISIC 2019"),
        ("ham10000", "by whom is not known: read those on its page at Harvard Dataverse"),
        ("omniglot", "LICENSE of its author's repository, brendenlake/omniglot"),
        ("plantae", "README in visipedia/inat_comp"),
    ],
)
def test_where_terms_were_read(name: str, source: str) -> None:
    assert source in RELEASES[name].terms
    assert "memory" not in RELEASES[name].terms
