"""What each cell will be, found out before any is trained: its configuration, its parts, its test, its place."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from rotogbml import parsing
from rotogbml.config import RunConfig, changed
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.evaluation.asked import asked_of, default_targets
from rotogbml.evaluation.work import Test
from rotogbml.sources.packed import PackedSource
from rotogbml.studies.cell import Work, tested_on
from rotogbml.studies.plan import Budget, Cell, Plan
from rotogbml.training.assemble import assemble
from rotogbml.training.outer import anneals
from rotogbml.training.protocol import apply
from rotogbml.training.resolve import resolve
from rotogbml.training.run import RunFolder
from rotogbml.training.sources import open_sources
from rotogbml.training.verb import as_given
from rotogbml.training.work import check_length


def configuration(plan: Plan, work: Work) -> RunConfig:
    """Return the resolved configuration of the training that a cell tests, as ``rotogbml train`` makes it.

    Raises:
        UsageError: options that cannot be, or do not go together.
    """
    cell = plan.trainer(work.cell)
    given = _read(work.sources, tuple(plan.chosen(cell)))
    own = plan.own(cell, work.budget)
    if work.start is not None:
        own["method.start"] = str(work.start)
    top = {name: value for name, value in own.items() if "." not in name}
    config = as_given(**{f.name: (given | top)[f.name] for f in fields(RunConfig)})
    for name in own.keys() - top.keys():
        config = changed(config, name, own[name])
    return resolve(apply(config, [*given["insist"], *own]))


@cache
def _read(sources: tuple[str, ...], words: tuple[str, ...]) -> dict[str, Any]:
    """Return what ``rotogbml train`` is given by words that many cells share."""
    return parsing.read("train", ["--sources", *sources, "--out", "", *words])


def check_cells(
    plan: Plan, cells: Iterable[tuple[Cell, Budget]], sources: Sequence[str], folder: Path, leave_out: str
) -> None:
    """Build what each cell trains and is tested on, and let it go: what cannot be is said before anything trains.

    Args:
        plan: whose cells.
        cells: those that are not done, with their budgets.
        sources: packs, or ``glyphs``.
        folder: of the study. Where a cell has begun there, it must be as far as it is the run that it would be.
        leave_out: how a setting is left out, in words.

    Raises:
        UsageError: a setting lacks a package, or does not go with a learner, a target or a source; or the folder holds
            other runs. All settings are named that cannot be, each with why and how it is mended.
    """
    found = open_sources(list(sources))
    groups: dict[Cell, list[Work]] = {}
    for cell, budget in cells:  # that of the first seed stands for those of all
        groups.setdefault(replace(cell, seed=plan.seeds[0]), []).append(Work.of(plan, cell, budget, folder, sources))
    bad: dict[str, list[Cell]] = {}
    elsewhere: list[str] = []
    with _unsaid():
        for cell, works in groups.items():
            try:
                config = configuration(plan, works[0])
                if works[0].start is not None:  # it is trained first; weights of the user's are read here
                    config = changed(config, "method.start", None)
                _check_rungs(config, works)
                training = assemble(config, torch.device("cpu")).sources
                _check_test(plan, cell, tested_on(config, cell.target), found)
            except UsageError as error:
                bad.setdefault(str(error), []).append(cell)
            else:
                elsewhere += [said for work in works if (said := _elsewhere(plan, work, training))]
    said = []
    if bad:
        lines = "; ".join(f"{_named(plan, cells)}: {why}" for why, cells in bad.items())
        count = len({cell.setting for cells in bad.values() for cell in cells})
        said.append(
            f"{count} of {len(plan.settings)} settings cannot be carried out: {lines}. Mend that, or {leave_out}"
        )
    if elsewhere:
        said.append(
            f"{len(elsewhere)} trainings cannot go on as they began in {folder}: {elsewhere[0]}; or {leave_out}"
        )
    if said:
        raise UsageError(f"nothing is begun. {'. '.join(said)}")


def _check_rungs(config: RunConfig, works: Sequence[Work]) -> None:
    """Raise UsageError where a run is to go on to a longer budget and cannot: its steps depend on its whole length."""
    budgets = dict.fromkeys(str(work.budget) for work in works)
    if len(budgets) > 1 and anneals(config):
        raise UsageError(
            f"its steps anneal over the whole of training, so that a run of {next(iter(budgets))} cannot go on to "
            f"{list(budgets)[-1]}: give the plan one rung"
        )


def _elsewhere(plan: Plan, work: Work, training: dict[str, PackedSource]) -> str:
    """Return why a cell cannot go on in its place; empty where it can, or has not begun."""
    run = RunFolder(work.run)
    if not run.config.exists():
        return ""
    try:
        config = configuration(plan, work)
        run.check_same(config, training)
        check_length(run, config)
    except UsageError as error:
        return str(error)
    except RotogbmlError:
        pass  # damage is this cell's alone: it says so itself, and the others need not wait
    return ""


def _named(plan: Plan, cells: Sequence[Cell]) -> str:
    """Return the settings of some cells, with their learners, targets and shots where these are not all."""
    settings: dict[str, list[str]] = {}
    for setting in dict.fromkeys(cell.setting for cell in cells):
        where = []
        for what, known in (("learner", plan.learners), ("target", plan.targets), ("k_shot", plan.k_shot)):
            here = dict.fromkeys(str(getattr(cell, what)) for cell in cells if cell.setting == setting)
            where += [f"{what} {', '.join(here)}"] if len(here) < len(known) else []
        settings.setdefault(f" ({'; '.join(where)})" if where else "", []).append(setting)
    return "; ".join(f"{', '.join(names)}{where}" for where, names in settings.items())


def _check_test(plan: Plan, cell: Cell, config: RunConfig, found: Mapping[str, PackedSource]) -> None:
    """Raise UsageError where the target has not the classes or images that its test takes."""
    name = default_targets(config, dict(found))[0] if plan.protocol else cell.target
    source, split = found[name], asked_of(config, found).split(name, "auto")
    if split == "auto":
        split = "test" if source.classes_of("test") else "all"
    for k_shot in plan.test.shots(cell.k_shot):
        test = (source, split, config.episodes.n_way, k_shot, plan.test.n_query, plan.test.seed)
        Test(*test, respect_groups=config.episodes.respect_groups).sampler()


@contextlib.contextmanager
def _unsaid() -> Generator[None]:
    """Keep back what a training tells as it is built: it will stand in the cell's own log."""
    log = logging.getLogger("rotogbml")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
