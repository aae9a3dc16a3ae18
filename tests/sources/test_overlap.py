"""Duplicates that were planted are found, and little else."""

from __future__ import annotations

import csv
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rotogbml.cli import main
from rotogbml.episodes import EpisodeSampler
from rotogbml.errors import UsageError
from rotogbml.seeds import numpy_generator
from rotogbml.sources import overlap as finding
from rotogbml.sources.overlap import BYTES, PICTURE, overlap, without
from rotogbml.sources.pack import pack as pack_images
from rotogbml.sources.packed import open_pack, pack_digest
from rotogbml.sources.prints import alike, prints_of

Files = dict[str, bytes]


def scene(seed: int, size: int = 160) -> Image.Image:
    """Return a picture of patches at several scales, another for each seed."""
    rng = numpy_generator(seed, "scene")
    layers = np.zeros((size, size, 3))
    for cells, weight in ((3, 1.0), (7, 0.6), (15, 0.4), (40, 0.2)):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        layers += weight * np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=float)
    return Image.fromarray((layers / 2.2).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, str]]:
    """Return two packs, and name in the second to how its picture stands in the first."""
    root = tmp_path_factory.mktemp("planted")
    first = {f"one/c{i % 4}/{i:03}.jpg": encoded(scene(i), quality=95) for i in range(120)}
    second = {f"two/d{i % 4}/{i:03}.jpg": encoded(scene(i), quality=95) for i in range(1000, 1100)}
    ways: dict[str, Callable[[int], bytes]] = {
        "bytes": lambda i: first[f"one/c{i % 4}/{i:03}.jpg"],
        "encoded anew": lambda i: encoded(scene(i), quality=40),
        "png": lambda i: encoded(scene(i), "PNG"),
        "smaller": lambda i: encoded(scene(i).resize((70, 70), Image.Resampling.LANCZOS), quality=80),
        "larger": lambda i: encoded(scene(i).resize((300, 300), Image.Resampling.BICUBIC), quality=80),
    }
    truth = {}
    for number, (way, make) in enumerate(ways.items()):
        for i in range(number * 8, number * 8 + 8):
            name = f"two/d{i % 4}/{way} {i:03}.jpg"
            second[name] = make(i)
            truth[name] = f"one/c{i % 4}/{i:03}.jpg"
    for name, files in (("a", first), ("b", second)):
        for path, data in files.items():
            place = root / f"images-{name}" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        pack_images(root / f"images-{name}", root / name, size=48, workers=1)
    return root / "a", root / "b", truth


def test_every_planted_pair_and_no_other(planted: tuple[Path, Path, dict[str, str]]) -> None:
    a, b, truth = planted
    report = overlap([a, b])
    assert {(pair.path_b, pair.path_a) for pair in report.pairs} == set(truth.items())
    hows = {pair.path_b: pair.how for pair in report.pairs}
    assert all((hows[name] == BYTES) == ("bytes" in name) for name in truth)
    assert set(hows.values()) == {BYTES, PICTURE}
    assert report.images == {"one": 120, "two": 140}


def test_inside_one_pack(planted: tuple[Path, Path, dict[str, str]]) -> None:
    a, b, _ = planted
    with pytest.raises(UsageError, match=r"only 'one' to compare.*--within"):
        overlap([a])
    assert not overlap([a], within=True).pairs
    assert not overlap([b], within=True).pairs


def test_the_same_name_twice_is_told_apart(planted: tuple[Path, Path, dict[str, str]]) -> None:
    a, _, _ = planted
    report = overlap([a, a])
    assert len(report.pairs) == 120
    assert {pair.how for pair in report.pairs} == {BYTES}


