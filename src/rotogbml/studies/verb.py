"""``rotogbml study``: carry out a plan, look how far it is, print its table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rotogbml.errors import RotogbmlError, UsageError, did_you_mean
from rotogbml.files import make_folder, write_atomic
from rotogbml.lock import locked
from rotogbml.studies.carrying import carry_out, mean_seconds
from rotogbml.studies.check import check_cells
from rotogbml.studies.halving import ahead, rungs
from rotogbml.studies.ledger import FILE, Ledger
from rotogbml.studies.plan import Plan, Rung
from rotogbml.studies.plan_file import check, read_plan, written
from rotogbml.studies.pool import check_workers, create_pool
from rotogbml.studies.published import check_there, is_published, published_plan, words
from rotogbml.studies.render import Format, render
from rotogbml.studies.table import StudyRow, study_rows
from rotogbml.training.progress import clock
from rotogbml.training.sources import hold_out, open_sources

RUNS = Path("runs/study")
"""Where studies are kept if the user names no place."""
PLAN = "plan.yaml"
"""The plan as it was carried out, in the study's folder."""


def study(
    plan: str,
    sources: list[str],
    out: str | None = None,
    workers: int | None = None,
    stop_after: float | None = None,
    suite: Literal["paper", "core"] = "paper",
    targets: list[str] | None = None,
    learner: list[str] | None = None,
    seeds: int = 3,
    steps: int | None = None,
    minutes: float | None = None,
    k_shot: list[int] | None = None,
    episodes: int | None = None,
    n_query: int | None = None,
    options: dict[str, Any] | None = None,
    cluster: Literal["", "local", "slurm", "debug"] = "",
    cluster_options: dict[str, Any] | None = None,
) -> list[StudyRow]:
    """Carry out a declared grid of trainings, cell by cell; go on where it stopped.

    Args:
        plan: A plan that comes with the package, a YAML file, or a protocol (``rotogbml protocol list``): its table,
            each learner plain and with RotoGBML.
        sources: Packs made by ``rotogbml data pack``, or ``glyphs``; each target is held out of them in its turn.
        out: Folder of the study; runs/study/PLAN where not given. If it holds outcomes already, what is left is done.
        workers: Cells at once, one thread each; as many as cores where not given.
        stop_after: Begin no cell after so many minutes; a later call goes on. Not on a cluster.
        suite: Of a protocol: the paper's datasets, or the small public stand-ins (core).
        targets: Of a protocol; all where not given.
        learner: Of a protocol: one or several, such as imaml,maml; maml where not given.
        seeds: Of a protocol: how many, from 0.
        steps: Of a protocol: length of each training; the protocol's own where neither this nor minutes is given.
        minutes: Of a protocol: training time of each cell.
        k_shot: Of a protocol: one table each; its own where not given.
        episodes: Of a protocol: test episodes of each training; its own where not given.
        n_query: Of a protocol: test queries a class; its own where not given.
        options: Of a protocol: more options of ``rotogbml train`` for every cell, such as {"encoder.name": "conv4"}.
        cluster: Send the cells to a cluster through submitit: slurm; local tries the same with processes of this
            machine. Not given: processes of our own.
        cluster_options: Of submitit's executor, such as {"slurm_partition": "cpu", "timeout_min": 60}.

    Returns:
        A row for each budget, learner, k_shot, checkpoint and setting.

    Raises:
        UsageError: the plan, a source or an option cannot be used.
        RotogbmlError: a cell failed; the others are done and kept.
    """
    if is_published(plan):
        budget = Rung(steps=steps, minutes=minutes)
        chosen, learners = words(targets or ["all"]), words(learner or ["maml"])
        declared = published_plan(
            plan, suite, chosen, learners, seeds, budget, k_shot, episodes, n_query, options or {}
        )
        check(declared)
    else:
        _refuse_options(plan, targets, learner, steps, minutes, k_shot, episodes, n_query, options)
        declared = read_plan(plan)
    folder = _folder(declared.name, out)
    check_workers(workers)
    sources = [source if source == "glyphs" else str(Path(source).resolve()) for source in sources]
    _check_targets(declared, sources)
    make_folder(folder)
    with locked(folder, f"carrying out a study in {folder}"):
        ledger = Ledger(declared, folder / FILE)
        check_cells(declared, ahead(ledger), sources, folder, "leave it out of the plan")
        write_atomic(folder / PLAN, written(declared))
        if ledger.stale:
            print(f"{ledger.stale} outcomes in {folder / FILE} are of other plans or words: kept, not counted")
        pool = create_pool(folder, workers, stop_after, cluster, cluster_options)
        failed = carry_out(ledger, folder, sources, pool)
    rows = study_rows(ledger)
    print(render(declared, rows, "text"), end="")
    if failed:
        raise RotogbmlError(f"{len(failed)} cells failed, the first: {failed[0]}")
    return rows


