"""One cell, carried out: trained, tested, said in one record. It is the work of one process with one thread."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import sys
import threading
import time
import zlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rotogbml.config import RunConfig
from rotogbml.errors import RotogbmlError
from rotogbml.files import write_atomic
from rotogbml.numbers import defined
from rotogbml.studies.plan import UNTRAINED, Budget, Cell, Plan, TestPlan

OUTCOME = "outcome.json"
"""What a cell leaves in its folder."""


@dataclass(frozen=True)
class Work:
    """A cell with all that its process must know.

    Attributes:
        cell: which.
        budget: how long it is trained; a run of less in the same place goes on, unless it began with another run.
        arguments: of ``rotogbml train``, but for the sources and the place.
        sources: packs, or ``glyphs``.
        folder: of this cell.
        trained: the folder of the cell whose training this one tests, mostly its own; the run is in ``run`` within it.
        test: how it is tested.
        digest: of the plan's words on it.
        start: the run that it begins with; None: it begins from scratch.
        pixels: whether it is tested as nearest prototypes on pixels.
    """

    cell: Cell
    budget: Budget
    arguments: tuple[str, ...]
    sources: tuple[str, ...]
    folder: Path
    trained: Path
    test: TestPlan
    digest: str
    start: Path | None = None
    pixels: bool = False

    @classmethod
    def of(cls, plan: Plan, cell: Cell, budget: Budget, folder: Path, sources: Sequence[str]) -> Work:
        """Return the work on a cell of a plan; ``folder`` is the study's."""
        trainer = plan.trainer(cell)
        start = plan.start(trainer)
        return cls(
            cell,
            budget,
            tuple(plan.arguments(trainer, budget)),
            tuple(sources),
            _place(folder, cell),
            _place(folder, trainer),
            plan.test,
            plan.digest(cell, budget),
            start=None if start is None else _place(folder, start) / "run",
            pixels=cell.setting in plan.pixels,
        )

    @property
    def run(self) -> Path:
        """The run's folder; of each budget its own where it begins with another run, which goes on too."""
        if self.start is None:
            return self.trained / "run"
        return self.trained / f"run-{self.budget.amount:.10g}-{self.budget.unit}"


def _place(folder: Path, cell: Cell) -> Path:
    return (folder / "cells" / cell.id).resolve()


def tested_on(config: RunConfig, target: str) -> RunConfig:
    """Return a run's configuration as that of a test on another target of its protocol; as it is without a protocol."""
    return config if config.protocol is None else replace(config, target=target)


def carry_out(work: Work) -> dict[str, Any]:
    """Train a cell to its budget, test it, write its outcome and return it.

    Raises:
        RotogbmlError: training or test failed; what was said is in the process's output.
    """
    from rotogbml.cli import main
    from rotogbml.studies.cost import seconds_at, training_cost

    began = time.monotonic()
    said = ["train", "--sources", *work.sources, "--out", str(work.run), *work.arguments]
    said += [] if work.start is None else ["--method.start", str(work.start)]
    code = main([*said, "--threads", "1", "--devices", "1"])
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise SystemExit(code)  # what is wrong was said
    cost, metrics = training_cost(work.run), work.run / "metrics.jsonl"
    validation = validation_of(metrics)
    cost["validation_seconds"] = seconds_at(work.run, [step for step, _, _ in validation])
    outcome: dict[str, Any] = _tested(work) | {"conflict": conflict_of(metrics), "validation": validation}
    outcome["cost"] = cost | outcome["cost"]
    outcome["seconds"] = round(time.monotonic() - began, 1)
    write_atomic(work.folder / OUTCOME, json.dumps(outcome, ensure_ascii=False) + "\n")
    return outcome


