"""The pack: its bytes, its looks, and what can and cannot be read from its pixels."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.sources.glyphs import HOLDOUT, SCRIPTS, build, glyphs
from rotogbml.sources.glyphs.look import TEXTURES, look, paint
from rotogbml.sources.glyphs.source import draw_source
from rotogbml.sources.packed import PackedSource, open_pack, open_source

FEW = ("hebrew", "lao")


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PackedSource]:
    folder = tmp_path_factory.mktemp("glyphs") / "pack"
    return open_pack(glyphs(folder, images_per_class=16, workers=2, scripts=(*HOLDOUT, "hebrew", "old-italic")))


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return glyphs(tmp_path / "few", size=16, images_per_class=2, workers=1, scripts=FEW)


def pixels(source: PackedSource) -> np.ndarray:
    """Return the images as [class, image, side, side, 3] in 0..1."""
    side = source.side
    return source.images.reshape(len(source.classes), -1, side, side, 3).astype(np.float32) / 255


def test_a_source_is_as_the_contract_says(held_out: dict[str, PackedSource]) -> None:
    for name, source in held_out.items():
        n = len(source.classes)
        assert (source.name, source.size, source.side) == (name, 32, 32)
        assert 30 <= n <= 60
        assert (np.diff(source.offsets) == 16).all()
        assert source.made["augment"] == "shape-safe"
        assert set(source.splits) == {"train", "val"}
        assert sorted(source.splits["train"] + source.splits["val"]) == list(range(n))
        assert len(source.splits["val"]) == round(0.2 * n) >= 5
        assert all(chr(int(code[2:], 16)) == char for code, char in (c.split(" ") for c in source.classes))


def test_other_processes_and_another_number_of_them_give_the_same_bytes(
    held_out: dict[str, PackedSource], tmp_path: Path
) -> None:
    for script in ("lao", "dominoes"):
        source = held_out[script]
        draw_source(tmp_path, script, source.made)
        for file in ("images.npy", "source.json"):
            assert (tmp_path / script / file).read_bytes() == (source.path / file).read_bytes()


def test_another_seed_gives_other_looks_and_splits(few: Path, tmp_path: Path) -> None:
    other = glyphs(tmp_path / "other", size=16, images_per_class=2, seed=1, workers=1, scripts=FEW)
    a, b = open_pack(few)["lao"], open_pack(other)["lao"]
    assert a.digest != b.digest
    assert a.splits != b.splits
    assert look("lao", 0) != look("lao", 1)


def test_a_sound_pack_is_taken_as_it_is_and_a_damaged_one_made_again(few: Path) -> None:
    digest, stamp = open_pack(few)["lao"].digest, (few / "lao").stat().st_mtime_ns
    again: dict[str, Any] = {"size": 16, "images_per_class": 2, "workers": 1, "scripts": FEW}
    assert glyphs(few, **again) == few
    assert (few / "lao").stat().st_mtime_ns == stamp
    with (few / "lao" / "images.npy").open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    assert open_source(few / "lao").digest == digest
    glyphs(few, **again)
    assert (few / "lao").stat().st_mtime_ns != stamp
    assert b"damage" not in (few / "lao" / "images.npy").read_bytes()
    assert open_pack(few)["lao"].digest == digest
    assert [p.name for p in few.parent.iterdir()] == [few.name]


def test_other_settings_replace_the_pack(few: Path) -> None:
    glyphs(few, size=20, images_per_class=3, workers=1, scripts=["lao"])
    assert {name: s.size for name, s in open_pack(few).items()} == {"lao": 20}


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"size": 16, "images_per_class": 2, "workers": 1, "scripts": ["lao"]}
    monkeypatch.setenv("ROTOGBML_CACHE", str(tmp_path / "own"))
    assert glyphs(**settings).parent == tmp_path / "own"
    monkeypatch.delenv("ROTOGBML_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    folder = glyphs(**settings)
    assert folder.parent == tmp_path / "xdg" / "rotogbml"
    (folder / "lao" / "source.json").write_text("")
    assert open_pack(glyphs(**settings))["lao"].size == 16


@pytest.mark.parametrize("content", ["photos/a.jpg", "lao/class/a.jpg", "lao/source.json"])
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, content: str) -> None:
    file = tmp_path / "mine" / content
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        glyphs(tmp_path / "mine", scripts=["lao"], workers=1)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 8}, "size=8"),
        ({"images_per_class": 0}, "images_per_class=0"),
        ({"workers": 0}, "workers=0"),
        ({"scripts": ["loa"]}, "did you mean 'lao'"),
        ({"scripts": []}, "scripts is empty"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        glyphs(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_failing_child_is_reported_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_CHILD", "raise OSError('no fonts today')")
    with pytest.raises(RotogbmlError, match="no fonts today"):
        glyphs(tmp_path / "out", scripts=FEW, workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RotogbmlError, match=r"cannot write .*file/out"):
        glyphs(tmp_path / "file" / "out", scripts=["lao"], workers=1)


def test_a_kill_leaves_nothing_that_counts(tmp_path: Path) -> None:
    command = f"from rotogbml.sources.glyphs import glyphs; glyphs({str(tmp_path / 'out')!r}, workers=1)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", command], env=environment)
    until = time.monotonic() + 60
    while not list(tmp_path.glob(".out.*/out/a*/source.json")) and time.monotonic() < until:
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert not (tmp_path / "out").exists()
    (left,) = tmp_path.iterdir()
    os.utime(left, (0, 0))
    glyphs(tmp_path / "out", size=16, images_per_class=2, workers=1, scripts=["lao"])
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_no_two_sources_look_alike(held_out: dict[str, PackedSource]) -> None:
    """Mean colours and coarseness of a source lie together, those of two sources apart."""

    def features(source: PackedSource) -> np.ndarray:
        images = pixels(source).reshape(-1, 32, 32, 3)
        grain = np.abs(np.diff(images, axis=1)).mean((1, 2))
        return np.concatenate([images.mean((1, 2)), images.std((1, 2)), 2 * grain], -1)

    of = {name: features(source) for name, source in held_out.items()}
    for a, b in itertools.combinations(of, 2):
        between = np.linalg.norm(of[a].mean(0) - of[b].mean(0))
        within = max(np.linalg.norm(of[s] - of[s].mean(0), axis=1).mean() for s in (a, b))
        assert between > within, (a, b)


def test_all_looks_are_legible_and_many_kinds_occur() -> None:
    looks = [look(script, seed) for script in SCRIPTS for seed in range(3)]
    luminance = np.array([0.299, 0.587, 0.114])
    assert min(abs((np.array(k.paper) - np.array(k.ink)) @ luminance) for k in looks) >= 0.5
    assert {k.texture for k in looks} == set(TEXTURES)
    assert len({k.paper for k in looks}) == len(looks)


def test_the_look_is_drawn_without_the_class() -> None:
    """The same draws paint any shape: where there is no ink, two different drawings give the same pixels."""
    left, right = np.zeros((2, 4, 32, 32), np.float32)
    left[:, :, :8] = 1
    right[:, :, 24:] = 1
    for script in ("lao", "greek", "latin"):
        painted = [paint(c, look(script, 0), np.random.default_rng(1)) for c in (left, right)]
        assert (painted[0][:, :, 10:22] == painted[1][:, :, 10:22]).all()
        assert (painted[0] != painted[1]).any()


def test_paper_tells_nothing_of_the_class(held_out: dict[str, PackedSource]) -> None:
    """The nearest class mean of the border's colour, learned on half of the images, guesses the rest by chance."""
    right = total = 0
    expected = 0.0
    for source in held_out.values():
        images = pixels(source)
        border = images[:, :, 0].mean(2)
        means, seen = border[:, :8].mean(1), border[:, 8:]
        guess = np.linalg.norm(seen[:, :, None] - means[None, None], axis=-1).argmin(-1)
        right += int((guess == np.arange(len(means))[:, None]).sum())
        total += guess.size
        expected += guess.size / len(means)
    assert abs(right - expected) < 4 * np.sqrt(expected)
    assert total > 2000


