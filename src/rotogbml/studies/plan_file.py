"""A plan as a YAML file: read, checked, written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml

from rotogbml.errors import UsageError, did_you_mean
from rotogbml.studies.plan import UNTRAINED, Plan, Rung, TestPlan

SHIPPED = Path(__file__).parent / "plans"
"""Plans that come with the package."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+−γωβ,()=_-]*")
_CHECKPOINTS = ("best", "last", "averaged", UNTRAINED)


def read_plan(name: str) -> Plan:
    """Return a shipped plan by its name, or one from a YAML file.

    Raises:
        UsageError: there is no such plan, or it says what no plan says.
    """
    path = SHIPPED / f"{name}.yaml" if name in shipped() else Path(name)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(shipped())
        raise UsageError(
            f"no plan '{name}'{did_you_mean(name, shipped())}: there are {known}; or give a YAML file"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"plan {path} cannot be read ({' '.join(str(error).split())})") from error
    try:
        return _plan(path.stem, tree)
    except UsageError as error:
        raise UsageError(f"plan {path}: {error}") from error


def written(plan: Plan) -> str:
    """Return a plan as YAML that ``read_plan`` takes."""
    tree = {key: value for key, value in asdict(plan).items() if key != "name" and value not in ((), "", {})}
    tree["rungs"] = [{key: value for key, value in rung.items() if value is not None} for rung in tree["rungs"]]
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def shipped() -> list[str]:
    """Return the names of the plans that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def _plan(name: str, tree: Any) -> Plan:
    if not isinstance(tree, dict):
        raise UsageError("it is no mapping of names to values")
    _only(tree, [f.name for f in fields(Plan) if f.name != "name"], "a plan")
    for needed in ("targets", "settings", "rungs"):
        if not tree.get(needed):
            raise UsageError(f"'{needed}' is missing")
    given = dict(tree)
    given["rungs"] = tuple(_part(Rung, rung, "a rung") for rung in _list(given["rungs"], "rungs"))
    given["test"] = _part(TestPlan, given.get("test", {}), "test")
    for several in ("targets", "seeds", "k_shot", "always", "rivals", "hidden", "pixels"):
        if several in given:
            given[several] = tuple(_list(given[several], several))
    for group in ("settings", "learners"):
        given[group] = {str(key): dict(value or {}) for key, value in dict(given.get(group) or {"maml": {}}).items()}
    plan = Plan(name=name, **given)
    check(plan)
    return plan


def check(plan: Plan) -> None:
    """Raise UsageError where a plan contradicts itself: ``read_plan`` would not take it as it is written."""
    for said in (*plan.settings, *plan.learners, *plan.targets):
        if not _NAME.fullmatch(str(said)):
            raise UsageError(f"'{said}' is no name for a folder: take letters, digits, blanks and .+-_")
    for named in (plan.against, *plan.always, *plan.rivals):
        if named not in plan.settings:
            known = ", ".join(plan.settings)
            raise UsageError(f"no setting '{named}'{did_you_mean(named, plan.settings)}: there are {known}")
    if any([rung.steps, rung.minutes, rung.images].count(None) != 2 for rung in plan.rungs):
        raise UsageError("a rung has a budget of steps, minutes or images: give one of them")
    _check_images(plan)
    _check_starts(plan)
    amounts, units = zip(*(rung.budget for rung in plan.rungs), strict=True)
    if list(amounts) != sorted(set(amounts)) or amounts[0] <= 0 or len(set(units)) > 1:
        said = ", ".join(str(rung.budget) for rung in plan.rungs)
        raise UsageError(f"the rungs' budgets are {said}: each must be more of the same than the one before")
    if any(rung.keep is None or rung.keep < 1 for rung in plan.rungs[:-1]) or plan.rungs[-1].keep is not None:
        raise UsageError("every rung but the last says how many settings it keeps, at least 1")
    for rung in plan.rungs:
        for said, known in (
            (rung.targets, plan.targets),
            (rung.seeds, plan.seeds),
            (rung.learners, plan.learners),
        ):
            for one in said or ():
                if one not in known:
                    raise UsageError(f"a rung names '{one}': the plan has {', '.join(map(str, known))}")
    for shots in (*plan.k_shot, *(plan.test.k_shot or ())):
        if not isinstance(shots, int) or shots < 1:
            raise UsageError(f"k_shot is '{shots}': give whole numbers, at least 1")
    if plan.test.episodes < 2:
        raise UsageError(f"test.episodes is {plan.test.episodes}: an interval needs at least 2")
    if plan.test.n_query < 1:
        raise UsageError(f"test.n_query is {plan.test.n_query}: a class is tested on at least 1 query")
    for checkpoint in plan.test.checkpoints:
        if checkpoint not in _CHECKPOINTS:
            raise UsageError(f"no checkpoint '{checkpoint}': there are {', '.join(_CHECKPOINTS)}")
    if plan.judge not in plan.test.checkpoints:
        raise UsageError(f"judge is '{plan.judge}', which is not tested: there are {', '.join(plan.test.checkpoints)}")
    ids = [cell.id for cell in plan.cells(Rung(1))]
    if len(set(ids)) < len(ids):
        raise UsageError(
            "two cells would share a folder: two names differ in no letter, or a target, seed or k_shot stands there "
            "twice"
        )


def _check_images(plan: Plan) -> None:
    unsaid = [name for name in plan.settings if name not in plan.images]
    if unsaid and any(rung.budget.unit == "images" for rung in plan.rungs):
        raise UsageError(
            f"the budget is of images, and how many a step of '{unsaid[0]}' sees is not said: give images: "
            f"{{{unsaid[0]}: [a, b]}} for a + b·k_shot"
        )


def _check_starts(plan: Plan) -> None:
    for name, start in plan.starts.items():
        if name not in plan.settings or start not in plan.settings or start in plan.starts:
            raise UsageError(
                f"'{name}' cannot begin with '{start}': both are settings, and a start begins from scratch"
            )
    for name, share in plan.shares.items():
        if not 0 < share <= 1:
            raise UsageError(f"the share of '{name}' is {share}: it must be above 0 and at most 1")
    if plan.starts and len(plan.rungs) > 1:
        raise UsageError("where settings begin with others there is one rung: give the last alone")


def _part(kind: Any, given: Any, what: str) -> Any:
    if not isinstance(given, dict):
        raise UsageError(f"{what} is '{given}': give names and values")
    _only(given, [f.name for f in fields(kind)], what)
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})
    except TypeError as error:
        raise UsageError(f"{what} is incomplete ({error})") from None


def _list(given: Any, what: str) -> list[Any]:
    if not isinstance(given, list) or not given:
        raise UsageError(f"{what} is '{given}': give a list")
    return given


def _only(given: Mapping[str, Any], known: list[str], what: str) -> None:
    for key in given:
        if key not in known:
            raise UsageError(f"{what} has no '{key}'{did_you_mean(str(key), known)}: there are {', '.join(known)}")
