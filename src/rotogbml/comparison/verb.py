"""``rotogbml compare``: train every method alike, look how far it is, print the table again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rotogbml.comparison.declared import Asked, comparison_plan
from rotogbml.comparison.own_values import replaced
from rotogbml.comparison.parts import Part, parts_of
from rotogbml.comparison.render import Format, render
from rotogbml.comparison.roster import ENTRIES, STARTS, entry_of
from rotogbml.comparison.rows import CompareRow
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.files import make_folder, write_atomic
from rotogbml.lock import locked
from rotogbml.method_presets import UNTRAINED
from rotogbml.studies.carrying import carry_out, mean_seconds, seconds_ahead
from rotogbml.studies.cell import Work
from rotogbml.studies.check import check_cells
from rotogbml.studies.ledger import FILE, Ledger
from rotogbml.studies.plan import Cell, Plan, Rung
from rotogbml.studies.plan_file import read_plan, written
from rotogbml.studies.pool import check_workers, create_pool
from rotogbml.studies.published import check_there, words
from rotogbml.training.progress import clock
from rotogbml.training.run import RunFolder
from rotogbml.training.sources import open_sources

RUNS = Path("runs/compare")
"""Where a comparison is kept if the user names no place."""
PLAN = "plan.yaml"
PAGE = "compare.html"
FILES: dict[str, Format] = {
    "table.txt": "text",
    "table.md": "markdown",
    "table.tex": "latex",
    "table.csv": "csv",
    "table.json": "json",
}
"""What is written beside the outcomes."""


def compare(
    sources: list[str],
    protocol: str | None = None,
    suite: Literal["paper", "core"] = "paper",
    targets: list[str] | None = None,
    methods: list[str] | None = None,
    without: list[str] | None = None,
    ours: str = "rotogbml-maml",
    minutes: float | None = None,
    steps: int | None = None,
    images: int | None = None,
    seeds: int = 2,
    k_shot: list[int] | None = None,
    episodes: int | None = None,
    n_query: int | None = None,
    single_source: str | None = None,
    start: str | None = None,
    untrained: bool = False,
    options: dict[str, Any] | None = None,
    out: str | None = None,
    workers: int | None = None,
    stop_after: float | None = None,
    cluster: Literal["", "local", "slurm", "debug"] = "",
    cluster_options: dict[str, Any] | None = None,
) -> list[CompareRow]:
    """Train all methods to one budget on the same targets and seeds, and put them into one table; restartable.

    Args:
        sources: Packs made by ``rotogbml data pack``, or ``glyphs``.
        protocol: A published setting (``rotogbml protocol list``); without one each target is held out in its turn.
        suite: Of a protocol: the paper's datasets, or the small public stand-ins (core).
        targets: What is tested; all of the protocol's where not given.
        methods: Rows, or groups of them (all, multi-source, fine-tuning, metric, gbml, ours), apart or with commas; all
            where not given. NAME-single trains on one source, rotogbml-NAME is a learner with RotoGBML.
        without: Rows or groups that are left out.
        ours: The row that all others are compared with.
        minutes: Budget: training time of each, on one core.
        steps: Budget: steps of the outer loop.
        images: Budget: training images seen.
        seeds: How many, from 0.
        k_shot: One table each; the protocol's own where not given, 1 without one.
        episodes: Test episodes of each training; the protocol's, or 600, where not given.
        n_query: Test queries a class; the protocol's, or 15, where not given.
        single_source: What rows on one source train on; of a protocol its miniImageNet where not given.
        start: Weights that frozen-prototype, linear-probe, finetune and mtl begin with (a run, a file, or
            hub:OWNER/NAME/FILE) in place of those trained here.
        untrained: Test each network before training too.
        options: More options of ``rotogbml train`` for every row, such as {"encoder.name": "conv4"}; those of
            ``learner.`` are of rows with an inner loop, and "NAME/option" is of one row alone.
        out: Folder of the comparison; runs/compare where not given. What is done there is not done again.
        workers: Trainings at once, one thread each; as many as cores where not given.
        stop_after: Begin no training after so many minutes; a later call goes on. Not on a cluster.
        cluster: Send the trainings to a cluster through submitit: slurm; local tries the same on this machine.
        cluster_options: Of submitit's executor.

    Returns:
        The table's rows.

    Raises:
        UsageError: a name, a number, or a method with its protocol or sources cannot be: said before anything trains.
        RotogbmlError: a training failed; the others are done and kept.
    """
    check_workers(workers)
    packs = [source if source == "glyphs" else str(Path(source).resolve()) for source in sources]
    found = open_sources(packs)
    asked = Asked(
        protocol=protocol or "",
        suite=suite,
        targets=tuple(words(targets or [])),
        methods=tuple(methods or ["all"]),
        without=tuple(without or []),
        ours=ours,
        budget=Rung(steps=steps, minutes=minutes, images=images),
        seeds=seeds,
        k_shot=None if k_shot is None else tuple(k_shot),
        episodes=episodes,
        n_query=n_query,
        single_source=single_source,
        start=start,
        untrained=untrained,
        options=options or {},
    )
    plan, left_out = comparison_plan(asked, packs, found)
    if plan.protocol:
        check_there(plan, found)
    folder = RUNS if out is None else Path(out)
    make_folder(folder)
    with locked(folder, f"carrying out a comparison in {folder}"):
        ledger = Ledger(plan, folder / FILE)
        budget = plan.rungs[0].budget
        lacking = ledger.lacks(plan.cells(plan.rungs[0]), budget)
        for cell, _ in ledger.done:  # the digests of outcomes know a file by its name
            start = plan.settings[cell.setting].get("method.start")
            RunFolder(Work.of(plan, cell, budget, folder, packs).run).check_start(start)
        check_cells(plan, [(cell, budget) for cell in lacking], packs, folder, "leave it out (--without NAME)")
        write_atomic(folder / PLAN, written(plan))
        pool = create_pool(folder, workers, stop_after, cluster, cluster_options)
        _announce(ledger, lacking, left_out, pool.workers)
        failed = carry_out(ledger, folder, packs, pool)
    parts = parts_of(ledger)
    print(render(plan, parts, "text"), end="")
    _write(plan, parts, folder)
    if failed:
        raise RotogbmlError(f"{len(failed)} trainings failed, the first: {failed[0]}")
    left = ledger.lacks(plan.cells(plan.rungs[0]), budget)
    if left:
        print(f"{len(left)} trainings are left: the same command goes on")
    return [row for part in parts for row in part.rows]


def status(out: str | None = None) -> None:
    """Say how far a comparison is, row by row, and the time that is left.

    Args:
        out: Its folder; runs/compare where not given.

    Raises:
        UsageError: there is no comparison.
        RotogbmlError: the results cannot be read.
    """
    ledger = opened(out)
    plan, budget = ledger.plan, ledger.plan.rungs[0].budget
    cells = list(plan.cells(plan.rungs[0]))
    left = ledger.lacks(cells, budget)
    print(f"{budget} each, targets {', '.join(plan.targets)}: {len(cells) - len(left)} of {len(cells)} trainings done")
    each = len(cells) // len(plan.settings)
    for setting in plan.settings:
        lacks = sum(cell.setting == setting for cell in left)
        if lacks:
            for_others = ", for others to begin with" if setting in plan.hidden else ""
            print(f"  {setting} ({entry_of(setting).label}{for_others}): {each - lacks} of {each}")
    print(f"time so far, a core each: {clock(ledger.seconds)}; left, for one core: {clock(_ahead(ledger, left))}")


def table(out: str | None = None, format: Format = "text") -> None:
    """Print a comparison's table, whole or as far as it is, and write all its files again; nothing is trained.

    Args:
        out: Its folder; runs/compare where not given.
        format: text, markdown, latex, csv or json; csv and json have every field.

    Raises:
        UsageError: there is no comparison, or nothing of it is done.
        RotogbmlError: the results cannot be read.
    """
    ledger = opened(out)
    if not ledger.done:
        raise UsageError(f"{ledger.path} holds no outcome of this comparison: begin with 'rotogbml compare'")
    parts = parts_of(ledger)
    print(render(ledger.plan, parts, format), end="")
    _write(ledger.plan, parts, ledger.path.parent)


# From Python as on the command line: ``rotogbml.compare.status(...)``, ``rotogbml.compare.table(...)``.
vars(compare).update(status=status, table=table)


def opened(out: str | None) -> Ledger:
    """Return the plan and outcomes of a comparison's folder; runs/compare where not given.

    Raises:
        UsageError: there is no comparison.
        RotogbmlError: the results cannot be read.
    """
    folder = RUNS if out is None else Path(out)
    kept = folder / PLAN
    if not kept.is_file():
        raise UsageError(f"{folder} holds no comparison ({PLAN} is missing): begin with 'rotogbml compare'")
    plan = replace(read_plan(str(kept)), name="comparison")
    if not set(plan.settings) <= ENTRIES.keys() | STARTS.keys():
        raise UsageError(f"{kept} is a study's, not a comparison's: 'rotogbml study table' prints it")
    return Ledger(plan, folder / FILE)


def _write(plan: Plan, parts: Sequence[Part], folder: Path) -> None:
    from rotogbml.comparison.page import page

    if not any(part.rows for part in parts):
        return
    for name, format in FILES.items():
        write_atomic(folder / name, render(plan, parts, format))
    command = shlex.join(["rotogbml", "compare", "table", "--out", str(folder)])
    write_atomic(folder / PAGE, page(plan, parts, command))
    print(f"\n{folder / PAGE}; {', '.join(FILES)} beside it")


def _announce(ledger: Ledger, lacking: list[Cell], left_out: list[str], workers: int) -> None:
    """Say what is left out, how many trainings there are and what they take at the least."""
    plan = ledger.plan
    if ledger.stale:
        print(f"{ledger.stale} outcomes in {ledger.path} are of other plans or words: kept, not counted")
    for line in left_out:
        print(f"left out: {line}")
    for line in replaced(plan):
        print(line)
    settings = [name for name in plan.settings if name not in plan.hidden]
    starts = f", {len(plan.hidden)} runs that others begin with" if plan.hidden else ""
    print(
        f"{len(settings)} rows{starts}, {len(plan.targets)} targets, {len(plan.seeds)} seeds, "
        f"{plan.rungs[0].budget} each: {_count(plan, lacking)} to do, {len(ledger.done)} done",
        flush=True,
    )
    ahead = _ahead(ledger, lacking)
    if ahead and lacking:
        print(f"about {clock(ahead / workers)} with {workers} at once, tests aside", flush=True)


def _trainings(plan: Plan, cells: list[Cell]) -> list[Cell]:
    return list(dict.fromkeys(map(plan.trainer, cells)))


def _count(plan: Plan, cells: list[Cell]) -> str:
    """Return how many trainings there are, and how many tests where several targets are tested on one training."""
    trainings = len(_trainings(plan, cells))
    return f"{trainings} trainings" if trainings == len(cells) else f"{trainings} trainings with {len(cells)} tests"


def _ahead(ledger: Ledger, cells: list[Cell]) -> float:
    """Return the seconds of one core that some cells take: as others took, or their minutes where none is done."""
    plan, budget = ledger.plan, ledger.plan.rungs[0].budget
    if mean_seconds(ledger, budget) or budget.unit != "minutes":
        return seconds_ahead(ledger, cells, budget)
    trained = (
        cell for cell in _trainings(plan, cells) if plan.settings[cell.setting].get("method.name") not in UNTRAINED
    )
    return sum(60 * budget.amount * plan.shares.get(cell.setting, 1.0) for cell in trained)