def status(plan: str, out: str | None = None) -> None:
    """Say how far a study is: cells done and left, time used and left.

    Args:
        plan: As it was given to ``rotogbml study``.
        out: Folder of the study, or its results.jsonl; runs/study/PLAN where not given.

    Raises:
        UsageError: there is no such plan.
        RotogbmlError: the results cannot be read.
    """
    ledger = _opened(plan, out)
    declared = ledger.plan
    print(f"{declared.name}: {declared.about}".rstrip(": "))
    begun = rungs(ledger)
    for number, rung in enumerate(declared.rungs):
        if number >= len(begun):
            print(f"  {rung.budget}: waits for the budget before")
            continue
        settings = begun[number][1]
        cells = list(declared.cells(rung, settings))
        left = len(ledger.lacks(cells, rung.budget))
        print(f"  {rung.budget}: {len(cells) - left} of {len(cells)} cells done ({len(settings)} settings)")
    print(
        f"time of the cells, a core each: {clock(ledger.seconds)}; left at this pace, for one core: "
        f"{clock(_left(ledger))}"
    )


def table(plan: str, out: str | None = None, format: Format = "text", against: str | None = None) -> None:
    """Print a study's table, whole or as far as it is.

    Args:
        plan: As it was given to ``rotogbml study``.
        out: Folder of the study, or its results.jsonl; runs/study/PLAN where not given.
        format: text, markdown, csv or json; csv and json have every field.
        against: Setting that the others are compared with; the plan's own where not given.

    Raises:
        UsageError: there is no such plan or setting, or nothing of it is done there.
        RotogbmlError: the results cannot be read.
    """
    ledger = _opened(plan, out)
    if not ledger.done:
        name = ledger.plan.name
        raise UsageError(f"{ledger.path} holds no outcome of plan {name}: begin with 'rotogbml study {plan}'")
    if against is not None and against not in ledger.plan.settings:
        near = did_you_mean(against, ledger.plan.settings)
        raise UsageError(f"--against {against}: plan {ledger.plan.name} has no such setting{near}")
    asked = ledger.plan if against is None else replace(ledger.plan, against=against)
    print(render(asked, study_rows(ledger, against), format), end="")
    if format in ("text", "markdown"):
        print(f"\n{len(ledger.done)} cells, {clock(ledger.seconds)} on one core each.")


# From Python as on the command line: ``rotogbml.study.status(...)``, ``rotogbml.study.table(...)``.
vars(study).update(status=status, table=table)


def _folder(name: str, out: str | None) -> Path:
    return RUNS / name if out is None else Path(out)


def _opened(plan: str, out: str | None) -> Ledger:
    """Return the outcomes of a study, from its folder or its results.jsonl; a protocol's plan is the folder's."""
    declared = None if is_published(plan) else read_plan(plan)
    place = _folder(plan if declared is None else declared.name, out)
    file = place if place.is_file() else place / FILE
    if declared is None:
        kept = file.parent / PLAN
        if not kept.is_file():
            raise UsageError(
                f"{place} holds no study of {plan} ({PLAN} is missing): begin with 'rotogbml study {plan}'"
            )
        declared = replace(read_plan(str(kept)), name=plan)
    return Ledger(declared, file)


def _refuse_options(plan: str, *given: object) -> None:
    names = ("targets", "learner", "steps", "minutes", "k_shot", "episodes", "n_query", "options")
    for name, value in zip(names, given, strict=True):
        if value is not None:
            raise UsageError(f"--{name} is of a protocol's study: {plan} says it itself, in its YAML file")


def _check_targets(plan: Plan, sources: list[str]) -> None:
    found = open_sources(sources)
    if plan.protocol:
        check_there(plan, found)
        return
    for target in plan.targets:
        hold_out(found, [target])


def _left(ledger: Ledger) -> float:
    """Return the seconds of one core that are left, over all budgets."""
    plan, begun, total = ledger.plan, rungs(ledger), 0.0
    settings = len(plan.settings)
    for number, rung in enumerate(plan.rungs):
        if number < len(begun):
            names = begun[number][1]
            cells, settings = len(ledger.lacks(plan.cells(rung, names), rung.budget)), len(names)
        else:
            cells = settings * len(list(plan.cells(rung, (plan.against,))))
        total += cells * mean_seconds(ledger, rung.budget)
        kept = (rung.keep or 0) * (2 if plan.rivals else 1) + len({plan.against, *plan.always})
        settings = settings if rung.keep is None else min(settings, kept)
    return total
