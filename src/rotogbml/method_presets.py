"""The compared methods by name: how papers spell them, which options are whose, their values, and why.

This module imports nothing heavy: the command line reads it before torch is loaded.
"""

from __future__ import annotations

from typing import Any

from rotogbml.errors import UsageError, did_you_mean
from rotogbml.learner_presets import Option, Own

AS_PUBLISHED = "as-published"
"""The norm policy that only compared methods have: as each one's own code did."""

SPELT = {
    "baseline": "Linear (Baseline)",
    "baseline++": "Baseline++",
    "finetune": "full fine-tuning",
    "frozen-prototype": "nearest prototype on a frozen encoder",
    "linear-probe": "linear probe",
    "matchingnet": "MatchingNet",
    "metaoptnet": "MetaOptNet",
    "mtl": "MTL",
    "multi-head": "multi-source pre-training",
    "protonet": "ProtoNet",
    "r2d2": "R2D2",
    "random-finetuned": "Random (fine-tuned)",
    "random-frozen": "Random (frozen)",
    "relationnet": "RelationNet",
    "relationnet-ata": "RelationNet-ATA",
    "relationnet-ft": "RelationNet-FT",
    "relationnet-lft": "RelationNet-LFT",
    "relationnet-lrp": "RelationNet-LRP",
    "skd-gen0": "SKD-GEN0",
    "skd-gen1": "SKD-GEN1",
}
"""As the papers write them."""

METHODS = tuple(sorted(SPELT))

UNTRAINED = ("finetune", "frozen-prototype", "linear-probe", "random-finetuned", "random-frozen")
"""Methods that train nothing before the test."""
NEEDS_START = ("finetune", "frozen-prototype", "linear-probe", "mtl", "skd-gen1")
"""Methods that are nothing without weights to begin with."""
BRINGS_START = ("finetune", "frozen-prototype", "linear-probe", "mtl")
"""Of those: methods for which weights that an encoder of the user's is built with will do; the other needs a run's."""
ON_IMAGES = ("baseline", "baseline++", "multi-head", "skd-gen0", "skd-gen1")
"""Methods that train on minibatches of labelled images, not on episodes."""
ON_PAIRS = ("relationnet-lft",)
"""Methods that train on two episodes of different sources at once."""
FITTED = ("baseline", "baseline++", "finetune", "linear-probe", "random-finetuned", "random-frozen")
"""Methods that fit a head to a test task's support."""
RELATION = ("relationnet", "relationnet-ata", "relationnet-ft", "relationnet-lft", "relationnet-lrp")
"""Methods with a relation module: they compare maps."""
BOUND = ("mtl",)
"""Methods with a learned row for each class of a task: they serve the n_way they were trained with."""

_ALONE = tuple(name for name in METHODS if name not in (*UNTRAINED, *ON_PAIRS))
_WITH_START = tuple(name for name in METHODS if not name.startswith("random"))

OPTIONS: dict[str, Option] = {
    "method.source": Option(_ALONE, None, "All training sources: multi-source."),
    "method.start": Option(_WITH_START, None, "From scratch, as the harness trains all."),
    "method.batch_size": Option(ON_IMAGES, 16, "Closer-Look's; a step takes tasks_per_batch of them."),
    "method.loss": Option(RELATION, "mse", "The paper's, and that of Table II's codes."),
    "method.solver": Option(("metaoptnet",), "ridge", "A closed form; svm is the paper's name."),
    "method.inner_lr": Option(("mtl",), 0.01, "MTL's code."),
    "method.inner_steps": Option(("mtl",), 100, "MTL's code."),
    "method.hard_tasks": Option(("mtl",), 0, "Off, as in MTL's code."),
    "method.test_epochs": Option(FITTED, 100, "Closer-Look's and BSCD-FSL's."),
    "method.test_batch": Option(FITTED, 4, "Closer-Look's and BSCD-FSL's."),
    "method.test_lr": Option(FITTED, 0.01, "Closer-Look's and BSCD-FSL's."),
}
"""Options that only some methods have."""

OWN: dict[str, dict[str, Own]] = {
    "skd-gen1": {"outer.meta_lr": Own(2e-5, "A fiftieth of GEN0's, as in SKD's run.sh: 1e-3 after 0.05 (SGD there).")},
}
"""A method's own value of an option that all have."""

NORM = Own("group", "Each image by itself: no query depends on another; ProtoNet learns far quicker than by support.")
"""``encoder.norm`` of every method where none is given."""


def check_name(method: str) -> None:
    """Raise UsageError where there is no such method."""
    if method not in METHODS:
        raise UsageError(f"no method '{method}'{did_you_mean(method, METHODS)}: there are {', '.join(METHODS)}")


def settle(method: str, name: str, given: Any) -> Any:
    """Return what an option is for a method: what was given, the method's own value, or None where it has none.

    Args:
        method: one of ``METHODS``.
        name: such as ``method.batch_size`` or ``encoder.norm``.
        given: the user's value, or None.

    Raises:
        UsageError: the option is another method's.
    """
    option = OPTIONS.get(name)
    if given is not None:
        if option is not None and method not in option.owners:
            raise UsageError(
                f"--{name} {given} does not go with {method}: leave it out, or take --method {'|'.join(option.owners)}"
            )
        return given
    own = OWN.get(method, {}).get(name)
    if own is not None:
        return own.value
    if name == "encoder.norm":
        return NORM.value
    return option.value if option is not None and method in option.owners else None
