"""The verbs of the command line: a table, each a typed function that is imported only when it is called for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verb:
    """Where a verb's function lives and which of its parameters stand without a name."""

    where: str
    """``module:function``."""
    help: str
    positional: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    """Parameters that take several values."""
    config: bool = False
    """Whether ``--config FILE`` gives options."""


VERBS: dict[str, Verb] = {
    "data scan": Verb("rotogbml.sources.verbs:scan", "look at image folders or archives, write nothing", ("root",)),
    "data pack": Verb(
        "rotogbml.sources.verbs:pack",
        "decode image folders or archives once, into a pack",
        ("root", "out"),
        ("drop_overlap",),
    ),
    "data import": Verb(
        "rotogbml.releases.verbs:import_",
        "pack a published data set as it is released, with its class split",
        ("name", "path", "out"),
        ("drop_overlap",),
    ),
    "data check": Verb(
        "rotogbml.releases.verbs:check", "what of a release is there, what is missing", ("name", "path")
    ),
    "data list": Verb(
        "rotogbml.releases.verbs:list_", "releases that can be imported, and their terms", (), ("packs",)
    ),
    "data overlap": Verb(
        "rotogbml.releases.verbs:overlap", "images that stand in several packs", ("packs",), ("packs",)
    ),
    "data hub": Verb("rotogbml.releases.verbs:hub", "pack a data set of the Hugging Face hub", ("id", "out")),
    "train": Verb(
        "rotogbml.training.verb:train",
        "learn an initialisation from several sources",
        (),
        ("sources", "holdout", "whole", "validate_on"),
        True,
    ),
    "evaluate": Verb(
        "rotogbml.evaluation.verb:evaluate", "test runs on sources never seen", ("runs",), ("runs", "target", "sources")
    ),
    "shape": Verb(
        "rotogbml.cues.verb:shape", "do runs decide by shape or by texture?", ("runs",), ("runs", "target", "sources")
    ),
    "gradients": Verb(
        "rotogbml.agreement.verb:gradients",
        "do a run's sources pull one way?",
        ("runs",),
        ("runs", "target", "sources"),
    ),
    "explain": Verb(
        "rotogbml.cues.explain:explain",
        "write a page of where runs look (saliency)",
        ("runs",),
        ("runs", "target", "sources"),
    ),
    "study": Verb(
        "rotogbml.studies.verb:study",
        "carry out a grid of trainings and tests",
        ("plan",),
        ("sources", "targets", "learner", "k_shot"),
    ),
    "study status": Verb("rotogbml.studies.verb:status", "how far a study is", ("plan",)),
    "study table": Verb("rotogbml.studies.verb:table", "what a study has found", ("plan",)),
    "compare": Verb(
        "rotogbml.comparison.verb:compare",
        "train many methods alike and put them into one table",
        (),
        ("sources", "targets", "methods", "without", "k_shot"),
    ),
    "compare status": Verb("rotogbml.comparison.verb:status", "how far a comparison is"),
    "compare table": Verb("rotogbml.comparison.verb:table", "a comparison's table again"),
    "protocol list": Verb("rotogbml.protocols.verb:list_", "which published settings there are"),
    "protocol show": Verb(
        "rotogbml.protocols.verb:show", "what a setting trains and tests on, says and leaves open", ("name",)
    ),
    "report": Verb("rotogbml.reports.report:report", "write one self-contained page about runs", ("runs",), ("runs",)),
    "demo": Verb("rotogbml.demonstration:demo", "see the whole idea work on the embedded data"),
}


def function(name: str) -> Callable[..., Any]:
    """Return a verb's function."""
    module, function = VERBS[name].where.split(":")
    return getattr(importlib.import_module(module), function)
