"""From methods, targets, seeds and a budget to a study's plan."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rotogbml import method_presets
from rotogbml.comparison.roster import ENTRIES, STARTS, Entry, chosen, does_not_go, entry_of, whole
from rotogbml.config import RunConfig
from rotogbml.errors import UsageError, did_you_mean
from rotogbml.protocols.datasets import Suite, dataset_named, find
from rotogbml.sources.packed import PackedSource
from rotogbml.studies.cell import Work
from rotogbml.studies.check import configuration
from rotogbml.studies.plan import UNTRAINED, Cell, Plan, Rung
from rotogbml.studies.plan_file import check
from rotogbml.studies.published import published_plan, tested
from rotogbml.training.compared import trains
from rotogbml.training.sources import hold_out

LEARNER = "all"
"""The one learner of such a plan: its settings are methods."""
EPISODES, N_QUERY = 600, 15
"""Of a comparison without a protocol, as the literature tests."""


@dataclass(frozen=True)
class Asked:
    """What the user asked for; see ``rotogbml compare``."""

    protocol: str
    suite: str
    targets: tuple[str, ...]
    methods: tuple[str, ...]
    without: tuple[str, ...]
    ours: str
    budget: Rung
    seeds: int
    k_shot: tuple[int, ...] | None
    episodes: int | None
    n_query: int | None
    single_source: str | None
    start: str | None
    untrained: bool
    options: Mapping[str, Any]


def comparison_plan(asked: Asked, sources: list[str], found: Mapping[str, PackedSource]) -> tuple[Plan, list[str]]:
    """Return the plan, and what was left out of a group and why, a line each.

    Args:
        asked: for what.
        sources: packs.
        found: what is in them.

    Raises:
        UsageError: a name is unknown, the budget cannot be, or a method that was named does not go with the protocol.
    """
    names, insisted = chosen(asked.methods, asked.without, asked.ours)
    _check_budget(asked.budget)
    plan = _frame(asked, found)
    first = Cell(0, plan.targets[0], plan.k_shot[0], LEARNER, asked.ours)
    ours = replace(plan, settings={asked.ours: _sourced(ENTRIES[asked.ours], asked.start)}, against=asked.ours)
    firsts = [configuration(ours, _work(ours, replace(first, target=target), sources)) for target in plan.targets]
    pools = [trained_on(config, found) for config in firsts]
    always = [name for name in pools[0] if all(name in pool for pool in pools)]
    alone = _single(asked, always)
    where = f"protocol {asked.protocol}" if asked.protocol else "the comparison"

    left_out, rows = [], []
    for name in names:
        entry = _begun(ENTRIES[name], asked.start)
        why = _given_start(entry, asked.start) or does_not_go(entry, min(pools, key=len), always, alone, where)
        if why and name in insisted:
            raise UsageError(f"{name} does not go with this: {why}. Leave it out of --methods")
        if why:
            left_out.append(f"{name}: {why}")
        else:
            rows.append(entry)
    starts = [entry_of(entry.start) for entry in rows if entry.start]
    hidden = {entry.name: entry for entry in starts if entry.name not in {row.name for row in rows}}
    every = {entry.name: entry for entry in (*hidden.values(), *rows)}
    order = [name for name in (*STARTS, *ENTRIES) if name in every]
    plan = replace(
        plan,
        settings={name: _options(every[name], alone, asked) for name in order},
        against=asked.ours,
        starts={name: every[name].start for name in order if every[name].start},
        shares={name: every[name].share for name in order if every[name].share != 1.0},
        hidden=tuple(name for name in order if name in hidden),
        pixels=tuple(name for name in order if every[name].pixels),
    )
    _check_used(asked, plan)
    images = dict.fromkeys(order, (0, 0))
    for name in order:
        with contextlib.suppress(UsageError):  # it is said before anything trains, of all rows at once
            images[name] = images_of(configuration(plan, _work(plan, replace(first, setting=name), sources)))
    plan = replace(plan, images=images)
    _check_shares(plan)
    _check_encoders(plan)
    check(plan)
    return plan, left_out


def _sourced(entry: Entry, start: str | None) -> dict[str, Any]:
    """Return options that tell what a row trains on; weights that it begins with are not read for that."""
    options = dict(entry.options)
    if options.get("method.name") in method_presets.NEEDS_START:
        options["method.start"] = start or "weights of another run"
    return options


def _work(plan: Plan, cell: Cell, sources: list[str]) -> Work:
    """Return the work on a cell that has no place yet."""
    return Work.of(plan, cell, plan.rungs[0].budget, Path(), sources)


def images_of(config: RunConfig) -> tuple[int, int]:
    """Return a and b of the a + b·k_shot training images that a step sees; nothing is trained: 0 and 0."""
    e, name = config.episodes, config.method.name
    if not trains(config):
        return 0, 0
    if name in method_presets.ON_IMAGES:
        return e.tasks_per_batch * (config.method.batch_size or 0), 0
    tasks = e.tasks_per_batch * (2 if name in method_presets.ON_PAIRS else 1)
    return tasks * e.n_way * e.n_query, tasks * e.n_way


def trained_on(config: RunConfig, sources: Collection[str]) -> list[str]:
    """Return which of the sources at hand a configuration trains on."""
    return sorted(name for name in sources if name not in config.holdout)


def _frame(asked: Asked, found: Mapping[str, PackedSource]) -> Plan:
    """Return the plan without its settings."""
    checkpoints = ("best", UNTRAINED) if asked.untrained else ("best",)
    if asked.protocol:
        targets = asked.targets or ("all",)
        plan = published_plan(
            asked.protocol,
            asked.suite,
            targets,
            [],
            asked.seeds,
            asked.budget,
            asked.k_shot,
            asked.episodes,
            asked.n_query,
            asked.options,
        )
        test = replace(plan.test, checkpoints=checkpoints, k_shot=None)  # a table for each that is trained
    else:
        if not asked.targets:
            raise UsageError("no --targets: name the sources that are held out in their turn, or a --protocol")
        for target in asked.targets:
            hold_out(dict(found), [target])
        if asked.suite != "paper":
            raise UsageError(f"suite {asked.suite} belongs to a protocol, and none is named: add --protocol")
        if asked.seeds < 1:
            raise UsageError(f"seeds is {asked.seeds}: give at least 1")
        shots, of = asked.k_shot or (1,), tuple(range(asked.seeds))
        plan = Plan("", asked.targets, {}, (asked.budget,), k_shot=shots, seeds=of)
        test = tested(asked.episodes, asked.n_query, EPISODES, N_QUERY, checkpoints)
    if len(set(plan.targets)) < len(plan.targets):
        raise UsageError(f"a target stands twice among {', '.join(plan.targets)}: name it once")
    return replace(
        plan,
        name="comparison",
        about=" ".join(["every method trained alike", *([f"by {plan.about}"] if plan.about else [])]),
        test=test,
        judge="best",
        learners={LEARNER: {}},
        options={name: value for name, value in asked.options.items() if not _of_some_rows(name, value)},
    )


def _of_some_rows(name: str, value: Any) -> bool:
    """Return whether an option is of learners alone, of methods alone, or of the one row that it names."""
    return name.startswith("learner.") or _as_published(name, value) or "/" in name


def _as_published(name: str, value: Any) -> bool:
    return name == "encoder.norm" and value == method_presets.AS_PUBLISHED


def _own(entry: Entry, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options of some rows that are of this one: what names it last, so that it wins.

    What names a row goes to the run of it too that another row begins with, a half or a whole one.
    """
    method = "method.name" in entry.options
    own = {
        name: value
        for name, value in options.items()
        if "/" not in name and (_as_published(name, value) if method else name.startswith("learner."))
    }
    named = (name.partition("/") for name in options)
    row_of = whole(entry.name)
    return own | {option: options[f"{row}/{option}"] for row, _, option in named if option and row == row_of}


