from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from rotogbml.errors import UsageError
from rotogbml.sources.containers import MAX_BYTES, Reader, container_at
from rotogbml.sources.tree import count_reasons, find_sources

KINDS = ("folder", "tar", "tar.gz", "zip")


def seen(tree) -> dict[str, dict[str, int]]:
    return {s.name: {c: sum(e.label == c for e in s.entries) for c in s.classes} for s in tree.sources}


def contents(tree) -> set[bytes]:
    data = set()
    for source in tree.sources:
        reader = Reader(source.container)
        data |= {reader.read(entry.key, entry.size) for entry in source.entries}
        reader.close()
    return data


@pytest.mark.parametrize("kind", KINDS)
class TestLayouts:
    def test_sources_and_classes(self, tmp_path, some_files, write_as, kind):
        files = some_files(["b/y", "b/x", "a/z"], 2)
        tree = find_sources(write_as(tmp_path / "root", files, kind))
        assert seen(tree) == {"a": {"z": 2}, "b": {"x": 2, "y": 2}}
        assert [s.name for s in tree.sources] == ["a", "b"]
        assert contents(tree) == set(files.values())
        assert not tree.skips

    def test_one_source_is_named_after_root(self, tmp_path, some_files, write_as, kind):
        tree = find_sources(write_as(tmp_path / "birds", some_files(["x", "y"], 2), kind))
        assert seen(tree) == {"birds": {"x": 2, "y": 2}}
        assert tree.sources[0].folder_splits == {}

    def test_split_folders(self, tmp_path, some_files, write_as, kind):
        folders = ["a/train/x", "a/train/y", "a/valid/z", "a/Test/w", "b/x", "b/train"]
        tree = find_sources(write_as(tmp_path / "root", some_files(folders, 1), kind))
        assert seen(tree) == {"a": dict.fromkeys("wxyz", 1), "b": {"train": 1, "x": 1}}
        a, b = tree.sources
        assert {c: set(s) for c, s in a.folder_splits.items()} == {
            "x": {"train"},
            "y": {"train"},
            "z": {"val"},
            "w": {"test"},
        }
        assert b.folder_splits == {}

    def test_split_folders_of_one_source(self, tmp_path, some_files, write_as, kind):
        tree = find_sources(write_as(tmp_path / "one", some_files(["train/x", "test/x", "val/y"], 1), kind))
        assert seen(tree) == {"one": {"x": 2, "y": 1}}
        assert tree.sources[0].folder_splits["x"] == {"train", "test"}

    def test_a_folder_around_everything_is_seen_through(self, tmp_path, some_files, write_as, kind):
        files = some_files(["download/v2/a/x", "download/v2/b/y"], 2)
        files["download/v2/preview.png"] = next(iter(files.values()))
        tree = find_sources(write_as(tmp_path / "root", files, kind))
        assert seen(tree) == {"a": {"x": 2}, "b": {"y": 2}}
        assert [skip.path for skip in tree.skips] == ["download/v2/preview.png"]

    def test_strays_are_skipped_and_said(self, tmp_path, some_files, write_as, kind):
        files = some_files(["a/x", "b/y"], 3)
        one = files["a/x/000.png"]
        files |= {"top.png": one, "a/cover.jpg": one, "a/x/deeper/1.png": one}
        files |= {"a/list.csv": b"1", "a/x/Thumbs.db": b"1", "a/x/.hidden.png": one, "__MACOSX/a/x/._1.png": b"1"}
        tree = find_sources(write_as(tmp_path / "root", files, kind))
        assert seen(tree) == {"a": {"x": 3}, "b": {"y": 3}}
        assert {skip.path for skip in tree.skips if not skip.ignored} == {"top.png", "a/cover.jpg", "a/x/deeper/1.png"}
        ignored = count_reasons(skip for skip in tree.skips if skip.ignored)
        assert ignored == {"hidden": 2, "not an image file (.csv)": 1, "not an image file (.db)": 1}

    def test_extensions_in_any_case(self, tmp_path, draw, write_as, kind):
        suffixes = ["jpg", "JPEG", "Png", "webp", "BMP", "gif", "tif", "TIFF"]
        files = {f"a/x/{i}.{suffix}": draw(i) for i, suffix in enumerate(suffixes)} | {"a/x/9.svg": b"<svg/>"}
        tree = find_sources(write_as(tmp_path / "root", files, kind))
        assert len(tree.sources[0].entries) == len(suffixes)

    def test_names_in_any_script(self, tmp_path, some_files, write_as, kind):
        names = ["猫", "собака", "كلب", "न्\u200dन", "e\u0301", "é", "[red]x", "a b"]
        tree = find_sources(write_as(tmp_path / "动物", some_files([f"源/{name}" for name in names], 1), kind))
        assert seen(tree) == {"源": dict.fromkeys(sorted(names), 1)}

    def test_nothing_there(self, tmp_path, write_as, kind):
        root = write_as(tmp_path / "root", {"a/x/readme.txt": b"1"}, kind)
        with pytest.raises(UsageError, match=r"no images under .*root.*expected ROOT/<source>/<class>"):
            find_sources(root)


