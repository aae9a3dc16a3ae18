"""The two presets, field by field, with the reason for every value.

``paper`` is the letter of RotoGBML; where the paper is silent the value is ours and the reason says so.
``default`` is what we would run. Of ω, γ and ISI nothing that was measured is shown to be better than what stands
here, nor is it shown to be better than the plain learner, so a value is the paper's where nothing speaks against it.
A pair ``(weak, strong)`` depends on ``shift``.
``docs/presets.md`` is this table in prose; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Preset = Literal["default", "paper"]
Shift = Literal["weak", "strong"]


class Choice(NamedTuple):
    """One field: our value, the paper's, and why."""

    default: Any
    paper: Any
    reason: str
    measured: tuple[str, ...] = ()
    """What our study says of it, ``STAGE/STEPS: SETTING ±POINTS``: differences to the plain learner; docs/unlike.md has
    their intervals. A test holds them to the outcomes."""


class ByShift(NamedTuple):
    """A value that depends on how unlike the tasks of a minibatch are."""

    weak: Any
    strong: Any


_BETA = ByShift(weak=0.1, strong=1.5)
_SLOTS = ByShift(weak="position", strong="source")

PRESETS: dict[str, Choice] = {
    "episodes.mix": Choice(
        ByShift("single-source", "by-classes"),
        ByShift("single-source", "one-source-per-task"),
        "The paper: all tasks of a minibatch from one source, or each from another. But where all sources have an "
        "equal say, those of few classes are learned by heart.",
        measured=(
            "mixes/600: by-classes +1.47, rotogbml −0.23, rotogbml-by-classes +1.33",
            "mixes-elsewhere/600: by-classes −0.11",
        ),
    ),
    "episodes.augment": Choice(
        "closer-look",
        "closer-look",
        "The paper follows Closer-Look; glyphs use shape-safe. Of 300 steps its crops cost five points (docs/log.md).",
    ),
    "encoder.norm": Choice("batch", "batch", "What the paper's code family does: transductive, and printed as such."),
    "head": Choice("linear", "linear", "The paper's head."),
    "learner.inner_lr": Choice(0.01, 0.01, "The paper's eta_base."),
    "learner.inner_steps": Choice(5, 5, "The paper says 1-10; 5 is the Closer-Look family's."),
    "reweight.beta": Choice(
        _BETA,
        _BETA,
        "The paper's values for its weak and strong setting.",
        measured=(
            "stage1/300: omega −0.53, omega-equal −0.74, omega-hard-less +0.65",
            "stage1/600: omega-hard-less +0.29",
            "stage2/600: omega-hard-less −0.11",
        ),
    ),
    "reweight.relative_loss": Choice(
        "mean",
        "sum",
        "With the sum all targets are too low: nearly all weight goes to the task with the smallest gradient.",
        measured=("readings/300: omega −0.53, omega-of-the-sum −0.82",),
    ),
    "reweight.update": Choice(
        "gradient",
        "gradient",
        "GradNorm's sub-gradient, as in eq. 5.",
        measured=("readings/300: omega −0.53, omega-closed-form −0.12",),
    ),
    "reweight.lr": Choice(0.01, 0.01, "Not given in the paper. 5e-4 would not move omega in a few thousand steps."),
    "reweight.slots": Choice(
        _SLOTS,
        "position",
        "One slot a source has a meaning; the paper's index is a position.",
        measured=("readings/300: omega −0.53, omega-position −0.61",),
    ),
    "reweight.optimizer": Choice(
        "proximal",
        "proximal",
        "The sub-gradient step, but never past its target: no jumps.",
        measured=("readings/300: omega −0.53, omega-sgd −1.57, omega-adam −0.54",),
    ),
    "reweight.smoothing": Choice(
        0.0,
        0.0,
        "Off: the paper names none. Measured in closed form.",
        measured=("readings/300: omega-closed-form −0.12, omega-smoothed −0.42",),
    ),
    "rotate.align": Choice(
        "shared",
        "rotated",
        "RotoGrad aligns what trains the encoder; the paper the rotated space. The encoder's cosines do not choose: "
        "0.009 under both, and γ turned by less than half a degree.",
        measured=("stage1/300: gamma-query +0.77, gamma-paper −0.22",),
    ),
    "rotate.lr": Choice(
        5e-4,
        5e-4,
        "The paper's eta_gamma, half of eta_meta: the leader is slower.",
        measured=("stage1/300: gamma +0.41, gamma-fast −0.98",),
    ),
    "rotate.decay": Choice(
        0.9999,
        1.0,
        "Proposition A.1 wants the leader's rate to vanish; the paper keeps it.",
        measured=("readings/300: gamma-fast −0.98, gamma-fast-no-decay +0.08",),
    ),
    "rotate.slots": Choice(
        _SLOTS,
        "position",
        "As for omega.",
        measured=("readings/300: gamma-fast −0.98, gamma-fast-position +0.41",),
    ),
    "rotate.rotate_support": Choice(
        True,
        False,
        "Eq. 4 adapts unrotated; with both rotated a query meets the head in the turn that it learned. At the angles "
        "that were measured nothing tells them apart. Heads linear-tied, prototype and zero "
        "turn along with the support, which would cancel it: false with them.",
        measured=(
            "stage1/300: gamma +0.41, gamma-query +0.77",
            "stage1/600: gamma-query +0.16",
            "stage2/600: gamma-query −0.37",
        ),
    ),
    "rotate.update": Choice(
        "plane",
        "gradient",
        "The paper: Adam, which at its rate turns by 40 to 60 degrees in 600 steps; O(m^3), 5 ms a step at 128, "
        "2 s at 1600 features. The exact rotation, O(m^2), turns by less than half a degree at that rate.",
        measured=("turning/600: rotogbml −0.23, rotogbml-turning −0.21",),
    ),
    "rotate.compare": Choice(
        "mean",
        "mean",
        "The paper's; tasks share neither queries nor classes.",
        measured=("stage1/300: gamma-fast −0.98, gamma-class +0.10", "readings/300: gamma-fast-class-mean +0.76"),
    ),
    "homogenizer.slots": Choice(_SLOTS, _SLOTS, "As for omega."),
    "isi.layers": Choice(
        2,
        "all",
        "InfoDrop's few-shot setting uses two; the paper says each layer.",
        measured=("readings/300: isi −0.37, isi-all-layers −0.01",),
    ),
    "isi.rate": Choice(
        0.1,
        0.1,
        "InfoDrop's few-shot setting; not given in the paper.",
        measured=("readings/300: isi −0.37, isi-more −0.35",),
    ),
    "isi.T": Choice(
        0.5,
        0.5,
        "InfoDrop's few-shot setting; not given in the paper.",
        measured=(
            "stage1/300: isi −0.37, dropout −0.33",
            "stage1/600: isi +0.02, dropout −0.04",
            "stage2/600: isi −0.35, dropout −0.04",
            "readings/300: isi −0.37, isi-colder +0.06",
        ),
    ),
    "isi.radius": Choice(2, 3, "InfoDrop's 3 has 49 neighbours, of which it samples 9; all 25 of 2 cost half."),
    "isi.bandwidth": Choice(1.0, 1.0, "InfoDrop's; in units of the mean distance."),
    "isi.patch": Choice(3, 3, "The convolution's own window."),
    "isi.normalize": Choice(
        "image",
        "batch",
        "An image's mask should not depend on its neighbours in the batch.",
        measured=("readings/300: isi −0.37, isi-by-batch −1.28",),
    ),
    "isi.side": Choice(
        "both",
        "both",
        "The paper's: support and queries alike, in training.",
        measured=("readings/300: isi −0.37, isi-support −1.74, isi-query −1.15",),
    ),
    "isi.mask": Choice(
        "information",
        "information",
        "The paper's; edges is a control.",
        measured=("readings/300: isi −0.37, isi-edges −0.55",),
    ),
    "outer.meta_lr": Choice(1e-3, 1e-3, "The paper's eta_meta, with Adam."),
    "outer.optimizer": Choice("adam", "adam", "The paper's."),
    "outer.schedule": Choice("constant", "constant", "The paper names none."),
    "outer.clamp": Choice(0.0, 0.0, "Off: the paper names none."),
    "outer.average": Choice(
        0.998,
        0.0,
        "Validation takes it where it is better: +0.54 points over the last state (docs/unlike.md). Not in the paper.",
    ),
    "outer.sam": Choice(0.0, 0.0, "Off: a rival, at twice the images a step.", measured=("instead/192000: sam −2.44",)),
    "outer.keep_best": Choice(1, 1, "best.pt alone."),
}

