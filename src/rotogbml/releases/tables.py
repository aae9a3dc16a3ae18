"""Label files as rows: CSV of any dialect, pairs of words, MATLAB files, JSON. What does not fit is said."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rotogbml.errors import UsageError
from rotogbml.releases.files import LINE_BYTES, Files, is_image

_DELIMITERS = ",;\t|"
_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "nothing",
}
"""What JSON calls its values."""


def read_csv(files: Files, path: str, required: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file with a header, as a dictionary by the header's names.

    Commas, semicolons, tabs and bars part the columns, whichever parts the header best. A byte order mark, CRLF, quotes
    and spaces around values go away. Header names are found whatever their case. A row with more values than the header
    has lost the quotes around a comma: where the first value ends in a file name's ending, the surplus goes to the last
    column, else the excess is left at the end, where no column is named. A value of another column may go on over
    lines, as texts do; that is noted in ``files.remarks``.

    Args:
        files: The release.
        path: The file in it.
        required: Columns that must be there.

    Raises:
        UsageError: A column is not there: the file is of another version, or of another release. Or a quote is not
            closed, and what follows would be taken for a part of one value.
    """
    files.first_line(path)  # one that is too long is refused before all of the file is read
    lines = files.text(path).split("\n")
    first = next((number for number, line in enumerate(lines, 1) if line.strip()), 0)
    if not first:
        raise UsageError(f"'{path}' in {files.root} is empty: fetch it again")
    if long := next((number for number, line in enumerate(lines, 1) if len(line) > LINE_BYTES), 0):
        raise files.too_long(path, long)
    delimiter, header = _header(files, path, lines[first - 1], required)
    known = {name.casefold(): name for name in required}
    keys = [known.get(name.casefold(), name) for name in header]
    lacking = [name for name in required if name not in keys]
    if lacking:
        raise UsageError(
            f"'{path}' in {files.root} is of another version: no column '{lacking[0]}', its columns are "
            f"{', '.join(name[:40] for name in header[:12])}"
        )
    reader = csv.reader(io.StringIO("\n".join(lines[first:])), delimiter=delimiter, skipinitialspace=True)
    spans: list[tuple[int, int]] = []
    end = first
    try:
        for read in reader:
            start, end = end + 1, first + reader.line_num
            if not any(value.strip() for value in read) and len(read) < 2:
                continue
            if len(read) > len(keys) and '"' not in lines[start - 1]:
                read = lines[start - 1].split(delimiter)  # with the space that may follow a comma in a name
            row = dict(zip(keys, (value.strip() for value in _fitted(read, len(keys), delimiter)), strict=False))
            if end > start:
                _refuse_open_quote(files, path, row, required, lines[start - 1 : end], start)
                spans.append((start, end))
            yield row
    except csv.Error as error:
        raise UsageError(f"'{path}' in {files.root}, line {end + 1:,}, is damaged ({error}): fetch it again") from None
    if spans:
        start, end = max(spans, key=lambda span: span[1] - span[0])
        files.remarks.append(
            f"'{path}': {len(spans):,} values go on over lines, the longest from line {start:,} to {end:,}; where no "
            "text has breaks, a quote is not closed there and rows are lost"
        )


def _refuse_open_quote(
    files: Files, path: str, row: dict[str, str], required: Sequence[str], lines: list[str], start: int
) -> None:
    """Refuse a row over several lines where it is no text with breaks: a needed value, or a quote that is left open."""
    column = next((name for name in required if "\n" in row.get(name, "")), "")
    if column or sum(line.count('"') for line in lines) % 2:
        where = f"the value of '{column}'" if column else "a value"
        raise UsageError(
            f"'{path}' in {files.root}, line {start:,}: {where} goes on to line {start + len(lines) - 1:,}, so a quote "
            f"is not closed, and rows would be lost: '{lines[0][:60]}'; close it there, or fetch the file again"
        )


def header_of(files: Files, path: str) -> list[str]:
    """Return the column names of a CSV file; empty where its first line has none.

    Raises:
        UsageError: The first line is too long to be one of a table.
    """
    line = files.first_line(path)
    return _header(files, path, line, ())[1] if line.strip() else []


