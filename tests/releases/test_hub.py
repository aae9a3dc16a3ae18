"""Data sets of the Hugging Face hub, in its own formats, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.cli import main
from rotogbml.errors import UsageError
from rotogbml.releases.hub import import_hub
from rotogbml.sources.packed import open_pack

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def parts(pictures: Callable[..., dict[str, bytes]]) -> dict[str, datasets.Dataset]:
    names = ["elm", "oak", "yew"]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=names),
            "patient": datasets.Value("int64"),
        }
    )
    files = list(pictures(f"{i}.png" for i in range(12)).values())

    def part(start: int, stop: int) -> datasets.Dataset:
        rows = {
            "image": [{"bytes": data, "path": None} for data in files[start:stop]],
            "label": [i % 3 for i in range(start, stop)],
            "patient": [i // 2 for i in range(start, stop)],
        }
        return datasets.Dataset.from_dict(rows, features=features)

    return {"train": part(0, 9), "test": part(9, 12)}


def check(out: Path, name: str, count: int) -> None:
    source = open_pack(out)[name]
    assert source.classes == ("elm", "oak", "yew")
    assert len(source.images) == count
    assert not list(out.parent.glob(".*hub.tar"))


def test_a_folder_of_parquet_files(parts: dict[str, datasets.Dataset], tmp_path: Path) -> None:
    folder = tmp_path / "trees"
    (folder / "data").mkdir(parents=True)
    for name, part in parts.items():
        part.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    assert main(["data", "hub", str(folder), str(tmp_path / "out"), "--size", "16", "--workers", "1"]) == 0
    check(tmp_path / "out", "trees", 12)


def test_written_to_disk_with_groups(parts: dict[str, datasets.Dataset], tmp_path: Path) -> None:
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    import_hub(str(tmp_path / "saved"), tmp_path / "out", group="patient", size=16, workers=1)
    check(tmp_path / "out", "saved", 12)
    source = open_pack(tmp_path / "out")["saved"]
    assert source.groups is not None
    inputs = [path for path, _ in json.loads((source.path / "source.json").read_text())["inputs"]]
    rows = [int(path[-8:]) + (9 if path.startswith("test") else 0) for path in inputs]
    assert [source.classes[c] for c in range(3) for _ in source.rows(c)] == [["elm", "oak", "yew"][r % 3] for r in rows]
    same = {(a, b) for a in range(12) for b in range(12) if source.groups[a] == source.groups[b]}
    assert same == {(a, b) for a in range(12) for b in range(12) if rows[a] // 2 == rows[b] // 2}


def test_one_part(parts: dict[str, datasets.Dataset], tmp_path: Path) -> None:
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    import_hub(str(tmp_path / "saved"), tmp_path / "out", split="test", size=16, workers=1)
    check(tmp_path / "out", "saved", 3)
    with pytest.raises(UsageError, match=r"no part 'tset' \(did you mean 'test'\?\)"):
        import_hub(str(tmp_path / "saved"), tmp_path / "out", split="tset")


def test_what_cannot_be_imported(parts: dict[str, datasets.Dataset], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nobody/nothing cannot be loaded"):
        import_hub("nobody/nothing", tmp_path / "out")
    parts["train"].remove_columns("image").save_to_disk(tmp_path / "texts")
    with pytest.raises(UsageError, match=r"no column of images: name one with --image; its columns are label, patient"):
        import_hub(str(tmp_path / "texts"), tmp_path / "out")
    parts["train"].remove_columns("label").save_to_disk(tmp_path / "bare")
    with pytest.raises(UsageError, match=r"no column of labels"):
        import_hub(str(tmp_path / "bare"), tmp_path / "out")
    with pytest.raises(UsageError, match=r"no column 'patents' \(did you mean 'patient'\?\)"):
        import_hub(str(tmp_path / "bare"), tmp_path / "out", label="patents")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": "label"}, "column 'label' holds no images (ClassLabel): name another one with --image"),
        ({"image": "patient"}, "column 'patient' holds no images (Value of int64)"),
        ({"image": "image", "label": "image"}, "column 'image' is both --image and --label: name two columns"),
        ({"label": "image"}, "column 'image' is both --image and --label"),
        ({"group": "label"}, "column 'label' is both --label and --group"),
        ({"group": "image"}, "column 'image' is both --image and --group"),
        ({"label": "findings"}, "column 'findings' does not hold one label of each image ("),
        ({"label": "other"}, "column 'other' does not hold one label of each image (Image)"),
        ({"group": "findings"}, "column 'findings' does not hold one group of each image ("),
    ],
)
def test_columns_that_hold_something_else(
    parts: dict[str, datasets.Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict, said: str
) -> None:
    part = parts["train"]
    several = datasets.Sequence(datasets.ClassLabel(names=["mass", "nodule"]))
    part = part.add_column("findings", [[0], [0, 1], []] * 3).cast_column("findings", several)
    part = part.add_column("other", [None] * len(part)).cast_column("other", datasets.Image())
    part.save_to_disk(tmp_path / "saved")
    arguments = [word for option, column in options.items() for word in (f"--{option}", column)]
    assert main(["data", "hub", str(tmp_path / "saved"), str(tmp_path / "out"), *arguments]) == 2
    assert f"{tmp_path / 'saved'}: {said}" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved"]


def test_a_column_of_several_labels_is_not_taken_unasked(parts: dict[str, datasets.Dataset], tmp_path: Path) -> None:
    part = parts["train"].remove_columns("label").add_column("labels", [[0], [0, 1], []] * 3)
    part.save_to_disk(tmp_path / "saved")
    with pytest.raises(UsageError, match=r"column 'labels' does not hold one label of each image .*--label"):
        import_hub(str(tmp_path / "saved"), tmp_path / "out")


def test_bytes_that_nobody_has_called_images(parts: dict[str, datasets.Dataset], tmp_path: Path) -> None:
    part = parts["train"].cast_column("image", datasets.Image(decode=False))
    data = [row["image"]["bytes"] for row in part]
    part = part.remove_columns("image").add_column("picture", data)
    part.save_to_disk(tmp_path / "saved")
    import_hub(str(tmp_path / "saved"), tmp_path / "out", image="picture", size=16, workers=1)
    check(tmp_path / "out", "saved", 9)
