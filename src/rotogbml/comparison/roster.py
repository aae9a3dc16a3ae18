"""What can stand in the table: each row's name, block, options of ``rotogbml train``, and what it begins with.

A name with ``-single`` is the same method trained on one source, as the literature trains it. ``rotogbml-NAME`` is a
learner with RotoGBML. This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rotogbml import learner_presets, method_presets
from rotogbml.errors import UsageError, did_you_mean
from rotogbml.studies.published import SETTINGS, words

FINE_TUNING = "baseline and fine-tuning"
METRIC = "metric and convex heads"
GBML = "gradient-based"
OURS = "with RotoGBML"
BLOCKS = (FINE_TUNING, METRIC, GBML, OURS)
"""The table's blocks, in its order."""

SINGLE = "-single"
HALF = "-half"
"""Behind a start's name: it is trained for half of the budget, what begins with it for the other half."""


@dataclass(frozen=True)
class Entry:
    """A row of the table, or a start that rows begin with.

    Attributes:
        name: the plan's setting.
        block: one of ``BLOCKS``.
        label: as papers write it.
        options: of ``rotogbml train``.
        start: the entry that it begins with; empty: it begins from scratch.
        share: of the budget that it trains for itself.
        several: whether it needs several training sources.
        single: whether it trains on one source alone.
        pixels: whether no network judges.
    """

    name: str
    block: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""
    share: float = 1.0
    several: str = ""
    """Why it needs several training sources; empty where it does not."""
    single: bool = False
    pixels: bool = False

    @property
    def short(self) -> str:
        """The label, with what tells it from the same method on all sources."""
        return f"{self.label} (one source)" if self.single else self.label


def _method(name: str, block: str, **more: Any) -> Entry:
    return Entry(name, block, method_presets.SPELT[name], {"method.name": name}, **more)


def _variant(name: str, of: str, label: str, **options: Any) -> Entry:
    more = {f"method.{key}": value for key, value in options.items()}
    return Entry(name, METRIC, label, {"method.name": of, **more})


_PIXELS = Entry("pixels", FINE_TUNING, "nearest prototype on pixels", {"method.name": "random-frozen"}, pixels=True)
_ON_IMAGES = (
    _PIXELS,
    _method("random-frozen", FINE_TUNING),
    _method("random-finetuned", FINE_TUNING),
    _method("baseline", FINE_TUNING),
    _method("baseline++", FINE_TUNING),
    _method("multi-head", FINE_TUNING, several="with one source its one head a source is baseline's"),
    _method("skd-gen0", FINE_TUNING),
    _method("skd-gen1", FINE_TUNING, start="skd-gen0" + HALF, share=0.5),
    _method("frozen-prototype", FINE_TUNING, start="baseline"),
    _method(
        "linear-probe",
        FINE_TUNING,
        start="multi-head",
        several="it begins with multi-head; on baseline's encoder it is baseline",
    ),
    _method("finetune", FINE_TUNING, start="baseline"),
)
_COMPARING = (
    _method("protonet", METRIC),
    _method("matchingnet", METRIC),
    _method("relationnet", METRIC),
    _variant("relationnet-softmax", "relationnet", "RelationNet (softmax)", loss="softmax"),
    _method("relationnet-ft", METRIC),
    _method("relationnet-lft", METRIC, several="it learns from what a step on one source does to another"),
    _method("relationnet-lrp", METRIC),
    _method("relationnet-ata", METRIC),
    _method("r2d2", METRIC),
    _method("metaoptnet", METRIC),
    _variant("metaoptnet-svm", "metaoptnet", "MetaOptNet (SVM)", solver="svm"),
)
_MTL = _method("mtl", GBML, start="baseline" + HALF, share=0.5)

_LEARNERS = ("maml", "maml++", "anil", "boil", "meta-sgd", "protomaml", "imaml", "reptile")


def _learner(name: str, ours: bool) -> Entry:
    options = {"learner.name": name, **SETTINGS["rotogbml" if ours else "plain"]}
    label = learner_presets.SPELT[name]
    return Entry(
        f"rotogbml-{name}" if ours else name,
        OURS if ours else GBML,
        f"{label} + RotoGBML" if ours else label,
        options,
    )


