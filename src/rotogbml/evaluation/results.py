"""Result rows: what is said of every number, how two runs are compared, where rows are kept.

results.json       rows and paired differences: the same to the byte on every run of the same command
episodes.npz       the accuracy of every episode, by the row's key
calibration.npz    KEY|brier, float64 [episodes], and KEY|bins, float32 [episodes, 3, 15] (``calibration.py``)
timing.json        seconds of a task, by the row's key: the clock's, so not in the others (``cost.py``)
"""

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
from rotogbml.evaluation.calibration import Scored
from rotogbml.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd

    from rotogbml.evaluation.cost import Cost


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
    ece: float | None = None
    """Expected calibration error, 0 … 1; None where a score was not finite."""
    brier: float | None = None
    """Mean Brier score, 0 … 2; None where a score was not finite."""
    brier_ci95: float | None = None
    """Half width of its 95 % interval over episodes."""

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
        folder: where ``results.json`` and the files beside it lie, or will.

    Attributes:
        rows: by their keys.
        paired: differences between two runs.
        episodes: float64 [episodes] accuracies, by the row's key.
        calibration: what else is kept of every episode, by ``KEY|brier`` and ``KEY|bins``; rows of earlier versions
            have none.
        timing: ``Cost``, by the row's key; likewise.
        command: what was evaluated last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, dict[str, Any]] = {}
        self.paired: dict[str, dict[str, Any]] = {}
        self.episodes: dict[str, np.ndarray] = {}
        self.calibration: dict[str, np.ndarray] = {}
        self.timing: dict[str, dict[str, Any]] = {}
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
            results.episodes = _arrays(results.folder / "episodes.npz")
            results.calibration = _arrays(results.folder / "calibration.npz")
            if (results.folder / "timing.json").exists():
                results.timing = dict(json.loads((results.folder / "timing.json").read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError, OSError, zipfile.BadZipFile) as error:
            raise RotogbmlError(
                f"the results in {folder} are damaged ({error}): move them away and evaluate again"
            ) from error
        return results

    def add(self, row: Row, scored: Scored, cost: Cost) -> None:
        """Take a row, in place of an earlier one of the same key; rows of the same run at other weights go."""
        self._forget(row)
        self.rows[row.key] = {**asdict(row), "key": row.key}
        self.episodes[row.key] = scored.accuracy
        self.calibration |= {f"{row.key}|brier": scored.brier, f"{row.key}|bins": scored.bins}
        self.timing[row.key] = asdict(cost)

    def whole(self, key: str) -> dict[str, Any]:
        """Return a row with what the clock said of it, where it did."""
        return self.rows[key] | self.timing.get(key, {})

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
        self.calibration = {k: values for k, values in self.calibration.items() if k.rpartition("|")[0] not in stale}
        self.timing = {key: said for key, said in self.timing.items() if key not in stale}
        self.paired = {
            key: pair for key, pair in self.paired.items() if row.run not in (pair.get("run_a"), pair.get("run_b"))
        }

    def write(self) -> None:
        """Write the files, each atomically.

        Raises:
            RotogbmlError: the disk is full or the place cannot be written; what was there is kept.
        """
        tree = {"rows": list(self.rows.values()), "paired": list(self.paired.values()), "command": self.command}
        for name, arrays in (("episodes.npz", self.episodes), ("calibration.npz", self.calibration)):
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **arrays)
            write_atomic(self.folder / name, buffer.getvalue())
        write_atomic(self.folder / "timing.json", json.dumps(self.timing, indent=1, ensure_ascii=False) + "\n")
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
        return pd.DataFrame([self.whole(key) for key in self.rows])


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    with np.load(path) as stored:
        return {key: stored[key] for key in stored.files}


def _pair_key(pair: dict[str, Any]) -> str:
    return "|".join([*(str(pair[name]) for name in ("run_a", "run_b", "target", "split")), _task(pair)])


def _task(line: Mapping[str, Any]) -> str:
    return f"{line['n_way']}way{line['k_shot']}shot{line['n_query']}query|seed{line['test_seed']}"
