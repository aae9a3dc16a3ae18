from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.lock import locked
from rotogbml.sources import examine, workers
from rotogbml.sources.decode import decode
from rotogbml.sources.pack import pack
from rotogbml.sources.packed import open_pack, open_source, pack_digest


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def skipped(out: Path) -> dict[str, str]:
    with (out / "skipped.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


@pytest.fixture
def root(tmp_path, some_files, write_as) -> Path:
    return write_as(tmp_path / "root", some_files(["b/y", "b/x", "a/z"], 3))


class TestContent:
    @pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "zip"])
    def test_rows_are_the_decoded_files(self, tmp_path, some_files, write_as, kind):
        files = some_files(["b/y", "b/x", "a/z"], 3)
        report = pack(write_as(tmp_path / "root", files, kind), tmp_path / "out", size=16, workers=1)
        sources = open_pack(tmp_path / "out")
        assert list(sources) == ["a", "b"]
        b = sources["b"]
        assert b.classes == ("x", "y")
        assert b.offsets.tolist() == [0, 3, 6]
        assert (b.size, b.side) == (16, 18)
        head = json.loads((b.path / "source.json").read_text())
        assert [path for path, _ in head["inputs"]] == sorted(name for name in files if name.startswith("b/"))
        for row, (path, digest) in enumerate(head["inputs"]):
            assert digest == hashlib.sha256(files[path]).hexdigest()
            assert (b.images[row] == decode(files[path], 18).pixels).all()
        assert head["made"]["margin"] == 0.15
        assert str(tmp_path) not in (b.path / "source.json").read_text()
        assert [(s.name, s.classes, s.images, s.skipped) for s in report.sources] == [("a", 1, 3, 0), ("b", 2, 6, 0)]
        assert report.digest == pack_digest(sources)
        assert report.examined == 9
        assert report.images_per_second > 0
        assert [f.name for f in sorted(tmp_path.iterdir()) if f.name.startswith(".")] == []

    def test_no_margin_stores_size(self, root, tmp_path):
        pack(root, tmp_path / "out", size=20, margin=0, workers=1)
        assert open_source(tmp_path / "out" / "a").images.shape == (3, 20, 20, 3)

    def test_equal_bytes_on_any_number_of_workers(self, tmp_path, some_files, write_as, monkeypatch):
        monkeypatch.setattr(examine, "CHUNK", 4)
        root = write_as(tmp_path / "root", some_files(["a/x", "a/y", "b/z"], 9), "tar.gz")
        pack(root, tmp_path / "one", size=16, workers=1)
        pack(root, tmp_path / "two", size=16, workers=2)
        assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")

    def test_the_tables_say_what_was_done(self, root, tmp_path, draw):
        (root / "a/z/[bold]grey.png").write_bytes(draw(70, mode="L"))
        (root / "a/z/[bold]broken.png").write_bytes(b"text")
        report = pack(root, tmp_path / "out", size=16, workers=1)
        text = io.StringIO()
        Console(file=text, width=100).print(report)
        for part in (
            "a: grey (1 images)",
            "not an image (1 files)",
            "usable only for training",
            report.digest,
            "18 x 18",
        ):
            assert part in text.getvalue()

    def test_default_split_is_stored(self, tmp_path, some_files, write_as):
        root = write_as(tmp_path / "many", some_files([f"{i:02}" for i in range(25)], 1))
        report = pack(root, tmp_path / "out", size=16, seed=3, workers=1)
        source = open_source(tmp_path / "out" / "many")
        assert {split: len(c) for split, c in source.splits.items()} == {"train": 15, "val": 5, "test": 5}
        assert report.sources[0].splits == {"train": 15, "val": 5, "test": 5}
        assert "seed 3" in source.split_rule

    def test_split_file_wins(self, root, tmp_path):
        split = tmp_path / "split.json"
        split.write_text('{"b": {"train": ["y"], "test": ["x"]}}')
        pack(root, tmp_path / "out", size=16, split=split, workers=1)
        source = open_source(tmp_path / "out" / "b")
        assert source.splits == {"train": (1,), "test": (0,)}
        assert "split.json" in source.split_rule

    def test_mini(self, shared_data, tmp_path):
        report = pack(shared_data / "mini.tar", tmp_path / "out", size=28, workers=2)
        assert sum(s.images for s in report.sources) == 1675
        assert len(report.sources) == 9
        assert all(list(s.splits) == ["all"] for s in report.sources)
        assert all(
            min(source.std) > 0.05 and max(source.mean) < 0.95 for source in open_pack(tmp_path / "out").values()
        )


