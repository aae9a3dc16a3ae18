"""What validation would have kept of the last state and the running mean of each training.

``python -m docs.judged`` prints the table from ``docs/study/judged.jsonl``. ``python -m docs.judged STUDY`` makes that
file, from the folder in which stage 1 was carried out; it goes on where it was stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from docs.averaging import points, states, trainings
from docs.study_tables import ledger_of

from rotogbml.evaluation.methods import Spec, load
from rotogbml.studies.cell import packed, unpacked
from rotogbml.studies.ledger import Ledger
from rotogbml.studies.statistics import Difference, bootstrap_episodes
from rotogbml.studies.table import Tested
from rotogbml.training.assemble import assemble
from rotogbml.training.run import RunFolder
from rotogbml.training.state import AVERAGED, LAST

KEPT = Path(__file__).resolve().parent / "study" / "judged.jsonl"
STUDY, STEPS = "stage1", 600
EPISODES = (160, 100)
"""Of a validation at most, as many of each source: all that were taken, and what is usual (100)."""


def judged(study: Path) -> Iterator[dict[str, Any]]:
    """Validate both states of each training of the study's last budget; one record a training."""
    ledger = ledger_of(STUDY)
    known = {_key(line) for line in lines()}
    for cell, budget in ledger.done:
        if budget.amount != STEPS or (cell.setting, cell.target, cell.seed) in known:
            continue
        run = study / "cells" / cell.id / "run"
        config = RunFolder(run).read_config()
        config = replace(config, outer=replace(config.outer, validation_episodes=EPISODES[0]))
        parts = assemble(config, torch.device("cpu"))
        validation, queries = parts.validation, config.episodes.n_way * config.episodes.n_query
        record: dict[str, Any] = {"setting": cell.setting, "target": cell.target, "seed": cell.seed}
        record["sources"] = list(validation.samplers)
        for kind in (LAST, AVERAGED):
            method = load(Spec("run", str(run), kind), parts.size)
            record[kind] = packed(validation.scores(method.learner, method.psi).reshape(-1), queries)
        yield record | {"queries": queries}


def lines() -> list[dict[str, Any]]:
    """Return what is kept, a record a training."""
    return [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()] if KEPT.exists() else []


def _key(line: dict[str, Any]) -> tuple[str, str, int]:
    return line["setting"], line["target"], line["seed"]


def prefers_mean(line: dict[str, Any], episodes: int) -> bool:
    """Return whether a validation of so many episodes, as many of each source, prefers the running mean."""
    each = episodes // len(line["sources"])
    last, averaged = (
        unpacked(line[kind], line["queries"]).reshape(len(line["sources"]), -1)[:, :each].mean()
        for kind in (LAST, AVERAGED)
    )
    return bool(averaged > last)


def chosen(ledger: Ledger, episodes: int) -> tuple[int, int, Difference, Difference]:
    """Return how often the mean is preferred, of how many, and what that choice is worth on the held-out target.

    Returns:
        preferred, trainings, chosen − last, chosen − averaged; differences 0 … 1, bootstrap over targets and seeds.
    """
    mean = {_key(line): prefers_mean(line, episodes) for line in lines()}
    last, averaged = states(ledger)

    def over(base: Tested) -> Difference:
        gaps = [
            [
                [(averaged if mean[_key(cell)] else last).accuracy(cell) - base.accuracy(cell) for cell in row]
                for row in cells
            ]
            for cells in trainings(ledger, STEPS).values()
        ]
        return bootstrap_episodes(np.mean(gaps, axis=0))

    return sum(mean.values()), len(mean), over(last), over(averaged)


def table() -> str:
    """Return the Markdown table."""
    out = [
        "| episodes of validation | running mean kept | chosen − last, points | chosen − averaged |",
        "|---:|---:|---:|---:|",
    ]
    ledger = ledger_of(STUDY)
    for episodes in EPISODES:
        preferred, trainings, *found = chosen(ledger, episodes)
        said = [points(difference) for difference in found]
        out.append(f"| {episodes} | {preferred} of {trainings} | {said[0]} | {said[1]} |")
    return "\n".join(out)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        for record in judged(Path(sys.argv[1])):
            with KEPT.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
    print(table())
