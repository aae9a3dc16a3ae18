from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from rotogbml.errors import UsageError
from rotogbml.sources import verbs
from rotogbml.sources.progress import PLAIN_SECONDS, progress
from rotogbml.sources.scan import scan


def states(folder: Path) -> dict[Path, tuple[int, int]]:
    return {f: (f.stat().st_mtime_ns, f.stat().st_size) for f in folder.rglob("*")}


@pytest.fixture
def root(tmp_path, some_files, write_as, draw) -> Path:
    files = some_files(["a/x", "a/y", "b/z"], 4)
    files |= {
        "a/x/again.png": files["a/x/001.png"],
        "a/y/label.png": files["a/x/002.png"],
        "a/y/text.jpg": b"hello",
        "b/w/small.png": draw(80, 5, 7),
        "b/w/large.jpg": draw(81, 300, 200, "JPEG", "L"),
        "b/list.csv": b"1",
        "loose.png": draw(82),
    }
    return write_as(tmp_path / "root", files)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_found(root, tmp_path, workers):
    before = states(tmp_path)
    report = scan(root, workers=workers)
    assert states(tmp_path) == before
    a, b = report.sources
    assert (a.name, a.classes, a.images, a.smallest) == ("a", 2, 10, ("x", 5))
    assert a.duplicates == (("a/x/again.png", "a/x/001.png"),)
    assert a.two_labels == (("a/y/label.png", "a/x/002.png"),)
    assert a.damaged == (("a/y/text.jpg", "not an image"),)
    assert a.sizes == ((24, 20), (24, 20))
    assert (b.name, b.classes, b.images, b.smallest) == ("b", 2, 6, ("w", 2))
    assert b.sizes == ((5, 7), (300, 200))
    assert b.modes == {"RGB": 5, "L": 1}
    assert b.notes["grey"] == 1
    assert b.notes["enlarged"] == 5
    assert report.skipped == {"does not lie in ROOT/<source>/<class>/": 1}
    assert report.ignored == {"not an image file (.csv)": 1}


def test_split_folders_and_their_conflicts_are_reported(tmp_path, some_files, write_as):
    report = scan(write_as(tmp_path / "root", some_files(["train/x", "train/y", "test/x"], 2)), workers=1)
    assert report.sources[0].splits == {"train": 2, "test": 1}
    assert report.sources[0].conflicts == ("x",)


def test_the_table(root):
    text = io.StringIO()
    Console(file=text, width=100).print(scan(root, workers=1))
    for part in (
        "5 x 7 to 300 x 200",
        "a: damaged: a/y/text.jpg (not an image)",
        "a: same bytes under two labels: a/y/label.png and a/x/002.png",
        "b: smallest class 'w'; modes RGB 5, L 1",
        "nothing was written",
    ):
        assert part in text.getvalue()


def test_the_table_fits_a_narrow_terminal(root):
    text = io.StringIO()
    Console(file=text, width=80).print(scan(root, workers=1))
    header = next(line for line in text.getvalue().splitlines() if "classes" in line)
    assert header.split("classes")[1].split() == ["images", "smallest", "sizes", "copies", "two", "labels", "damaged"]


def test_every_file_damaged(tmp_path, write_as):
    report = scan(write_as(tmp_path / "root", {"a/x/1.jpg": b"", "a/x/2.jpg": b"1"}), workers=1)
    assert (report.sources[0].images, report.sources[0].sizes) == (0, None)
    Console(file=io.StringIO()).print(report)


def test_many_files_are_quick(tmp_path):
    for c in range(20):
        folder = tmp_path / "root" / "s" / str(c)
        folder.mkdir(parents=True)
        for i in range(250):
            (folder / f"{i}.jpg").write_bytes(b"")
    report = scan(tmp_path / "root", workers=1)
    assert len(report.sources[0].damaged) == 5000
    assert report.seconds < 5


class TestVerbs:
    def test_scan_and_pack_print_their_tables(self, root, tmp_path, capsys):
        assert verbs.scan(str(root)).sources[0].name == "a"
        assert "nothing was written" in capsys.readouterr().out
        report = verbs.pack(str(root), str(tmp_path / "out"), size=16)
        assert report.digest in capsys.readouterr().out

    def test_wrong_root(self, tmp_path):
        with pytest.raises(UsageError, match="no folder or archive"):
            verbs.scan(str(tmp_path / "absent"))

    def test_nothing_heavy_is_imported(self):
        code = (
            "import sys, rotogbml.sources.verbs as v\n"
            "assert not {'numpy', 'PIL', 'torch', 'rich'} & set(sys.modules)\n"
            "import rotogbml.sources.pack, rotogbml.sources.scan\n"
            "assert 'torch' not in sys.modules\n"
        )
        path = ":".join(sys.path)
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, check=True, timeout=60)

    def test_help_comes_from_the_docstrings(self, capsys):
        jsonargparse = pytest.importorskip("jsonargparse")
        for verb, option in ((verbs.scan, "root"), (verbs.pack, "--margin")):
            with pytest.raises(SystemExit) as caught:
                jsonargparse.auto_cli(verb, args=["--help"])
            assert caught.value.code == 0
            assert option in capsys.readouterr().out


class TestProgress:
    def test_silent_when_not_asked(self, capsys):
        with progress("packing", 10, show=False) as advance:
            advance(5)
        assert capsys.readouterr() == ("", "")

    def test_plain_lines_without_a_terminal(self, capsys, monkeypatch):
        clock = iter([0.0, 1.0, PLAIN_SECONDS, PLAIN_SECONDS + 1])
        monkeypatch.setattr("rotogbml.sources.progress.time.monotonic", lambda: next(clock))
        with progress("packing", 2000) as advance:
            for _ in range(3):
                advance(500)
        out, err = capsys.readouterr()
        assert out == ""
        assert err.splitlines() == ["packing: 1,000 of 2,000 images, about 10 s left"]
