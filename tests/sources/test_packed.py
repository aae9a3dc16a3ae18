from __future__ import annotations

import gc
import hashlib
import json
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rotogbml.errors import UsageError
from rotogbml.sources.packed import open_pack, open_source, pack_digest
from rotogbml.sources.writer import replace_folder, restore_folder, side_of, write_source

CLASSES = ["a", "b", "ü"]


def write(folder, images, **changes):
    arguments: dict[str, Any] = {
        "name": folder.name,
        "size": 10,
        "images": images,
        "classes": CLASSES,
        "offsets": [0, 2, 3, 6],
        "splits": {"train": ["a"], "test": ["ü"]},
        "split_rule": "by hand",
        "inputs": [(f"{i}.png", "0" * 64) for i in range(6)],
        "made": {"by": "test"},
    }
    return write_source(folder, **(arguments | changes))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)


class TestRoundTrip:
    def test_everything_comes_back(self, tmp_path, images):
        write(tmp_path / "s", images)
        source = open_source(tmp_path / "s")
        assert (source.images == images).all()
        assert (source.name, source.size, source.side, source.split_rule) == ("s", 10, 12, "by hand")
        assert source.classes == tuple(CLASSES)
        assert [source.rows(c) for c in range(3)] == [range(2), range(2, 3), range(3, 6)]
        assert source.splits == {"train": (0,), "test": (2,)}
        assert source.made == {"by": "test"}
        assert source.digest == hashlib.sha256(images.tobytes()).hexdigest()
        np.testing.assert_allclose(source.mean, (images / 255).mean((0, 1, 2)), atol=1e-12)
        np.testing.assert_allclose(source.std, (images / 255).std((0, 1, 2)), atol=1e-12)

    def test_it_opens_in_several_threads_at_once(self, tmp_path, images):
        """Of CPython 3.11's ``ast``, by which numpy reads headers, a thread that lets another in fails (gh-106905)."""
        write(tmp_path / "s", images)

        def let_another_in(*_):
            time.sleep(0)

        before = gc.get_threshold()
        gc.callbacks.append(let_another_in)
        gc.set_threshold(5)  # collect in the middle of everything
        try:
            with ThreadPoolExecutor(4) as pool:
                opened = list(pool.map(open_source, [tmp_path / "s"] * 800))
        finally:
            gc.set_threshold(*before)
            gc.callbacks.remove(let_another_in)
        assert {source.digest for source in opened} == {hashlib.sha256(images.tobytes()).hexdigest()}

    def test_splits_that_are_missing_are_empty_and_all_is_all(self, tmp_path, images):
        source = write(tmp_path / "s", images)
        assert source.classes_of("val") == ()
        assert source.classes_of("all") == (0, 1, 2)

    def test_images_cannot_be_written_to(self, tmp_path, images):
        with pytest.raises(ValueError, match="read-only"):
            write(tmp_path / "s", images).images[0] = 0

    def test_inputs_stand_in_row_order(self, tmp_path, images):
        write(tmp_path / "s", images)
        head = json.loads((tmp_path / "s" / "source.json").read_text(encoding="utf-8"))
        assert [path for path, _ in head["inputs"]] == [f"{i}.png" for i in range(6)]
        assert head["format"] == "rotogbml-source"
        assert head["version"] == 1

    def test_goes_to_another_process_as_a_path(self, tmp_path, images):
        data = pickle.dumps(write(tmp_path / "s", images))
        assert len(data) < 1000
        assert (pickle.loads(data).images == images).all()

    def test_other_splits_go_along(self, tmp_path, images):
        source = replace(write(tmp_path / "s", images), splits={"train": (0, 1, 2)})
        assert pickle.loads(pickle.dumps(source)).splits == {"train": (0, 1, 2)}

    @given(cuts=st.lists(st.integers(1, 5), max_size=4))
    @settings(max_examples=20, deadline=None)
    def test_blocks_make_no_difference(self, tmp_path_factory, cuts):
        folder = tmp_path_factory.mktemp("blocks")
        images = np.random.default_rng(1).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
        write(folder / "s", images)
        whole = [(folder / "s" / f).read_bytes() for f in ("images.npy", "source.json")]
        places = sorted({min(sum(cuts[: i + 1]), 6) for i in range(len(cuts))})
        write(folder / "s", (block for block in np.split(images, places) if len(block)))
        assert [(folder / "s" / f).read_bytes() for f in ("images.npy", "source.json")] == whole

    @pytest.mark.parametrize(("size", "margin", "side"), [(84, 0.15, 97), (42, 0.15, 48), (84, 0.0, 84), (28, 0.5, 42)])
    def test_side(self, size, margin, side):
        assert side_of(size, margin) == side