def _header(files: Files, path: str, line: str, required: Sequence[str]) -> tuple[str, list[str]]:
    """Return what parts the columns, and their names."""
    delimiter = max(_DELIMITERS, key=lambda d: (_has(line, d, required), line.count(d)))
    try:
        return delimiter, [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error as error:
        raise UsageError(
            f"'{path}' in {files.root}: its first line is no table's ({error}): fetch the file again, or move it "
            "elsewhere where it is not of the release"
        ) from None


def _has(line: str, delimiter: str, required: Sequence[str]) -> int:
    names = {name.strip().strip('"').casefold() for name in line.split(delimiter)}
    return sum(name.casefold() in names for name in required)


def _fitted(values: list[str], width: int, delimiter: str) -> list[str]:
    """Return as many values as there are columns, where a value holds the delimiter without quotes."""
    surplus = len(values) - width
    if surplus <= 0 or width > 3:
        return values + [""] * -surplus
    for end in range(1, surplus + 2):
        name = delimiter.join(values[:end])
        if is_image(name.strip()):
            rest = values[end:]
            spare = len(rest) - (width - 1)
            return [name, *rest[: width - 2], delimiter.join(rest[width - 2 :])] if spare >= 0 else values
    return [*values[: width - 1], delimiter.join(values[width - 1 :])]


def pairs(files: Files, path: str, *, last: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (first word, rest) of each line, or (all but the last word, last word) with ``last``.

    With ``last`` a line that is the name of an image alone comes with an empty last word.

    Raises:
        UsageError: A line has one word only.
    """
    for number, line in enumerate(files.text(path).split("\n"), 1):
        if not line.strip():
            continue
        words = line.strip().rsplit(maxsplit=1) if last else line.strip().split(maxsplit=1)
        if last and len(words) == 1 and is_image(words[0]):
            words.append("")
        if len(words) < 2:
            raise UsageError(
                f"'{path}' in {files.root}, line {number}: '{line.strip()[:60]}' where two words should be: it is of "
                "another version, or damaged"
            )
        yield words[0], words[1]


def read_mat(files: Files, path: str, required: Sequence[str]) -> dict[str, Any]:
    """Return the variables of a MATLAB file, single values as they are and not as 1 x 1 arrays.

    Raises:
        UsageError: It is damaged, of a version that cannot be read, or lacks a variable; or scipy is not installed.
    """
    try:
        loadmat = importlib.import_module("scipy.io").loadmat
    except ImportError:
        raise UsageError(
            f"'{path}' is a MATLAB file, which scipy reads: pip install 'rotogbml[releases]' (or scipy)"
        ) from None
    data = files.read(path)
    if data[:4] == b"\x89HDF" or b"MATLAB 7.3" in data[:128]:
        raise UsageError(
            f"'{path}' in {files.root} is a MATLAB 7.3 (HDF5) file, the release's is of version 5: fetch that, "
            "or save it again with -v7"
        )
    try:
        read = loadmat(io.BytesIO(data), squeeze_me=True, struct_as_record=True)
    except Exception as error:  # a damaged file can fail in every part of the reader in its own way
        raise UsageError(f"'{path}' in {files.root} is no MATLAB file, or damaged ({error}): fetch it again") from None
    lacking = [name for name in required if name not in read]
    if lacking:
        there = ", ".join(name for name in read if not name.startswith("__")) or "nothing"
        raise UsageError(f"'{path}' in {files.root} is of another version: no '{lacking[0]}' in it, but {there}")
    return read


def struct(files: Files, path: str, records: Any, required: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the records of a MATLAB struct array as dictionaries.

    Raises:
        UsageError: It is no struct, or lacks a field.
    """
    array = np.atleast_1d(records)
    names = array.dtype.names or ()
    lacking = [name for name in required if name not in names]
    if lacking:
        raise UsageError(
            f"'{path}' in {files.root} is of another version: no field '{lacking[0]}', but {', '.join(names) or 'none'}"
        )
    for record in array:
        yield {name: record[name] for name in names}


def numbers(files: Files, path: str, values: Any) -> np.ndarray:
    """Return whole numbers of a MATLAB file, int64 [n].

    Raises:
        UsageError: They are none.
    """
    try:
        return np.asarray(values).astype(np.int64).reshape(-1)
    except (TypeError, ValueError):
        raise UsageError(f"'{path}' in {files.root} is of another version: no numbers where they should be") from None


def read_json(files: Files, path: str, required: Sequence[str] = ()) -> Any:
    """Return a JSON file; an object must have the keys ``required``.

    Raises:
        UsageError: It is no JSON, or lacks a key.
    """
    try:
        tree = json.loads(files.text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"'{path}' in {files.root} is no JSON, or cut short ({error}): fetch it again") from None
    lacking = [key for key in required if not isinstance(tree, dict) or key not in tree]
    if lacking:
        there = ", ".join(map(str, tree))[:80] if isinstance(tree, dict) else type(tree).__name__
        raise UsageError(f"'{path}' in {files.root} is of another version: no '{lacking[0]}' in it, but {there}")
    return tree


def records(
    files: Files, path: str, tree: Mapping[str, Any], key: str, fields: Mapping[str, tuple[type, ...]]
) -> list[dict[str, Any]]:
    """Return the records that a JSON object has under a key; each must have these fields, of one of their types.

    Raises:
        UsageError: It is no list of objects, or a field is not there or of another type.
    """
    found = tree[key]
    if not isinstance(found, list):
        raise other_json(files, path, f"'{key}'", found, "a list")
    for number, each in enumerate(found, 1):
        if not isinstance(each, dict):
            raise other_json(files, path, f"entry {number:,} of '{key}'", each, "an object")
        for name, types in fields.items():
            if not isinstance(each.get(name), types):
                wanted = " or ".join(dict.fromkeys(_KINDS[type_] for type_ in types))
                raise other_json(files, path, f"'{name}' in entry {number:,} of '{key}'", each.get(name), wanted)
    return found


def other_json(files: Files, path: str, where: str, value: Any, wanted: str) -> UsageError:
    """Return the refusal of a value in a JSON file."""
    said = json.dumps(value)[:40] if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    is_ = f"{_KINDS[type(value)]}{f' ({said})' if said else ''}"
    return UsageError(
        f"'{path}' in {files.root} is of another version, or damaged: {where} is {is_} where {wanted} should be: "
        "fetch it again"
    )


def number(text: str) -> float:
    """Return a number, whichever sign parts its decimals.

    Raises:
        ValueError: It is none.
    """
    return float(text.strip().replace(",", "."))
