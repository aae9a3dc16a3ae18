"""What a study is: a declared grid, each cell of it one training and its test.

A plan is a YAML file::

    about: what the study is to answer
    targets: [cars, plants]          # each held out in its turn; all other sources are trained on
    seeds: [0, 1]                    # of training; test episodes have a seed of their own
    k_shot: [1]                      # trained with, and tested with unless test.k_shot says otherwise
    rungs: [{steps: 300, keep: 8, seeds: [0]}, {steps: 1000}]
    test: {episodes: 300, seed: 0, checkpoints: [last, averaged]}
    judge: averaged                  # the checkpoint that settings are ranked by
    against: plain                   # the setting that the others are compared with
    always: []                       # settings that are never dropped, beside ``against``
    rivals: []                       # settings that are ranked among themselves: as many of them go on as of the others
    options: {encoder.width: 32}     # options of ``rotogbml train`` that every cell has
    learners: {maml: {learner.first_order: true}}
    settings: {plain: {homogenizer: "off", isi: "off"}, rotogbml: {}}

Several rungs are successive halving (Jamieson & Talwalkar 2016): after each, the ``keep`` best settings go on from
where they stopped to the budget of the next. A budget may be ``minutes: 10`` of training in place of steps; then the
numbers depend on the machine.

Of comparisons (``rotogbml compare``) a plan says more::

    rungs: [{images: 100000}]        # training images seen: steps of its own for each setting, by ``images``
    images: {mtl: [300, 20]}         # a step of a setting sees a + b·k_shot images
    starts: {mtl: baseline-half}     # a setting begins with the run of another one, same target and seed
    shares: {mtl: 0.5}               # share of the budget that a setting trains for itself; all of it where not said
    hidden: [baseline-half]          # trained for others, no row of the table
    pixels: [pixels]                 # tested as nearest prototypes on pixels: no network
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from rotogbml.errors import UsageError, did_you_mean

SHIPPED = Path(__file__).parent / "plans"
"""Plans that come with the package."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+−γωβ,()=_-]*")
UNTRAINED = "untrained"
"""As a checkpoint: the same network before training."""
_CHECKPOINTS = ("best", "last", "averaged", UNTRAINED)


class Budget(NamedTuple):
    """How long a cell is trained."""

    amount: float
    unit: Literal["steps", "minutes", "images"]

    def __str__(self) -> str:
        """Return ``1,000 steps``, ``10 minutes`` or ``5,000 images``."""
        return f"{self.amount:,.10g} {self.unit}"


@dataclass(frozen=True)
class Rung:
    """A budget, and how many settings go on beyond it (None: it is the last).

    An early one may take fewer targets, seeds and learners than the plan has.
    """

    steps: int | None = None
    minutes: float | None = None
    images: int | None = None
    keep: int | None = None
    targets: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    learners: tuple[str, ...] | None = None

    @property
    def budget(self) -> Budget:
        """How long its cells are trained; one of steps, minutes and images is given."""
        if self.minutes is not None:
            return Budget(self.minutes, "minutes")
        return Budget(self.steps or 0, "steps") if self.images is None else Budget(self.images, "images")


@dataclass(frozen=True)
class TestPlan:
    """How every cell is tested: ``episodes`` fixed episodes of its target, at each of the ``checkpoints``.

    Digests take its text, in which later fields are left out until they are used: older results stay valid.
    """

    episodes: int = 600
    seed: int = 0
    n_query: int = 15
    checkpoints: tuple[str, ...] = ("last", "averaged")
    k_shot: tuple[int, ...] | None = field(default=None, repr=False)
    """Each training is tested with all of these; None: with the shots that it was trained with."""

    def shots(self, trained: int) -> tuple[int, ...]:
        """Return the shots that a training is tested with."""
        return self.k_shot or (trained,)


@dataclass(frozen=True, order=True)
class Cell:
    """One training: a setting of a learner, one seed, one source held out."""

    seed: int
    target: str
    k_shot: int
    learner: str
    setting: str

    @property
    def id(self) -> str:
        """Return its name, which is a relative path too."""
        parts = (self.learner, self.setting, f"{self.target}-{self.k_shot}shot-seed{self.seed}")
        return "/".join(re.sub(r"[^A-Za-z0-9.+_-]+", "-", part) for part in parts)