class TestSkips:
    @pytest.fixture
    def bad(self, root, tmp_path, draw) -> Path:
        good = (root / "a/z/000.png").read_bytes()
        (root / "a/z/empty.jpg").write_bytes(b"")
        (root / "a/z/text.jpg").write_bytes(b"hello")
        (root / "a/z/half.png").write_bytes(draw(50, 90, 90)[:200])
        (root / "a/z/copy.png").write_bytes(good)
        (root / "b/x/001.png").write_bytes((root / "b/y/002.png").read_bytes())
        (root / "b/dead").mkdir()
        (root / "b/dead/0.png").write_bytes(b"hello")
        (root / "b/notes.txt").write_bytes(b"hello")
        (tmp_path / "elsewhere.png").write_bytes(good)
        (root / "a/z/link.png").symlink_to(tmp_path / "elsewhere.png")
        return root

    def test_each_has_a_reason(self, bad, tmp_path):
        report = pack(bad, tmp_path / "out", size=16, workers=1)
        assert skipped(tmp_path / "out") == {
            "a/z/copy.png": "same bytes as another file of its class: a/z/000.png",
            "a/z/empty.jpg": "empty file",
            "a/z/half.png": "truncated",
            "a/z/link.png": "symbolic link out of the tree",
            "a/z/text.jpg": "not an image",
            "b/dead/0.png": "not an image",
            "b/notes.txt": "ignored: not an image file (.txt)",
            "b/y/002.png": "same bytes as a file under another label: b/x/001.png",
        }
        assert sum(report.skipped.values()) == 7
        assert report.skipped["not an image"] == 2
        assert report.ignored == {"not an image file (.txt)": 1}
        assert any("class 'dead' has no usable image" in remark for remark in report.remarks)
        b = open_source(tmp_path / "out" / "b")
        assert b.classes == ("x", "y")
        assert b.offsets.tolist() == [0, 3, 5]

    def test_strict_writes_nothing(self, bad, tmp_path):
        with pytest.raises(RotogbmlError, match=r"1 files cannot be packed.*symbolic link") as caught:
            pack(bad, tmp_path / "out", size=16, workers=1, strict=True)
        assert caught.value.exit_code == 1
        assert "pack without --strict: it leaves them out and lists each in skipped.csv" in str(caught.value)
        (bad / "a/z/link.png").unlink()
        with pytest.raises(RotogbmlError, match=r"6 files cannot be packed, such as 'a/z/copy\.png' \(same bytes"):
            pack(bad, tmp_path / "out", size=16, workers=1, strict=True)
        assert {f.name for f in tmp_path.iterdir()} == {"root", "elsewhere.png"}

    def test_strict_does_not_mind_what_is_no_image(self, root, tmp_path):
        (root / "a/z/notes.txt").write_bytes(b"hello")
        (root / "a/.DS_Store").write_bytes(b"hello")
        report = pack(root, tmp_path / "out", size=16, workers=1, strict=True)
        assert sum(report.ignored.values()) == 2

    def test_a_source_without_any_image_is_left_out(self, root, tmp_path):
        (root / "dead" / "x").mkdir(parents=True)
        (root / "dead/x/1.jpg").write_bytes(b"hello")
        report = pack(root, tmp_path / "out", size=16, workers=1)
        assert list(open_pack(tmp_path / "out")) == ["a", "b"]
        assert "dead: no usable image, the source is left out" in report.remarks

    def test_nothing_usable_at_all(self, tmp_path, write_as):
        root = write_as(tmp_path / "root", {"a/x/1.jpg": b"hello", "a/x/2.jpg": b"", "a/.x": b""})
        with pytest.raises(RotogbmlError, match=r"no usable image under .*'a/x/1.jpg': not an image"):
            pack(root, tmp_path / "out", size=16, workers=1)
        assert [f.name for f in tmp_path.iterdir()] == ["root"]

    def test_a_class_in_two_split_folders_stops_before_the_work(self, tmp_path, some_files, write_as):
        root = write_as(tmp_path / "one", some_files(["train/x", "test/x", "val/y"], 1))
        with pytest.raises(UsageError, match="class 'x' lies in the folders test and train"):
            pack(root, tmp_path / "out", size=16, workers=1)
        (tmp_path / "s.json").write_text('{"train": ["x"], "test": ["y"]}')
        pack(root, tmp_path / "out", size=16, split=tmp_path / "s.json", workers=1)
        assert open_source(tmp_path / "out" / "one").offsets.tolist() == [0, 2, 3]


