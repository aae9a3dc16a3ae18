"""Result rows: what is said of every number, how two runs are compared, where rows are kept."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rotogbml.errors import RotogbmlError
from rotogbml.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One method on one target. Accuracies are 0 … 1."""

    method: str
    run: str
    target: str
    split: str
    """Which of the target's classes: ``test``, or ``all`` of a source that was never trained on."""
    classes: int
    n_way: int
    k_shot: int
    n_query: int
    episodes: int
    norm: str
    inner_steps: int
    mean: float
    ci95: float
    """Half width of the 95 % interval over episodes."""
    training_seed: int | None
    """None where nothing was drawn."""
    test_seed: int
    sources: list[str]
    """What it was trained on; empty where nothing was trained."""
    steps: int
    checkpoint: str
    command: str
    """What measures this number again."""
    protocol: str = ""
    """The run's protocol, with its readings and where run or test depart from it; empty without one."""
    groups: str = ""
    """Lesions, leaves or patients ``apart`` (on one side of an episode only) or ``ignored``; empty: none are known."""

    @property
    def key(self) -> str:
        """Name of the row's per-episode accuracies: who was tested, on what, in which task."""
        who = self.run or self.method
        who += "" if self.checkpoint in ("", "best") else f" ({self.checkpoint})"
        who += " (groups ignored)" if self.groups == "ignored" else ""
        return "|".join([who, self.target, self.split, _task(vars(self))])


@dataclass(frozen=True)
class Paired:
    """Method a minus method b on the same episodes."""

    a: str
    b: str
    run_a: str
    run_b: str
    target: str
    split: str
    """Which classes; for a mean over targets every split among them."""
    difference: float
    ci95: float
    episodes: int
    n_way: int
    k_shot: int
    n_query: int
    test_seed: int


def stratified(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the mean over targets of each target's mean, and the half width of its 95 % interval.

    Targets are fixed, episodes vary: the variance of the mean is Σ_t σ_t² / n_t over the square of their number.
    """
    mean = float(np.mean([v.mean() for v in values]))
    variance = sum(v.var() / len(v) for v in values) / len(values) ** 2
    return mean, 1.96 * math.sqrt(variance)


class Results:
    """The rows of one evaluation folder, with the accuracy of every episode behind them.

    Args:
        folder: where ``results.json`` and ``episodes.npz`` lie, or will.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, dict[str, Any]] = {}
        self.paired: dict[str, dict[str, Any]] = {}
        self.episodes: dict[str, np.ndarray] = {}
        self.command = ""

    @classmethod
    def read(cls, folder: str | Path) -> Results:
        """Return what an evaluation folder holds; nothing where there is none yet.

        Raises:
            RotogbmlError: a file there is damaged.
        """
        results = cls(Path(folder))
        try:
            if (results.folder / "results.json").exists():
                tree = json.loads((results.folder / "results.json").read_text(encoding="utf-8"))
                results.rows = {row["key"]: row for row in tree["rows"]}
                results.paired = {_pair_key(pair): pair for pair in tree["paired"]}
                results.command = tree.get("command", "")
            if (results.folder / "episodes.npz").exists():
                with np.load(results.folder / "episodes.npz") as stored:
                    results.episodes = {key: stored[key] for key in stored.files}
        except (ValueError, KeyError, TypeError, AttributeError, OSError, zipfile.BadZipFile) as error:
            raise RotogbmlError(
                f"the results in {folder} are damaged ({error}): move them away and evaluate again"
            ) from error
        return results

    def add(self, row: Row, accuracies: np.ndarray) -> None:
        """Take a row, in place of an earlier one of the same key; rows of the same run at other weights go."""
        self._forget(row)
        self.rows[row.key] = {**asdict(row), "key": row.key}
        self.episodes[row.key] = accuracies

    def add_paired(self, pair: Paired) -> None:
        """Take a paired difference, in place of an earlier one of the same runs, target and task."""
        self.paired[_pair_key(asdict(pair))] = asdict(pair)

    def _forget(self, row: Row) -> None:
        """Drop what was measured of this run's checkpoint of that name after other steps."""
        stale = {
            key
            for key, old in self.rows.items()
            if row.run and old["run"] == row.run and old["checkpoint"] == row.checkpoint and old["steps"] != row.steps
        }
        if not stale:
            return
        self.rows = {key: old for key, old in self.rows.items() if key not in stale}
        self.episodes = {key: values for key, values in self.episodes.items() if key not in stale}
        self.paired = {
            key: pair for key, pair in self.paired.items() if row.run not in (pair.get("run_a"), pair.get("run_b"))
        }

    def write(self) -> None:
        """Write both files atomically.

        Raises:
            RotogbmlError: the disk is full or the place cannot be written; what was there is kept.
        """
        tree = {"rows": list(self.rows.values()), "paired": list(self.paired.values()), "command": self.command}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self.episodes)
        write_atomic(self.folder / "episodes.npz", buffer.getvalue())
        write_atomic(self.folder / "results.json", json.dumps(tree, indent=1, ensure_ascii=False) + "\n")

    def dataframe(self) -> pd.DataFrame:
        """Return the rows as a data frame (needs the extra ``report``).

        Raises:
            RotogbmlError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise RotogbmlError("data frames need pandas: pip install 'rotogbml[report]'") from error
        return pd.DataFrame(list(self.rows.values()))


def _pair_key(pair: dict[str, Any]) -> str:
    return "|".join([*(str(pair[name]) for name in ("run_a", "run_b", "target", "split")), _task(pair)])


def _task(line: Mapping[str, Any]) -> str:
    return f"{line['n_way']}way{line['k_shot']}shot{line['n_query']}query|seed{line['test_seed']}"
