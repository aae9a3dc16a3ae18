"""What a run leaves to read: ``metrics.jsonl``, the same to the bit on every run, and ``timing.jsonl``, the clock."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from rotogbml.errors import RotogbmlError
from rotogbml.files import cannot_write
from rotogbml.homogenizer.conflict import Angles, angles, angles_of_gram, by_pair, gramian
from rotogbml.training.conflicts import Sums, averages, tally
from rotogbml.training.ranks import ALONE, Ranks

COMPARED = 64
"""Tasks of a minibatch whose gradients are compared with each other, the first ones: pairs grow with the square."""

KINDS = ("encoder", "feature_before", "feature_after")
"""Gradients whose cosines are logged for each pair of sources."""


@dataclass(frozen=True)
class StepRecord:
    """One meta-step in numbers; task i of N came from ``sources[i]``."""

    sources: tuple[str, ...]
    losses: list[float]
    accuracies: list[float]
    norms: list[float]
    """‖∇_θ L_i‖."""
    omega: list[float]
    encoder: Tensor
    """[N, P] ∇_θ L_i as it reaches the encoder; of several processes, the columns that this one holds."""
    feature_before: Tensor
    """[N, m] feature gradients without γ."""
    feature_after: Tensor
    """[N, m] feature gradients with γ, in the space where γ aligns them."""
    notes: dict[str, float] = field(default_factory=dict)
    """What the learner has to say of its meta-gradients, averaged over tasks."""
    head: Tensor | None = None
    """[N, |φ|] ∇_φ L_i; None where nothing of the head is learned."""
    failures: list[str] = field(default_factory=list)
    """The class of each task that was least often right; empty names where nobody asks."""


class Recorder:
    """Averages steps over an interval and appends one line of metrics for each.

    Its unfinished interval and the length of the file are part of a checkpoint (``state_dict``), so that a resumed
    run writes the very bytes of an uninterrupted one. Of several processes the first alone keeps and writes; the others
    give their share of the cosines of encoder gradients, of which each holds some columns.
    """

    def __init__(self, folder: Path, ranks: Ranks = ALONE) -> None:
        self.metrics, self.timing = folder / "metrics.jsonl", folder / "timing.jsonl"
        self.ranks = ranks
        self.bytes = 0
        self._reset()

    def _reset(self) -> None:
        self.steps = 0
        self.loss = self.accuracy = 0.0
        self.by_source: dict[str, dict[str, float]] = {}
        self.by_pair: dict[str, dict[str, tuple[float, int]]] = {}
        self.notes: dict[str, float] = {}
        self.conflict: Sums = {}

    def add(self, record: StepRecord) -> None:
        """Take one step into the running interval."""
        encoder = self._angles(record.encoder)
        head = None if record.head is None else self._angles(record.head)
        if not self.ranks.first:
            return
        n = len(record.sources)
        self.steps += 1
        self.loss += sum(record.losses) / n
        self.accuracy += sum(record.accuracies) / n
        rows = zip(record.sources, record.losses, record.accuracies, record.norms, record.omega, strict=True)
        for source, loss, accuracy, norm, omega in rows:
            sums = self.by_source.setdefault(source, {})
            parts = {"tasks": 1, "loss": loss, "accuracy": accuracy, "norm": norm}
            parts |= {"weighted_norm": abs(omega) * norm, "omega": omega}  # some rivals weigh below 0
            for name, part in parts.items():
                sums[name] = sums.get(name, 0) + part
        for name, value in record.notes.items():
            self.notes[name] = self.notes.get(name, 0.0) + value
        features = angles(record.feature_after[:COMPARED]), angles(record.feature_before[:COMPARED])
        omega, sources = record.omega[:COMPARED], record.sources[:COMPARED]
        tally(self.conflict, sources, omega, (encoder, None), (head, None), features)
        compared = {"encoder": encoder, "feature_before": features[1], "feature_after": features[0]}
        for kind, found in compared.items():
            for pair, values in by_pair(found.cosine, sources).items():
                sums = self.by_pair.setdefault(json.dumps(pair), {})
                total, count = sums.get(kind, (0.0, 0))
                sums[kind] = (total + sum(values), count + len(values))

    def _angles(self, columns: Tensor) -> Angles:
        """Return lengths and angles of the tasks' gradients, [N, P]; of several processes each holds some columns.

        A product of two gradients is a sum over columns, so that one number for two tasks is all that travels.
        """
        if self.ranks.world == 1:
            return angles(columns[:COMPARED])
        gram = gramian(columns[:COMPARED])
        return angles_of_gram(gram.new_tensor(self.ranks.sum(gram.flatten().tolist())).view_as(gram))

    def line(self, step: int, omega: dict[str, float], gamma: dict[str, float]) -> dict[str, Any]:
        """Return the interval's averages, with ω and the turn of γ as they are now, and begin the next one."""
        sources = {
            name: {key: part if key == "tasks" else part / sums["tasks"] for key, part in sums.items()}
            for name, sums in sorted(self.by_source.items())
        }
        pairs = [
            [*json.loads(pair), {"count": sums.get("encoder", (0.0, 0))[1], **{k: _mean([sums], k) for k in KINDS}}]
            for pair, sums in sorted(self.by_pair.items())
        ]
        mean = {kind: _mean(self.by_pair.values(), kind) for kind in KINDS}
        line = {
            "kind": "train",
            "step": step,
            "loss": self.loss / self.steps,
            "accuracy": self.accuracy / self.steps,
            "sources": sources,
            "omega": omega,
            "gamma": gamma,
            "cosine": mean,
            "pairs": pairs,
            "conflict": averages(self.conflict),
        }
        if self.notes:
            line["learner"] = {name: value / self.steps for name, value in self.notes.items()}
        self._reset()
        return line

    def write(self, line: dict[str, Any]) -> None:
        """Append a line of metrics."""
        self.bytes += _append(self.metrics, line)

    def time(self, step: int, seconds: float, tasks_per_second: float) -> None:
        """Append a line of timing."""
        _append(
            self.timing, {"step": step, "seconds": round(seconds, 3), "tasks_per_second": round(tasks_per_second, 3)}
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the unfinished interval and the length of the metrics file."""
        names = ("bytes", "steps", "loss", "accuracy", "by_source", "by_pair", "notes", "conflict")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint: what was written after it is cut off and will be written again.

        Raises:
            RotogbmlError: the metrics file is shorter than the checkpoint says.
        """
        for name, part in state.items():
            setattr(self, name, part)
        self.rewind()

    def sync(self) -> None:
        """Bring the metrics to the disk itself."""
        if not self.metrics.exists():
            return
        try:
            with self.metrics.open("rb+") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.metrics, error) from error

    def rewind(self) -> None:
        """Cut off what stands in the metrics file beyond this recorder's state; the first process does.

        Raises:
            RotogbmlError: the file is shorter than that.
        """
        if not self.ranks.first:
            return
        length = self.metrics.stat().st_size if self.metrics.exists() else 0
        if length < self.bytes:
            raise RotogbmlError(
                f"{self.metrics} holds {length} bytes where the checkpoint knows of {self.bytes}: it was changed by "
                "another program. Put it back, or start again in another --out"
            )
        if length > self.bytes:
            with self.metrics.open("rb+") as file:
                file.truncate(self.bytes)


def _mean(sums: Iterable[dict[str, tuple[float, int]]], kind: str) -> float | None:
    """Return the mean over all (total, count) of a kind; None where there was nothing to compare."""
    parts = [part[kind] for part in sums if kind in part]
    count = sum(count for _, count in parts)
    return sum(total for total, _ in parts) / count if count else None


def _append(path: Path, line: dict[str, Any]) -> int:
    data = (json.dumps(line, ensure_ascii=False) + "\n").encode()
    try:
        with path.open("ab") as file:
            return file.write(data)
    except OSError as error:
        raise cannot_write(path, error) from error