class TestOut:
    def test_what_is_no_pack_is_not_overwritten(self, root, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.doc").write_text("years of work")
        with pytest.raises(UsageError, match=r"is no pack, it holds 'thesis\.doc'"):
            pack(root, tmp_path / "out", size=16, workers=1)
        with pytest.raises(UsageError, match="is a file"):
            pack(root, tmp_path / "out" / "thesis.doc", size=16, workers=1)
        assert (tmp_path / "out" / "thesis.doc").read_text() == "years of work"

    def test_not_inside_the_images(self, root):
        with pytest.raises(UsageError, match="lies inside ROOT"):
            pack(root, root / "out", size=16, workers=1)
        with pytest.raises(UsageError, match="lies inside ROOT"):
            pack(root, root, size=16, workers=1)

    def test_a_pack_is_replaced(self, root, tmp_path):
        pack(root, tmp_path / "out", size=16, workers=1)
        shutil.rmtree(root / "b")
        pack(root, tmp_path / "out", size=20, workers=1)
        assert {name: s.size for name, s in open_pack(tmp_path / "out").items()} == {"a": 20}
        assert {f.name for f in tmp_path.iterdir()} == {"root", "out"}

    def test_an_empty_folder_or_one_to_be_made_will_do(self, root, tmp_path):
        (tmp_path / "out").mkdir()
        pack(root, tmp_path / "out", size=16, workers=1)
        pack(root, tmp_path / "new" / "deep" / "out", size=16, workers=1)
        assert snapshot(tmp_path / "out") == snapshot(tmp_path / "new" / "deep" / "out")

    def test_two_at_once(self, root, tmp_path):
        (tmp_path / ".out.partial").mkdir()
        with (
            locked(tmp_path / ".out.partial", "here"),
            pytest.raises(UsageError, match="another process is packing into"),
        ):
            pack(root, tmp_path / "out", size=16, workers=1)

    @pytest.mark.parametrize(
        ("option", "value"),
        [("size", 8), ("size", 4000), ("margin", -0.1), ("margin", 2.0), ("n_way", 1), ("workers", 0)],
    )
    def test_options_out_of_range(self, root, tmp_path, option, value):
        with pytest.raises(UsageError, match=f"{option} is {value}: give"):
            pack(root, tmp_path / "out", **{option: value})


class TestFailures:
    def test_disk_full_keeps_the_old_pack_and_goes_on(self, root, tmp_path, monkeypatch):
        monkeypatch.setattr(examine, "CHUNK", 2)
        pack(root, tmp_path / "out", size=16, workers=1)
        old = snapshot(tmp_path / "out")
        pack(root, tmp_path / "reference", size=20, workers=1)
        written = []

        def full(file, pixels, write=examine._write_all):
            written.append(pixels)
            if len(written) == 6:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(file, pixels)

        with monkeypatch.context() as patched:
            patched.setattr(examine, "_write_all", full)
            with pytest.raises(
                RotogbmlError, match=r"disk full while packing into .*\.out\.partial.*is untouched"
            ) as caught:
                pack(root, tmp_path / "out", size=20, workers=1)
        assert caught.value.exit_code == 1
        assert "\n" not in str(caught.value)
        assert snapshot(tmp_path / "out") == old
        report = pack(root, tmp_path / "out", size=20, workers=1)
        assert report.resumed == 5
        assert report.examined == 4
        assert snapshot(tmp_path / "out") == snapshot(tmp_path / "reference")

    def test_too_little_space_is_said_before_the_work(self, root, tmp_path, monkeypatch):
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(RotogbmlError, match=r"not enough space at .* GB needed, 0.00 GB free: free some"):
            pack(root, tmp_path / "out", size=16, workers=1)

    def test_a_worker_that_dies_is_reported(self, root, tmp_path, monkeypatch):
        start = workers._Worker.__init__

        def doomed(self):
            start(self)
            self._process.kill()

        with monkeypatch.context() as patched:
            patched.setattr(workers._Worker, "__init__", doomed)
            with pytest.raises(RotogbmlError, match="a worker process died"):
                pack(root, tmp_path / "out", size=16, workers=2)
        assert not (tmp_path / "out").exists()
        pack(root, tmp_path / "out", size=16, workers=2)

    def test_disk_full_in_a_worker(self, root, tmp_path, monkeypatch):
        answer = OSError(errno.ENOSPC, "No space left on device")
        monkeypatch.setattr(workers.pickle, "load", lambda stream: answer)
        with pytest.raises(RotogbmlError, match="disk full while packing"):
            pack(root, tmp_path / "out", size=16, workers=2)

    def test_a_file_that_vanishes_is_a_skip(self, root, tmp_path, monkeypatch):
        from rotogbml.sources import pack as module

        listed = module.find_sources

        def vanish(place):
            tree = listed(place)
            (root / "a/z/001.png").unlink()
            return tree

        monkeypatch.setattr(module, "find_sources", vanish)
        pack(root, tmp_path / "out", size=16, workers=1)
        assert skipped(tmp_path / "out") == {"a/z/001.png": "cannot be read: No such file or directory"}


def test_large_images_stay_within_memory(tmp_path):
    """Six photos of 3 megapixels: arrays of none but the one at hand, and files of none but that."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).resize(
        (2000, 1500)
    )
    for i in range(6):
        place = tmp_path / "root" / "a" / "x" / f"{i}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        picture.rotate(i).save(place, quality=90)
    tracemalloc.start()
    pack(tmp_path / "root", tmp_path / "out", size=84, workers=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