def _check_budget(budget: Rung) -> None:
    given = {name: getattr(budget, name) for name in ("minutes", "steps", "images")}
    there = {name: value for name, value in given.items() if value is not None}
    if len(there) != 1:
        said = " and ".join(f"--{name} {value:g}" for name, value in there.items()) or "none of them"
        raise UsageError(
            f"all are trained to one budget, and {said} is given: one of --minutes, --steps and --images is needed"
        )
    ((name, value),) = there.items()
    if not 0 < value < float("inf"):
        raise UsageError(f"{name} is {value}: it must be above 0")


def _check_used(asked: Asked, plan: Plan) -> None:
    """Refuse what was said for rows that are not among those chosen."""
    rows = [name for name in plan.settings if name not in plan.hidden]
    told = {whole(name) for name in plan.settings}
    for name in asked.options:
        row, names_it, _ = name.partition("/")
        if names_it and row not in told:
            raise UsageError(f"option '{name}': '{row}' is no row of this comparison{did_you_mean(row, told)}")
    if asked.start is not None and not any("method.start" in options for options in plan.settings.values()):
        begins = ", ".join(method_presets.NEEDS_START)
        raise UsageError(f"--start {asked.start}: no row of --methods begins with weights of yours, as {begins} do")
    if asked.single_source is not None and not any(entry_of(name).single for name in rows):
        raise UsageError(
            f"--single_source {asked.single_source}: no row of --methods trains on one source, as protonet-single does"
        )


