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
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal, NamedTuple

from rotogbml.protocols.registry import trains_alike

UNTRAINED = "untrained"
"""As a checkpoint: the same network before training."""


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
        own = self.own(cell, budget).items()
        said = {name: f"{value:.10g}" if isinstance(value, float) else f"{value}" for name, value in own}
        return [*self.chosen(cell), *(word for name, value in said.items() for word in (f"--{name}", value))]

    def chosen(self, cell: Cell) -> list[str]:
        """Return the options that were chosen for a cell, as words: the plan's, its learner's, its setting's."""
        options = {**self.options, **self.learners[cell.learner], **self.settings[cell.setting]}
        return [word for name, value in options.items() for word in (f"--{name}", _word(value))]

    def own(self, cell: Cell, budget: Budget) -> dict[str, Any]:
        """Return the options that make a cell of a choice, by name: its target, shots, seed and length."""
        own: dict[str, Any] = {"holdout": cell.target}
        if self.protocol:
            own = {"protocol": self.protocol, "suite": self.suite, "target": cell.target}
        return own | {"episodes.k_shot": cell.k_shot, "seed": cell.seed} | self._length(cell, budget)

    def _length(self, cell: Cell, budget: Budget) -> dict[str, Any]:
        """Return the option that ends a cell's training: its share of the budget, at least one step."""
        amount, share = budget.amount, self.shares.get(cell.setting, 1.0)
        if budget.unit == "minutes":
            return {"minutes": amount * share}
        if budget.unit == "images":
            amount //= max(1, self.images_of_step(cell.setting, cell.k_shot))
        if share == 1.0:
            return {"steps": max(1, amount) if budget.unit == "images" else amount}
        # A start and what begins with it make up the whole: one rounds down, the other up.
        steps = amount * share // 1 if cell.setting in self.starts.values() else -(-amount * share // 1)
        return {"steps": max(1, int(steps))}

    def images_of_step(self, setting: str, k_shot: int) -> int:
        """Return how many training images a step of a setting sees; 0 where it is not said, or nothing is trained."""
        fixed, each = self.images.get(setting, (0, 0))
        return fixed + each * k_shot

    def trainer(self, cell: Cell) -> Cell:
        """Return the cell whose training a cell tests: itself, or that of the first target where all train alike."""
        alike = bool(self.protocol) and trains_alike(self.protocol)
        return replace(cell, target=self.targets[0]) if alike else cell

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


def _word(value: Any) -> str:
    """Return a value as the command line takes it; YAML reads a bare ``off`` as false, which a switch takes too."""
    return value if isinstance(value, str) else json.dumps(value)