def test_the_verb(
    planted: tuple[Path, Path, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, truth = planted
    assert main(["data", "overlap", str(a), str(b), "--limit", "3", "--out", str(tmp_path / "pairs.csv")]) == 0
    said = capsys.readouterr().out
    assert "40 pairs, 8 of them of equal bytes" in said
    assert "and 37 more" in said
    with (tmp_path / "pairs.csv").open() as file:
        assert {row["path_b"] for row in csv.DictReader(file)} == set(truth)


def test_drop_overlap_leaves_them_out(planted: tuple[Path, Path, dict[str, str]], tmp_path: Path) -> None:
    a, b, truth = planted
    images = b.parent / "images-b"
    report = pack_images(images, tmp_path / "clean", size=48, workers=1, drop_overlap=[a])
    assert report.skipped["stands in another source too"] == 40
    assert report.sources[0].images == 100
    assert not overlap([a, tmp_path / "clean"]).pairs
    with (tmp_path / "clean/skipped.csv").open() as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert reasons == {name: f"stands in another source too: one, {where}" for name, where in truth.items()}
    made = json.loads((tmp_path / "clean/two/source.json").read_text())["made"]
    assert made["drop_overlap"] == [f"one {open_pack(a)['one'].digest[:16]}"]


def test_flat_pictures_are_alike_only_by_bytes() -> None:
    rng = numpy_generator(0, "flat")
    sea = (np.full((40, 64, 64, 3), 90) + rng.integers(-2, 3, (40, 64, 64, 3))).astype(np.uint8)
    prints = prints_of([sea])
    assert not list(alike(prints))


def test_blocks_do_not_matter() -> None:
    images = np.stack([np.asarray(scene(i, 50)) for i in range(10)])
    whole, cut = prints_of([images]), prints_of([images[:3], images[3:]])
    assert (whole.hashes == cut.hashes).all()
    assert (whole.small == cut.small).all()
    assert len({int(value) for value in whole.hashes}) == 10


def test_training_without_what_is_held_out(planted: tuple[Path, Path, dict[str, str]]) -> None:
    a, b, truth = planted
    two, one = open_pack(b)["two"], open_pack(a)["one"]
    kept = without({"two": two}, [one])["two"]
    inputs = [path for path, _ in json.loads((two.path / "source.json").read_text())["inputs"]]
    assert {inputs[row] for row in kept.left_out} == set(truth)
    assert sum(len(kept.rows(c)) for c in range(4)) == 100
    sampler = EpisodeSampler([kept], 2, 2, 8, 2, "single-source", split="all")
    drawn = {int(row) for step in range(60) for e in sampler.batch(step) for rows in e.indices for row in rows}
    assert len(drawn) > 90
    assert not drawn & kept.left_out
    assert pickle.loads(pickle.dumps(kept)).left_out == kept.left_out
    assert pack_digest({"two": kept}) != pack_digest({"two": two})
    assert pack_digest({"one": without({"one": one}, [])["one"]}) == pack_digest({"one": one})


def test_what_stands_in_both_is_looked_for_once(
    planted: tuple[Path, Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study builds each of its cells before it begins."""
    finding._standing.cache_clear()
    met: list[str] = []
    found = finding.Known.of
    monkeypatch.setattr(finding.Known, "of", lambda source: (met.append(source.name), found(source))[1])
    a, b, _ = planted
    left_out = [without(open_pack(b), list(open_pack(a).values()))["two"].left_out for _ in range(3)]
    assert sorted(met) == ["one", "two"]
    assert left_out[0] == left_out[2]


def test_train_says_what_it_leaves_out(tiny: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = ["train", *tiny, "--steps", "1", "--out", str(tmp_path / "run")]
    assert main([*run, "--drop_overlap"]) == 0
    assert "left out of training: there are none" in caplog.text
    assert "drop_overlap: true" in (tmp_path / "run/config.yaml").read_text()


def test_train_with_nothing_held_out_has_nothing_to_compare_with(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--sources", str(pack), "--drop_overlap", "--out", str(tmp_path / "run")]) == 2
    assert "none is held out: name one with --holdout" in capsys.readouterr().err