def test_order_does_not_depend_on_the_archive(tmp_path, some_files, write_as):
    files = some_files(["a/x", "a/y"], 5)
    back = dict(reversed(files.items()))
    there = find_sources(write_as(tmp_path / "one", files, "tar")).sources[0]
    here = find_sources(write_as(tmp_path / "two", back, "tar")).sources[0]
    assert [e.path for e in there.entries] == [e.path for e in here.entries] == sorted(files)


def test_folder_of_archives(tmp_path, some_files, write_as):
    root = tmp_path / "root"
    write_as(root / "a", some_files(["a/x", "a/y"], 2), "tar")
    write_as(root / "b", some_files(["images/x"], 2), "zip")
    write_as(root / "c", some_files(["x"], 2), "tar.gz")
    write_as(root / "two", some_files(["d/x", "e/x"], 2), "zip")
    write_as(root, some_files(["f/x"], 1))
    write_as(root / "f" / "inner", some_files(["x"], 1), "tar")
    (root / "notes.zip").write_bytes((root / "b.zip").read_bytes()[:0])
    with pytest.raises(UsageError, match=r"notes\.zip is damaged"):
        find_sources(root)
    write_as(root / "notes", {"readme.txt": b"1"}, "zip")
    tree = find_sources(root)
    assert {name: len(classes) for name, classes in seen(tree).items()} == {
        "a": 2,
        "b": 1,
        "c": 1,
        "d": 1,
        "e": 1,
        "f": 1,
    }
    reasons = {skip.path: skip.reason for skip in tree.skips}
    assert reasons["notes.zip"] == "an archive without images in class folders"
    assert reasons["f/inner.tar"] == "not an image file (.tar)"
    assert set(reasons) == {"notes.zip", "notes.zip/readme.txt", "f/inner.tar"}
    assert tree.sources[0].entries[0].path == "a.tar/a/x/000.png"


def test_two_sources_of_one_name(tmp_path, some_files, write_as):
    write_as(tmp_path, some_files(["a/x"], 1))
    write_as(tmp_path / "a", some_files(["x"], 1), "tar")
    with pytest.raises(UsageError, match=r"two sources are named 'a'"):
        find_sources(tmp_path)


def test_places_that_hold_nothing(tmp_path):
    with pytest.raises(UsageError, match="no folder or archive"):
        find_sources(tmp_path / "absent")
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(UsageError, match="neither a folder nor an archive"):
        find_sources(tmp_path / "a.rar")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "loose.png").write_bytes(b"1")
    with pytest.raises(UsageError, match=r"1 files lie elsewhere.*loose\.png"):
        find_sources(tmp_path / "root")


class TestEscapes:
    def test_tar(self, tmp_path, draw):
        good = draw(1)
        secret = tmp_path / "secret.png"
        secret.write_bytes(draw(2))
        with tarfile.open(tmp_path / "root.tar", "w") as tar:
            for name in ("a/x/1.png", "/abs/x/1.png", "a/../../x/1.png", "../a/x/1.png"):
                info = tarfile.TarInfo(name)
                info.size = len(good)
                tar.addfile(info, io.BytesIO(good))
            for name, kind in (("a/x/sym.png", tarfile.SYMTYPE), ("a/x/hard.png", tarfile.LNKTYPE)):
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, str(secret)
                tar.addfile(info)
            for name, kind in (("a/x/fifo.png", tarfile.FIFOTYPE), ("a/x/dev.png", tarfile.CHRTYPE)):
                info = tarfile.TarInfo(name)
                info.type = kind
                tar.addfile(info)
        tree = find_sources(tmp_path / "root.tar")
        assert contents(tree) == {good}
        assert seen(tree) == {"a": {"x": 1}}
        assert count_reasons(tree.skips) == {
            "would lie outside the archive's folder": 3,
            "link in an archive": 2,
            "not a plain file": 2,
        }

    def test_zip(self, tmp_path, draw):
        good = draw(1)
        with zipfile.ZipFile(tmp_path / "root.zip", "w") as archive:
            for name in ("a/x/1.png", "/abs/x/1.png", "a/../../x/1.png", "..\\x\\1.png", "C:/a/x/1.png"):
                archive.writestr(name, good)
            link = zipfile.ZipInfo("a/x/link.png")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "/etc/passwd")
        tree = find_sources(tmp_path / "root.zip")
        assert seen(tree) == {"a": {"x": 1}}
        assert contents(tree) == {good}
        assert count_reasons(tree.skips) == {"would lie outside the archive's folder": 4, "link in an archive": 1}

    def test_links_in_a_folder(self, tmp_path, draw, write_as):
        root = write_as(tmp_path / "root", {"a/x/1.png": draw(1), "a/y/2.png": draw(2)})
        (tmp_path / "out.png").write_bytes(draw(3))
        (tmp_path / "other").mkdir()
        (root / "a/x/out.png").symlink_to(tmp_path / "out.png")
        (root / "a/x/in.png").symlink_to("../y/2.png")
        (root / "a/x/gone.png").symlink_to("absent.png")
        (root / "a/x/self.png").symlink_to("self.png")
        (root / "a/outside").symlink_to(tmp_path / "other")
        (root / "a/x/up").symlink_to("..")
        os.mkfifo(root / "a/x/pipe.png")
        tree = find_sources(root)
        assert seen(tree) == {"a": {"x": 2, "y": 1}}
        assert contents(tree) == {draw(1), draw(2)}
        assert {skip.path: skip.reason for skip in tree.skips} == {
            "a/outside": "symbolic link out of the tree",
            "a/x/gone.png": "broken symbolic link",
            "a/x/out.png": "symbolic link out of the tree",
            "a/x/pipe.png": "neither a file nor a folder",
            "a/x/self.png": "broken symbolic link",
            "a/x/up": "symbolic link to a folder",
        }

    def test_control_characters_cannot_reach_a_terminal(self, tmp_path, draw, write_as):
        root = write_as(tmp_path / "root", {"a/x\x1b[31m\n/1.png": draw(1)})
        (root / "a").joinpath(os.fsdecode(b"\xff\xfe")).mkdir()
        (root / "a" / os.fsdecode(b"\xff\xfe") / "2.png").write_bytes(draw(2))
        tree = find_sources(root)
        assert tree.sources[0].classes == (r"\xff\xfe", r"x\x1b[31m\n")
        assert contents(tree) == {draw(1), draw(2)}