def _tested(work: Work) -> dict[str, Any]:
    """Return the record of a trained cell: whose it is, how it was tested, each episode's accuracy."""
    from rotogbml.evaluation.asked import asked_of, default_targets, protocol_label
    from rotogbml.evaluation.cost import cost
    from rotogbml.evaluation.dealing import scored
    from rotogbml.evaluation.methods import PIXELS, Adapted, Spec, load
    from rotogbml.evaluation.seen import Seen, honest_split
    from rotogbml.evaluation.work import Test
    from rotogbml.training import checkpoint
    from rotogbml.training.naming import method_name
    from rotogbml.training.run import RunFolder
    from rotogbml.training.sources import open_sources

    cell, plan = work.cell, work.test
    folder = RunFolder(work.run)
    config = tested_on(folder.read_config(), cell.target)
    found = open_sources(list(work.sources))
    name = cell.target if config.protocol is None else default_targets(config, found)[0]
    source, seen = found[name], Seen.by(str(work.run))
    split = honest_split(source, asked_of(config, found).split(name, "auto"), [seen])
    tests = {
        k_shot: Test(
            source,
            split,
            config.episodes.n_way,
            k_shot,
            plan.n_query,
            plan.seed,
            respect_groups=config.episodes.respect_groups,
        )
        for k_shot in plan.shots(cell.k_shot)
    }
    test = tests[min(tests)]
    specs = {kind: Spec("run", str(work.run), kind) for kind in plan.checkpoints}
    specs |= {kind: Spec("untrained", str(work.run), kind) for kind in plan.checkpoints if kind == UNTRAINED}
    load.cache_clear()
    method = load(specs[plan.checkpoints[0]], source.size)
    assert isinstance(method, Adapted)
    if work.pixels:
        specs = {kind: Spec("pixels", checkpoint=kind) for kind in plan.checkpoints}
    by_shots = {
        k_shot: scored(list(specs.values()), [each], plan.episodes, 1, lambda _: None) for k_shot, each in tests.items()
    }
    correct = {k_shot: _correct(specs, by_shots[k_shot], each) for k_shot, each in tests.items()}
    scores = {kind: by_shots[test.k_shot][spec, name] for kind, spec in specs.items()}
    timed = cost(load(specs[plan.checkpoints[0]], source.size), test, plan.episodes)
    return {
        **asdict(cell),
        "budget": list(work.budget),
        "steps": checkpoint.load(folder.checkpoints / "last.pt")["step"],  # the best one may be of an earlier step
        "plan": work.digest,
        "method": PIXELS if work.pixels else method_name(config),
        "n_way": test.n_way,
        "n_query": test.n_query,
        "split": test.split,
        "test_seed": test.seed,
        "protocol": protocol_label(config, test, seen.pixels, plan.episodes, found),
        **({"groups": test.groups} if test.groups else {}),
        "norm": "none" if work.pixels else method.norm,
        "sources": sorted(seen.pixels),
        "correct": correct.pop(test.k_shot),
        **({"correct_at": {str(k_shot): found for k_shot, found in correct.items()}} if correct else {}),
        "ece": {kind: _short(each.ece) for kind, each in scores.items()},
        "brier": {kind: _short(float(each.brier.mean())) for kind, each in scores.items()},
        "command": ["rotogbml", "train", *work.arguments],
        "cost": {"adapt_seconds": timed.adapt_seconds, "predict_seconds": timed.predict_seconds},
    }


def _short(value: float) -> float | None:
    """Return six digits of a number, for JSON."""
    return defined(float(f"{value:.6g}"))


def _correct(specs: Mapping[str, Any], scores: Mapping[Any, Any], test: Any) -> dict[str, str]:
    """Return the number of right queries of each episode, packed, for each checkpoint."""
    queries = test.n_way * test.n_query
    return {kind: packed(scores[spec, test.source.name].accuracy, queries) for kind, spec in specs.items()}


def packed(accuracies: np.ndarray, queries: int) -> str:
    """Return the number of right queries of each episode as text: two bytes each, zlib, base64."""
    right = np.rint(accuracies * queries).astype("<u2")
    return base64.b64encode(zlib.compress(right.tobytes(), 9)).decode()


def unpacked(text: str, queries: int) -> np.ndarray:
    """Return the accuracies, 0 … 1, that ``packed`` made into text."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u2") / queries


def conflict_of(metrics: Path) -> dict[str, float]:
    """Return how unlike the tasks' encoder gradients were in the second half of training.

    ``cosine``: the mean over pairs of tasks. ``spread``: the largest mean norm of a source over the smallest.
    ``turned``: the largest turn of any γ at the end, radians, where γ is kept.
    """
    lines = _lines(metrics, "train")
    lines = lines[len(lines) // 2 :]
    cosines = [line["cosine"]["encoder"] for line in lines if line["cosine"].get("encoder") is not None]
    spreads = [max(norms) / max(min(norms), 1e-30) for norms in map(_norms, lines) if norms]
    turned = list((lines[-1].get("gamma") or {}).values()) if lines else []
    means = {"cosine": cosines, "spread": spreads, "turned": [max(turned)] if turned else []}
    return {name: float(f"{np.mean(values):.5g}") for name, values in means.items() if values}


def validation_of(metrics: Path) -> list[tuple[int, float, float]]:
    """Return the course of validation: step, mean accuracy and the half width of its 95 % interval, 0 … 1, of each."""
    return [(line["step"], round(line["accuracy"], 5), round(line["ci95"], 5)) for line in _lines(metrics, "val")]


def _lines(metrics: Path, kind: str) -> list[dict[str, Any]]:
    """Return a run's metrics of a kind, ``train`` or ``val``; none where it wrote no metrics."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()] if metrics.exists() else []
    return [line for line in lines if line["kind"] == kind]


def _norms(line: Mapping[str, Any]) -> list[float]:
    return [source["norm"] for source in line["sources"].values()]


def serve() -> None:
    """Be a cell's process: the work on standard input, whose end is the parent's, words to the log that is given."""
    work: Work = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with _logged(work.folder / "log.txt"):
        try:
            carry_out(work)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except RotogbmlError as error:
            print(f"rotogbml: {error}")
            raise SystemExit(1) from None


def _end_with_parent() -> None:
    """End as the parent does, however it ends: a run may be cut off at any moment."""
    while os.read(0, 1):  # not through sys.stdin, which could not be closed at exit while this waits in it
        pass
    os._exit(3)


@contextlib.contextmanager
def _logged(path: Path) -> Generator[None]:
    """Send what is said to a file."""
    with (
        path.open("a", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield
