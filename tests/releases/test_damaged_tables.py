"""Tables with lines that are too long, and with quotes that nobody closed: refused by line, or told of."""

from __future__ import annotations

import io
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.errors import UsageError
from rotogbml.releases.importing import read_release
from rotogbml.releases.root import open_files
from rotogbml.releases.tables import header_of, read_csv

Lay = Callable[..., Path]
Pictures = Callable[..., dict[str, bytes]]

ROWS = "filename,label\n" + "".join(f"{i}.jpg,elm\n" for i in range(100))


@pytest.mark.parametrize("size", [140_000, 3 << 20])
@pytest.mark.parametrize("form", ["{}", "{}\na,b\n", "\n\n{}\n", "filename,label\n{}\n"])
def test_a_line_that_is_too_long(lay: Lay, pictures: Pictures, size: int, form: str) -> None:
    root = lay(pictures(["elm/a.jpg"]) | {"notes.csv": form.format("x" * size)})
    if form.startswith("filename"):
        said = "line 2, is damaged" if size < 1 << 20 else "line 2: above 1 MiB"
    else:
        said = "its first line is no table's" if size < 1 << 20 else "line 1: above 1 MiB"
    for name, file in (("generic", "notes.csv"), ("miniimagenet", "train.csv")):
        (root / "notes.csv").rename(root / file)
        with pytest.raises(UsageError, match=f"'{file}' in {root}.*{said}.*fetch"):
            read_release(name, root)
        (root / file).rename(root / "notes.csv")


def test_a_long_line_in_an_archive_is_not_read_to_its_end(tmp_path: Path, pictures: Pictures) -> None:
    place = tmp_path / "trees.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in pictures(["elm/a.jpg"]).items():
            archive.writestr(name, data)
        with archive.open("notes.csv", "w") as file:
            for _ in range(300):
                file.write(b"x" * (1 << 20))
    started = time.process_time()
    tracemalloc.start()
    with pytest.raises(UsageError, match="line 1: above 1 MiB"):
        read_release("generic", place)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20
    assert time.process_time() - started < 3


def test_a_long_table_of_short_lines(lay: Lay) -> None:
    table = io.StringIO()
    table.write("filename,label\r\n")
    table.writelines(f"{i:08}.jpg,Bärlauch\r\n" for i in range(80_000))
    for encoding, name in (("utf-8", "u"), ("utf-16", "w"), ("latin-1", "l")):
        files = open_files(lay({"labels.csv": table.getvalue().encode(encoding)}, name))
        assert header_of(files, "labels.csv") == ["filename", "label"]
        rows = list(read_csv(files, "labels.csv", ("filename", "label")))
        assert len(rows) == 80_000
        assert rows[-1] == {"filename": "00079999.jpg", "label": "Bärlauch"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("\n10.jpg,elm", '\n"10.jpg,elm', "line 12: the value of 'filename' goes on to line 101"),
        ("\n10.jpg,elm", '\n10.jpg,"elm', "line 12: the value of 'label' goes on to line 101"),
        ("\n10.jpg,elm\n11.jpg,elm", '\n10.jpg,"elm\n11.jpg,elm"', "line 12: the value of 'label' goes on to line 13"),
        ("\n10.jpg,elm\n", '\n10.jpg,elm,"\n', "line 12: the value of 'label' goes on to line 101"),
        ("filename,label\n", '\n\nfilename,label\na.jpg,"elm\n', "line 4: the value of 'label' goes on to line 104"),
    ],
)
def test_a_quote_that_is_not_closed(lay: Lay, pictures: Pictures, before: str, after: str, said: str) -> None:
    root = lay(pictures(["0.jpg", "10.jpg"]) | {"train.csv": ROWS.replace(before, after)})
    for name in ("miniimagenet", "generic"):
        with pytest.raises(UsageError, match=f"'train.csv' in {root}, {said}, so a quote is not closed"):
            read_release(name, root)


def test_texts_over_lines_are_read_and_told_of(lay: Lay, pictures: Pictures) -> None:
    table = 'filename,label,said\na.jpg,elm,"one\ntwo\n\nthree"\nb.jpg,oak,"four\nfive"\n\nc.jpg,oak,six\n'
    reading = read_release("generic", lay(pictures(["a.jpg", "b.jpg", "c.jpg"]) | {"labels.csv": table})).reading
    assert reading.per_class() == {"elm": 1, "oak": 2}
    assert reading.remarks == [
        "'labels.csv': 2 values go on over lines, the longest from line 2 to 5; where no text has breaks, a quote is "
        "not closed there and rows are lost"
    ]