def test_an_enormous_file_is_not_read(tmp_path, some_files, write_as):
    root = write_as(tmp_path / "root", some_files(["a/x"], 1))
    with (root / "a/x/huge.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    source = find_sources(root).sources[0]
    huge = source.entries[-1]
    with pytest.raises(OSError, match="larger than 512 MiB"):
        Reader(source.container).read(huge.key, huge.size)


class TestArchives:
    @pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
    @pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
    def test_cut_short(self, tmp_path, some_files, write_as, kind, keep):
        archive = write_as(tmp_path / "root", some_files(["a/x"], 8), kind)
        data = archive.read_bytes().rstrip(b"\0")
        archive.write_bytes(data[: int(keep * len(data))])
        with pytest.raises(UsageError, match=r"root\.\S+ is damaged"):
            find_sources(archive)

    def test_damaged_header_is_not_taken_for_the_end(self, tmp_path, some_files, write_as):
        archive = write_as(tmp_path / "root", some_files(["a/x"], 8), "tar")
        data = bytearray(archive.read_bytes())
        with tarfile.open(archive) as tar:
            at = tar.getmembers()[4].offset
        data[at : at + 20] = b"\xff" * 20
        archive.write_bytes(data)
        with pytest.raises(UsageError, match="is damaged"):
            find_sources(archive)

    def test_damage_inside_a_zip_names_the_file(self, tmp_path, some_files, write_as):
        files = some_files(["a/x"], 3)
        archive = write_as(tmp_path / "root", files, "zip")
        data = bytearray(archive.read_bytes())
        with zipfile.ZipFile(archive) as opened:
            info = opened.getinfo("a/x/001.png")
        at = info.header_offset + 60
        data[at : at + 10] = bytes(10)
        archive.write_bytes(data)
        source = find_sources(archive).sources[0]
        reader = Reader(source.container)
        first, second, third = source.entries
        assert reader.read(first.key, first.size) == files[first.path]
        with pytest.raises(OSError, match="archive is damaged"):
            reader.read(second.key, second.size)
        assert reader.read(third.key, third.size) == files[third.path]
        reader.close()

    def test_the_last_of_two_equal_names_counts(self, tmp_path, draw):
        with tarfile.open(tmp_path / "root.tar", "w") as tar:
            for seed in (1, 2):
                info = tarfile.TarInfo("a/x/1.png")
                info.size = len(draw(seed))
                tar.addfile(info, io.BytesIO(draw(seed)))
        tree = find_sources(tmp_path / "root.tar")
        assert contents(tree) == {draw(2)}
        assert [skip.reason for skip in tree.skips] == ["stands twice in the archive: the last one counts"]

    def test_a_gzipped_tar_under_a_plain_name(self, tmp_path, some_files, write_as):
        archive = write_as(tmp_path / "root", some_files(["a/x"], 2), "tar.gz")
        plain = archive.rename(tmp_path / "plain.tar")
        container = container_at(plain)
        assert container is not None
        assert container.kind == "tar.gz"
        assert seen(find_sources(plain)) == {"a": {"x": 2}}

    @pytest.mark.parametrize("name", ["root.tar.bz2", "root.tbz2", "root.tar"])
    def test_a_tar_packed_by_bzip2(self, tmp_path, draw, name):
        with tarfile.open(tmp_path / name, "w:bz2") as tar:
            info = tarfile.TarInfo("a/x/1.png")
            info.size = len(draw(1))
            tar.addfile(info, io.BytesIO(draw(1)))
        source = find_sources(tmp_path / name).sources[0]
        assert source.container.kind == "tar.bz2"
        reader = Reader(source.container)
        assert reader.read(source.entries[0].key, source.entries[0].size) == draw(1)
        reader.close()

    def test_a_tar_packed_in_another_way_is_no_tar(self, tmp_path, draw):
        with tarfile.open(tmp_path / "root.tar", "w:xz") as tar:
            info = tarfile.TarInfo("a/x/1.png")
            info.size = len(draw(1))
            tar.addfile(info, io.BytesIO(draw(1)))
        with pytest.raises(UsageError, match=r"root\.tar is damaged or no tar \(.*\): fetch or make it again"):
            find_sources(tmp_path / "root.tar")

    def test_zip_names_in_unmarked_utf8(self, tmp_path, draw):
        path = tmp_path / "root.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/ab/1.png", draw(1))
        path.write_bytes(path.read_bytes().replace(b"a/ab/1", "a/é/1".encode()))
        tree = find_sources(path)
        assert seen(tree) == {"a": {"é": 1}}
        assert contents(tree) == {draw(1)}

    def test_encrypted(self, tmp_path, some_files, write_as):
        path = write_as(tmp_path / "root", some_files(["a/x"], 2), "zip")
        data = bytearray(path.read_bytes())
        at = data.index(b"PK\x01\x02")
        data[at + 8] |= 1
        path.write_bytes(data)
        tree = find_sources(path)
        assert seen(tree) == {"a": {"x": 1}}
        assert [skip.reason for skip in tree.skips] == ["encrypted"]


def test_mini(shared_data: Path):
    tree = find_sources(shared_data / "mini.tar")
    assert len(tree.sources) == 9
    assert sum(len(s.entries) for s in tree.sources) == 1675
    assert all(s.layout == "ROOT/<source>/<class>/*" for s in tree.sources)
    assert not tree.skips