def test_nothing_is_cut_off_and_everything_is_visible(held_out: dict[str, PackedSource]) -> None:
    for name, source in held_out.items():
        images = pixels(source)
        spread = images[:, :, 4:28, 4:28].std((2, 3)).max(-1)
        assert spread.min() > 0.05, name


def prototype_accuracy(source: PackedSource, episodes: int = 150) -> float:
    images = pixels(source).reshape(len(source.classes), 16, -1)
    rng = np.random.default_rng(0)
    right = []
    for _ in range(episodes):
        chosen = images[rng.choice(len(images), 5, replace=False)]
        order = rng.permuted(np.tile(np.arange(16), (5, 1)), axis=1)
        support, query = (np.take_along_axis(chosen, o[..., None], 1) for o in (order[:, :1], order[:, 1:]))
        distance = ((query[:, :, None] - support[None, None, :, 0]) ** 2).sum(-1)
        right.append((distance.argmin(-1) == np.arange(5)[:, None]).mean())
    return float(np.mean(right))


@pytest.mark.parametrize("script", HOLDOUT)
def test_pixels_alone_do_little_on_the_held_out_scripts(held_out: dict[str, PackedSource], script: str) -> None:
    assert 0.22 < prototype_accuracy(held_out[script]) < 0.45


def test_the_reader_needs_nothing_but_the_folder(few: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.move(few, moved)
    head = json.loads((moved / "lao" / "source.json").read_text(encoding="utf-8"))
    assert str(tmp_path) not in json.dumps(head)
    assert open_pack(moved)["lao"].images.shape[1:] == (16, 16, 3)