_NOT_SINGLE = ("pixels",)


def _with_single(entry: Entry) -> list[Entry]:
    """Return an entry, and the same on one source where the literature has it so."""
    random = entry.name.startswith("random-")
    if entry.several or random or entry.name in _NOT_SINGLE:
        return [entry]
    start = entry.start + SINGLE if entry.start else ""
    return [entry, replace(entry, name=entry.name + SINGLE, start=start, single=True)]


ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        *(one for entry in _ON_IMAGES for one in _with_single(entry)),
        *(one for entry in _COMPARING for one in _with_single(entry)),
        *_with_single(_MTL),
        *(_learner(name, ours=False) for name in _LEARNERS),
        *(_learner(name, ours=True) for name in _LEARNERS),
    )
}
"""Every row that there can be, by name, in the table's order."""


def whole(name: str) -> str:
    """Return the row whose half this is, or the name itself."""
    return name.replace(HALF, "")


STARTS: dict[str, Entry] = {
    name: replace(ENTRIES[whole(name)], name=name, share=0.5)
    for name in (f"baseline{HALF}", f"baseline{HALF}{SINGLE}", f"skd-gen0{HALF}", f"skd-gen0{HALF}{SINGLE}")
}
"""What is trained for others alone."""

_GROUPS: dict[str, str] = {
    "all": "every row",
    "multi-source": "every row but those on one source",
    "fine-tuning": FINE_TUNING,
    "metric": METRIC,
    "gbml": GBML,
    "ours": OURS,
}
"""Names that stand for several rows."""


def of_group(name: str) -> list[str]:
    """Return the rows that a group's name stands for; none where it is no group's."""
    if name not in _GROUPS:
        return []
    if name in ("all", "multi-source"):
        return [entry.name for entry in ENTRIES.values() if name == "all" or not entry.single]
    return [entry.name for entry in ENTRIES.values() if entry.block == _GROUPS[name]]


def chosen(methods: Sequence[str], without: Sequence[str], ours: str) -> tuple[list[str], set[str]]:
    """Return the rows that are asked for, in the table's order, and those of them that were named one by one.

    Args:
        methods: names of rows or groups, apart or with commas.
        without: those that are left out.
        ours: what all are compared with; always among them, and named.

    Raises:
        UsageError: there is no such row or group.
    """
    asked: set[str] = set()
    named = {ours}
    for name in words(methods):
        group = of_group(name)
        asked.update(group or [_known(name)])
        named.update([] if group else [name])
    for name in words(without):
        out = set(of_group(name) or [_known(name)])
        if ours in out:
            raise UsageError(f"all are compared with {ours}: it cannot be left out; --ours names another")
        asked -= out
        named -= out
    asked.add(_known(ours))
    return [name for name in ENTRIES if name in asked], named


def _known(name: str) -> str:
    if name in ENTRIES:
        return name
    known = [*ENTRIES, *_GROUPS]
    raise UsageError(f"no method '{name}'{did_you_mean(name, known)}: there are {', '.join(known)}")


def entry_of(name: str) -> Entry:
    """Return a row or a start by the name of its setting."""
    return ENTRIES[name] if name in ENTRIES else STARTS[name]


def does_not_go(entry: Entry, pool: Sequence[str], always: Sequence[str], alone: str | None, where: str) -> str:
    """Return why a row does not go with the sources that are trained on; empty where it does.

    Args:
        entry: the row.
        pool: the training sources of the target that has the fewest.
        always: the sources that are trained on whatever the target.
        alone: the one that single-source rows train on; None where none is named or there.
        where: what chose the sources, in words.
    """
    if entry.several and len(pool) < 2:
        return f"{where} trains on {pool[0] if pool else 'nothing'} alone: {entry.several}"
    if entry.single and len(pool) < 2:
        return f"{where} trains on one source as it is: {entry.name.removesuffix(SINGLE)} is that row"
    if entry.single and alone is None:
        if not always:
            return "every source is held out for some target: no single one is left to train on for all"
        return "no single source is named: give --single_source, one of " + ", ".join(always)
    return ""