class TestWriter:
    @pytest.mark.parametrize(
        "changes",
        [
            {"classes": ["b", "a", "ü"]},
            {"classes": ["a", "a", "b"]},
            {"offsets": [0, 2, 3]},
            {"offsets": [0, 2, 3, 7], "inputs": []},
            {"offsets": [0, 2, 3, 5], "inputs": []},
            {"inputs": [("x", "y")]},
        ],
    )
    def test_contradictions_leave_nothing(self, tmp_path, images, changes):
        with pytest.raises(ValueError, match=r"classes|images|inputs"):
            write(tmp_path / "s", images, **changes)
        assert list(tmp_path.iterdir()) == []

    def test_a_failure_leaves_the_former_source(self, tmp_path, images):
        write(tmp_path / "s", images)

        def broken():
            yield images[:3]
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            write(tmp_path / "s", broken())
        assert (open_source(tmp_path / "s").images == images).all()
        assert [f.name for f in tmp_path.iterdir()] == ["s"]

    def test_a_kill_between_two_renames_loses_nothing(self, tmp_path):
        (tmp_path / "old").mkdir()
        (tmp_path / "old" / "here").touch()
        (tmp_path / "old").rename(tmp_path / ".old.old")
        restore_folder(tmp_path / "old")
        assert (tmp_path / "old" / "here").exists()
        (tmp_path / "new").mkdir()
        replace_folder(tmp_path / "new", tmp_path / "old")
        assert [f.name for f in tmp_path.iterdir()] == ["old"]
        assert list((tmp_path / "old").iterdir()) == []


class TestDamage:
    @pytest.fixture
    def source(self, tmp_path, images):
        return write(tmp_path / "s", images).path

    def change(self, source, **changes):
        head = json.loads((source / "source.json").read_text(encoding="utf-8"))
        (source / "source.json").write_text(json.dumps(head | changes), encoding="utf-8")

    def test_later_version(self, source):
        self.change(source, version=2)
        with pytest.raises(UsageError, match=r"source\.json has version 2 of the format.*reads up to 1.*upgrade"):
            open_source(source)

    def test_another_format(self, source):
        self.change(source, format="something else")
        with pytest.raises(UsageError, match="does not describe a packed source"):
            open_source(source)

    @pytest.mark.parametrize(
        "changes",
        [
            {"side": 13},
            {"size": 13},
            {"size": None},
            {"offsets": [0, 2, 3, 5]},
            {"offsets": [0, 3, 2, 6]},
            {"offsets": [0, 6]},
            {"classes": ["b", "a", "ü"]},
            {"splits": {"train": ["a"], "test": ["a"]}},
            {"splits": {"train": ["unheard of"]}},
            {"splits": {"novel": ["a"]}},
            {"splits": ["a"]},
            {"mean": 3},
        ],
    )
    def test_contradictions(self, source, changes):
        self.change(source, **changes)
        with pytest.raises(UsageError, match=r"is damaged .*: pack the source again"):
            open_source(source)

    def test_missing_field(self, source):
        (source / "source.json").write_text('{"format": "rotogbml-source", "version": 1}')
        with pytest.raises(UsageError, match="is damaged"):
            open_source(source)

    def test_cut_short(self, source):
        data = (source / "images.npy").read_bytes()
        for keep in (0, 5, 100, len(data) - 1):
            (source / "images.npy").write_bytes(data[:keep])
            with pytest.raises(UsageError, match=r"images\.npy is damaged"):
                open_source(source)
        (source / "images.npy").unlink()
        with pytest.raises(UsageError, match=r"images\.npy is missing"):
            open_source(source)
        (source / "source.json").write_text("{")
        with pytest.raises(UsageError, match=r"source\.json cannot be read"):
            open_source(source)


class TestPack:
    def test_sources_come_sorted_and_one_source_is_a_pack(self, tmp_path, images):
        for name in ("b", "a"):
            write(tmp_path / name, images)
        (tmp_path / ".hidden").mkdir()
        assert list(open_pack(tmp_path)) == ["a", "b"]
        assert list(open_pack(tmp_path / "b")) == ["b"]

    def test_no_pack(self, tmp_path):
        with pytest.raises(UsageError, match="no pack at"):
            open_pack(tmp_path / "absent")
        with pytest.raises(UsageError, match="is no pack"):
            open_pack(tmp_path)
        with pytest.raises(UsageError, match="no packed source at"):
            open_source(tmp_path)

    def test_two_sources_of_one_name(self, tmp_path, images):
        write(tmp_path / "a", images, name="same")
        write(tmp_path / "b", images, name="same")
        with pytest.raises(UsageError, match="both named 'same'"):
            open_pack(tmp_path)

    def test_digest_is_over_content_alone(self, tmp_path, images):
        write(tmp_path / "one" / "s", images)
        reference = pack_digest(open_pack(tmp_path / "one"))
        write(tmp_path / "two" / "s", images, made={"by": "another"}, inputs=[])
        assert pack_digest(open_pack(tmp_path / "two")) == reference
        for i, change in enumerate([{"splits": {"all": CLASSES}}, {"offsets": [0, 1, 3, 6]}, {"name": "other"}]):
            write(tmp_path / str(i) / "s", images, **change)
            assert pack_digest(open_pack(tmp_path / str(i))) != reference
        write(tmp_path / "pixel" / "s", np.where(np.arange(3) == 1, images ^ 1, images).astype(np.uint8))
        assert pack_digest(open_pack(tmp_path / "pixel")) != reference