@dataclass(frozen=True)
class Plan:
    """A study as it was declared; see the module's text for each field."""

    name: str
    targets: tuple[str, ...]
    settings: Mapping[str, Mapping[str, Any]]
    rungs: tuple[Rung, ...]
    about: str = ""
    seeds: tuple[int, ...] = (0,)
    k_shot: tuple[int, ...] = (1,)
    test: TestPlan = field(default_factory=TestPlan)
    judge: str = "averaged"
    against: str = "plain"
    always: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    learners: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"maml": {}})
    protocol: str = ""
    """A published protocol, whose targets these are; empty: each target is held out and all else trained on."""
    suite: str = "paper"
    starts: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, Sequence[int]] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    pixels: tuple[str, ...] = ()

    def span(self, rung: Rung) -> tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]:
        """Return a rung's targets, seeds and learners: its own, or all that the plan has."""
        return rung.targets or self.targets, rung.seeds or self.seeds, rung.learners or tuple(self.learners)

    def cells(self, rung: Rung, settings: Iterable[str] | None = None) -> Iterator[Cell]:
        """Yield a rung's cells of some settings (None: all), seeds outermost: early on there is a table of one."""
        targets, seeds, learners = self.span(rung)
        for seed, target, k_shot, learner in product(seeds, targets, self.k_shot, learners):
            for setting in self.settings if settings is None else settings:
                yield Cell(seed, target, k_shot, learner, setting)

    def arguments(self, cell: Cell, budget: Budget) -> list[str]:
        """Return what follows ``rotogbml train`` for a cell, but for sources and the run's place."""
        options = {**self.options, **self.learners[cell.learner], **self.settings[cell.setting]}
        said = [word for name, value in options.items() for word in (f"--{name}", _word(value))]
        own: dict[str, Any] = {"holdout": cell.target}
        if self.protocol:
            own = {"protocol": self.protocol, "suite": self.suite, "target": cell.target}
        own |= {"episodes.k_shot": cell.k_shot, "seed": cell.seed}
        own |= self._length(cell, budget)
        return [*said, *(word for name, value in own.items() for word in (f"--{name}", str(value)))]

    def _length(self, cell: Cell, budget: Budget) -> dict[str, str]:
        """Return the option that ends a cell's training: its share of the budget, at least one step."""
        amount, share = budget.amount, self.shares.get(cell.setting, 1.0)
        if budget.unit == "minutes":
            return {"minutes": f"{amount * share:.10g}"}
        if budget.unit == "images":
            amount //= max(1, self.images_of_step(cell.setting, cell.k_shot))
        if share == 1.0:
            return {"steps": f"{max(1, amount) if budget.unit == 'images' else amount:.10g}"}
        # A start and what begins with it make up the whole: one rounds down, the other up.
        steps = amount * share // 1 if cell.setting in self.starts.values() else -(-amount * share // 1)
        return {"steps": f"{max(1, steps):.10g}"}

    def images_of_step(self, setting: str, k_shot: int) -> int:
        """Return how many training images a step of a setting sees; 0 where it is not said, or nothing is trained."""
        fixed, each = self.images.get(setting, (0, 0))
        return fixed + each * k_shot

    def start(self, cell: Cell) -> Cell | None:
        """Return the cell whose run a cell begins with; None where it begins from scratch."""
        setting = self.starts.get(cell.setting)
        return None if setting is None else replace(cell, setting=setting)

    def digest(self, cell: Cell, budget: Budget) -> str:
        """Return a digest of all that decides a cell's numbers: results of another one are not of this plan."""
        decides: tuple[Any, ...] = (self.arguments(cell, budget), self.test)
        if self.test.k_shot is not None:
            decides += (self.test.k_shot,)
        start = self.start(cell)
        if start is not None:
            decides += (self.arguments(start, budget),)
        if cell.setting in self.pixels:
            decides += ("pixels",)
        return hashlib.sha256(repr(decides).encode()).hexdigest()[:16]


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


def _word(value: Any) -> str:
    """Return a value as the command line takes it; YAML reads a bare ``off`` as false, which a switch takes too."""
    return value if isinstance(value, str) else json.dumps(value)