def _check_shares(plan: Plan) -> None:
    """Refuse a budget of one step where a row shares it with the run that it begins with."""
    budget = plan.rungs[0]
    for name in (name for name in plan.starts if name in plan.shares):
        of_step = [plan.images_of_step(one, k) for one in (name, plan.starts[name]) for k in plan.k_shot]
        least = {"steps": 2, "images": 2 * max(of_step), "minutes": 0}[budget.budget.unit]
        if budget.budget.amount < least:
            raise UsageError(
                f"{name} shares the budget with the run that it begins with, and a step has no half: give "
                f"--{budget.budget.unit} {least} or more"
            )


def _check_encoders(plan: Plan) -> None:
    """Refuse a row whose encoder is not that of the run it begins with: its weights would not fit."""
    for name, start in plan.starts.items():
        mine, its = ({**plan.options, **plan.settings[one]} for one in (name, start))
        for option in ("encoder.name", "encoder.width", "readings.size"):
            if mine.get(option) != its.get(option):
                given, own = (settings.get(option, "the default") for settings in (its, mine))
                raise UsageError(
                    f"{name} begins with a run of {whole(start)}, whose {option} is {given}, and its own is {own}: "
                    "give both the same"
                )


def _single(asked: Asked, always: Sequence[str]) -> str | None:
    """Return what single-source rows train on: the user's, else mini-ImageNet where a protocol trains on it too.

    ``always`` are the sources that are trained on whatever the target.
    """
    if asked.single_source is not None:
        if asked.single_source not in always:
            near = did_you_mean(asked.single_source, always)
            raise UsageError(
                f"single_source: '{asked.single_source}' is not trained on for every target{near}: there are "
                f"{', '.join(always) or 'none that are'}"
            )
        return asked.single_source
    if not asked.protocol:
        return None
    suite: Suite = "core" if asked.suite == "core" else "paper"
    return find(dataset_named("miniimagenet"), suite, always)


def _begun(entry: Entry, start: str | None) -> Entry:
    """Return an entry that begins with the user's weights where it began with a run of images."""
    if start is None or entry.options.get("method.name") not in method_presets.NEEDS_START or "skd" in entry.name:
        return entry
    return replace(entry, start="", share=1.0, several="")


def _given_start(entry: Entry, start: str | None) -> str:
    twice = start is not None and entry.single and entry.options["method.name"] in method_presets.UNTRAINED
    return f"it begins with {start}, as {entry.name.removesuffix('-single')} does" if twice else ""


def _options(entry: Entry, alone: str | None, asked: Asked) -> dict[str, Any]:
    """Return what ``rotogbml train`` is told of a row."""
    options, start = {**entry.options, **_own(entry, asked.options)}, asked.start
    trained = options.get("method.name") not in method_presets.UNTRAINED
    if entry.single and trained:
        options["method.source"] = alone
    if start is not None and not entry.start and options.get("method.name") in method_presets.NEEDS_START:
        options["method.start"] = start if start.startswith("hub:") else os.path.abspath(start)  # noqa: PTH100
    return options
