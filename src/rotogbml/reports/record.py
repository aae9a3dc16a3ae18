"""A run folder, read: configuration, identity, metrics, results and examples.

Only ``config.yaml`` makes a folder a run. All else may be missing (not evaluated yet, stopped early) or cut off by
a kill; what could not be read is kept as a sentence in ``notes``, so that the report can say it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rotogbml.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Example:
    """One test episode with the predictions of each method; labels are indices into ``classes``."""

    target: str
    classes: list[str]
    support_x: np.ndarray  # uint8 [n, s, s, 3]
    support_y: np.ndarray
    query_x: np.ndarray  # uint8 [q, s, s, 3]
    query_y: np.ndarray
    predictions: dict[str, np.ndarray]


@dataclass
class RunRecord:
    """What a run folder holds. ``name`` is the folder's own; no array of weights is read."""

    path: Path
    name: str
    config_text: str
    config: dict[str, Any]
    identity: dict[str, Any]
    metrics: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    results: dict[str, Any]
    examples: list[Example]
    seconds: dict[str, Any] = field(default_factory=dict)
    """What the clock said of result rows, by their keys."""
    notes: list[str] = field(default_factory=list)

    @property
    def train(self) -> list[dict[str, Any]]:
        """Return the training lines of metrics.jsonl, in order of steps."""
        return [line for line in self.metrics if line.get("kind") == "train"]

    @property
    def validation(self) -> list[dict[str, Any]]:
        """Return the validation lines of metrics.jsonl, in order of steps."""
        return [line for line in self.metrics if line.get("kind") == "val"]


def read_run(folder: str | Path) -> RunRecord:
    """Read a run folder.

    Raises:
        UsageError: it does not exist, or is no run folder.
    """
    path = Path(folder)
    if not path.is_dir():
        near = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise UsageError(f"no run folder '{path}'{did_you_mean(path.name, near)}; give one that `rotogbml train` wrote")
    config_path = path / "config.yaml"
    if not config_path.is_file():
        raise UsageError(f"'{path}' is no run folder: it has no config.yaml; give one that `rotogbml train` wrote")
    notes: list[str] = []
    config_text = config_path.read_text(encoding="utf-8", errors="replace")
    record = RunRecord(
        path=path,
        name=path.resolve().name,
        config_text=config_text,
        config=_yaml(config_text, notes),
        identity=_json(path / "run.json", notes),
        metrics=_lines(path / "metrics.jsonl", notes),
        timing=_lines(path / "timing.jsonl", notes),
        results=_json(path / "evaluation" / "results.json", notes),
        examples=_examples(path / "evaluation" / "examples.npz", notes),
        seconds=_json(path / "evaluation" / "timing.json", notes),
        notes=notes,
    )
    record.metrics.sort(key=lambda line: line.get("step", 0))
    return record


def unique(items: Iterable[Any]) -> list[Any]:
    """Return the items in their order, each once; they need not be hashable."""
    seen: list[Any] = []
    for item in items:
        if item not in seen:
            seen.append(item)
    return seen


def _yaml(text: str, notes: list[str]) -> dict[str, Any]:
    import yaml

    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError:
        loaded = None
    if not isinstance(loaded, dict):
        notes.append("config.yaml could not be read as YAML; it is shown below as it stands.")
        return {}
    return loaded


def _json(path: Path, notes: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        loaded = None
    if not isinstance(loaded, dict):
        notes.append(f"{path.name} is damaged and was left out.")
        return {}
    return loaded


def _lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    good: list[dict[str, Any]] = []
    damaged = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            loaded = json.loads(line)
        except ValueError:
            loaded = None
        if isinstance(loaded, dict):
            good.append(loaded)
        elif line.strip():
            damaged += 1
    if damaged:
        notes.append(f"{path.name}: {damaged} damaged line{'s were' if damaged > 1 else ' was'} left out.")
    return good


def _examples(path: Path, notes: list[str]) -> list[Example]:
    if not path.is_file():
        return []
    found: list[Example] = []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            while f"{len(found)}/support_x" in arrays.files:
                found.append(_example(arrays, f"{len(found)}/"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        notes.append(f"{path.name} is damaged: {len(found)} of its episodes could be read.")
    return found


def _example(arrays: Any, prefix: str) -> Example:
    start = f"{prefix}pred/"
    return Example(
        target=str(arrays[f"{prefix}target"]),
        classes=[str(name) for name in arrays[f"{prefix}classes"]],
        support_x=arrays[f"{prefix}support_x"],
        support_y=arrays[f"{prefix}support_y"],
        query_x=arrays[f"{prefix}query_x"],
        query_y=arrays[f"{prefix}query_y"],
        predictions={name[len(start) :]: arrays[name] for name in arrays.files if name.startswith(start)},
    )
