"""A result row as people read it: percent with two decimals, differences with their sign, and what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from rotogbml.numbers import defined, signed

Row = Mapping[str, Any]
T = TypeVar("T", bound=Row)

NOTHING = "–"


class Column(NamedTuple):
    """One column that people read: its heading, and whether it holds numbers."""

    title: str
    number: bool


COLUMNS = (
    Column("method", False),
    Column("target", False),
    Column("accuracy % ± 95 % CI", True),
    Column("n_way", True),
    Column("k_shot", True),
    Column("episodes", True),
    Column("queries", True),
    Column("norm", False),
    Column("training seed", True),
    Column("trained on", False),
)
ACCURACY = 2
PAIRED_COLUMNS = (
    Column("difference", False),
    Column("target", False),
    Column("points ± 95 % CI", True),
    Column("95 % interval", True),
    Column("episodes", True),
    Column("in words", False),
)


def cells(row: Row, names: int = 2) -> list[str]:
    """Return one row as people read it, a string for each of ``COLUMNS``; ``names``: sources spelt out."""
    return [
        _plain(row.get("method")),
        _target(row),
        percent(row.get("mean"), row.get("ci95")),
        _plain(row.get("n_way")),
        _plain(row.get("k_shot")),
        _plain(row.get("episodes")),
        _queries(row),
        _plain(row.get("norm")),
        _plain(row.get("training_seed")),
        shorten(row.get("sources") or [], names),
    ]


def paired_cells(pair: Row) -> list[str]:
    """Return one paired difference as people read it, a string for each of ``PAIRED_COLUMNS``."""
    low, high = _interval(pair)
    return [
        f"{pair.get('a')} − {pair.get('b')}",
        _target(pair),
        f"{signed_percent(pair.get('difference'))} ± {_points(pair.get('ci95'))}",
        f"{signed_percent(low)} to {signed_percent(high)}",
        _plain(pair.get("episodes")),
        verdict(pair),
    ]


def paired_table(paired: Sequence[Row]) -> tuple[str, Sequence[Column], list[list[str]]]:
    """Return what is compared, columns and body; methods that all pairs share are said once, not in a column."""
    body = [paired_cells(pair) for pair in paired]
    compared = {line[0] for line in body}
    if len(compared) == 1:
        return compared.pop(), PAIRED_COLUMNS[1:], [line[1:] for line in body]
    return "", PAIRED_COLUMNS, body


def by_target(rows: Sequence[T]) -> list[T]:
    """Return the rows with those of one target together; targets and methods keep their order."""
    order = list(dict.fromkeys(str(row.get("target")) for row in rows))
    return sorted(rows, key=lambda row: order.index(str(row.get("target"))))


def firsts(rows: Sequence[Row]) -> set[int]:
    """Return the indices where another target begins."""
    return {i for i, row in enumerate(rows) if i == 0 or row.get("target") != rows[i - 1].get("target")}


def best(rows: Sequence[Row]) -> set[int]:
    """Return the indices of the rows with the best mean of their target and task; equal as printed is equal."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, row in enumerate(rows):
        if defined(row.get("mean")) is not None:
            task = tuple(str(row.get(name)) for name in ("target", "split", "n_way", "k_shot", "n_query"))
            groups.setdefault(task, []).append(index)
    chosen: set[int] = set()
    for group in groups.values():
        top = max(round(100 * rows[index]["mean"], 2) for index in group)
        chosen |= {index for index in group if round(100 * rows[index]["mean"], 2) == top}
    return chosen


def protocols(rows: Sequence[Row]) -> list[str]:
    """Return a line on the protocol of every row that has one: its readings, and where run or test depart from it."""
    told = [row for row in rows if row.get("protocol")]
    said = (f"protocol of {row.get('method')} on {row.get('target')}: {row['protocol']}" for row in told)
    return list(dict.fromkeys(said))


def verdict(pair: Row) -> str:
    """Say in words whether a paired difference's 95 % interval excludes 0, and for whom that speaks.

    The interval is over test episodes of one training each: trained again, by another seed or other rounding, both may
    move by a point (docs/log.md, 2026-11-26).
    """
    low, high = _interval(pair)
    if low is None or high is None:
        return "no interval: too few paired episodes"
    if low <= 0 <= high:
        return "includes 0: no difference shown"
    return f"excludes 0: {pair.get('a' if low > 0 else 'b')} is better, as trained here"


def percent(mean: float | None, ci95: float | None) -> str:
    """Return ``'78.00 ± 1.10'`` for the fractions 0.78 and 0.011."""
    return f"{_points(mean)} ± {_points(ci95)}" if defined(mean) is not None else NOTHING


def is_mean(row: Row) -> bool:
    """Say whether a paired difference is the mean over several targets (its target is ``'mean of 6'``)."""
    return str(row.get("target")).removeprefix("mean of ").isdigit()


def shorten(sources: Sequence[str], names: int = 2) -> str:
    """Return the first few names and how many more there are: ``'greek, latin +3'``."""
    if not sources:
        return NOTHING
    head = ", ".join(map(str, sources[:names]))
    return head if len(sources) <= names else f"{head} +{len(sources) - names}"


def _interval(pair: Row) -> tuple[float | None, float | None]:
    middle, half = defined(pair.get("difference")), defined(pair.get("ci95"))
    return (None, None) if middle is None or half is None else (middle - half, middle + half)


def _points(fraction: float | None) -> str:
    number = defined(fraction)
    return NOTHING if number is None else f"{100 * number:.2f}"


def signed_percent(fraction: float | None) -> str:
    """Return a fraction as points with their sign, by the true minus; what rounds to zero has none."""
    number = defined(fraction)
    return NOTHING if number is None else signed(100 * number, 2)


def _queries(row: Row) -> str:
    n_query, n_way = row.get("n_query"), row.get("n_way")
    return NOTHING if n_query is None or n_way is None else str(n_query * n_way)


def _target(row: Row) -> str:
    target = _plain(row.get("target"))
    groups = row.get("groups")
    return f"{target} targets" if is_mean(row) else f"{target} (groups {groups})" if groups else target


def _plain(value: Any) -> str:
    return NOTHING if value is None else str(value)