SWITCHES: dict[str, Choice] = {
    "homogenizer": Choice(
        "on",
        "on",
        "The library's own subject, and not shown to cost; nor to gain: who wants accuracy alone loses nothing by "
        "`--homogenizer none --isi off` (docs/unlike.md).",
        measured=(
            "stage1/300: omega −0.53, gamma +0.41, omega+gamma +0.19, rotogbml −0.40",
            "stage2/600: rotogbml −0.23",
        ),
    ),
    "homogenizer.combine": Choice(
        None,
        None,
        "Off: a rival in ω's place. MGDA is the one to try.",
        measured=(
            "stage1/300: mgda +1.78, graddrop +1.38, gradvac +1.09",
            "stage1/600: mgda −0.22, graddrop −0.17",
            "stage2/600: mgda +0.54, graddrop +0.06, gradvac −0.13",
        ),
    ),
    "isi": Choice(
        "on",
        "on",
        "As for the homogenizer.",
        measured=("stage1/300: isi −0.37", "stage1/600: isi +0.02", "stage2/600: isi −0.35"),
    ),
}
"""What runs at all: no preset fills these, both have them so."""

T = TypeVar("T", bound="DataclassInstance")


def value(name: str, preset: Preset, shift: Shift) -> Any:
    """Return the preset's value of a field such as ``"reweight.beta"``."""
    chosen = getattr(PRESETS[name], preset)
    return getattr(chosen, shift) if isinstance(chosen, ByShift) else chosen


TURNING = ("linear-tied", "prototype", "zero")
"""Heads whose φ_i⁰ turns along with rotated support features: γ on both sides would cancel."""


def fill(config: T, group: str, preset: Preset, shift: Shift) -> T:
    """Return ``config`` with every ``None`` that the preset knows replaced by the preset's value.

    ``group`` is the first half of the field names (``"learner"``); nested dataclasses are groups of their own.
    """
    changes: dict[str, Any] = {}
    for f in fields(config):
        current = getattr(config, f.name)
        if is_dataclass(current):
            changes[f.name] = fill(current, f.name, preset, shift)
        elif current is None and f"{group}.{f.name}" in PRESETS:
            changes[f.name] = value(f"{group}.{f.name}", preset, shift)
    if changes.get("slots", getattr(config, "slots", None)) == "minibatch" and changes.get("rotate_support"):
        changes["rotate_support"] = False  # a gamma made from these gradients comes after the support was embedded
    return replace(config, **changes)
