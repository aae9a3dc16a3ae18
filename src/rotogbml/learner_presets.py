"""What each learner takes beside the options that all share: whose option it is, its value, and the reason.

This module imports nothing heavy: the command line reads it before torch is loaded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rotogbml.errors import UsageError, did_you_mean

UNROLLED = ("anil", "boil", "maml", "maml++", "meta-sgd", "protomaml")
"""Learners that differentiate through their adaptation."""

LEARNERS = (*UNROLLED, "imaml", "reptile")


SPELT = {
    "anil": "ANIL",
    "boil": "BOIL",
    "imaml": "iMAML",
    "maml": "MAML",
    "maml++": "MAML++",
    "meta-sgd": "Meta-SGD",
    "protomaml": "ProtoMAML",
    "reptile": "Reptile",
}
"""As the papers write them."""


class Option(NamedTuple):
    """An option that only some learners have."""

    owners: tuple[str, ...]
    value: Any
    reason: str
    paper: Any = None
    """The value of ``preset=paper``; as ``value`` where None."""


class Own(NamedTuple):
    """A learner's own value of an option that all have."""

    value: Any
    reason: str


_DEEP = tuple(name for name in UNROLLED if name != "anil")

OPTIONS: dict[str, Option] = {
    "learner.first_order": Option(UNROLLED, False, "Second order unless asked otherwise."),
    "learner.checkpoint": Option(_DEEP, False, "Costs one more forward and backward an inner step."),
    "learner.learn_rates": Option(("maml++",), True, "MAML++: one learned rate for each layer and inner step."),
    "learner.multi_step_loss": Option(("maml++",), 0.15, "MAML++'s code: the first 15 of 100 epochs."),
    "learner.first_order_share": Option(("maml++",), 0.3, "MAML++: first order first; about a third of training."),
    "learner.lam": Option(("imaml",), 2.0, "iMAML's code (Omniglot)."),
    "learner.cg_steps": Option(("imaml",), 5, "iMAML's code and paper."),
    "learner.cg_damping": Option(
        ("imaml",),
        11.0,
        "With 0, the paper's formula, it did not learn (docs/log.md): I + H/lam is indefinite. 11 at lam = 2 solves "
        "24 I + H, the direction of iMAML's code.",
        paper=0.0,
    ),
    "learner.cg_tolerance": Option(("imaml",), 0.01, "Ours: one per cent of the gradient's own length."),
    "learner.inner_optimizer": Option(("reptile",), "adam", "Reptile's code: Adam with beta1 = 0."),
    "learner.inner_batch": Option(("reptile",), 10, "Reptile's code, 5-way 1-shot mini-ImageNet."),
    "learner.transductive": Option(("reptile",), True, "The variant that Reptile's paper reports first."),
}

OWN: dict[str, dict[str, Own]] = {
    "imaml": {
        "learner.inner_steps": Own(
            16, "iMAML's code. Not its 0.1 for Omniglot, which diverges at 84 px, with 3 steps too (docs/log.md)."
        ),
    },
    "reptile": {
        "learner.inner_lr": Own(0.001, "Reptile's code, for its Adam."),
        "learner.inner_steps": Own(8, "Reptile's code, mini-ImageNet."),
        "learner.test_steps": Own(50, "Reptile's code, mini-ImageNet."),
        "outer.optimizer": Own("sgd", "Reptile's own step."),
        "outer.schedule": Own("linear", "Reptile's code: to 0 over training."),
        "outer.meta_lr": Own(1.0, "Reptile's epsilon, the share of the way that is gone."),
    },
    "maml++": {
        "encoder.norm": Own("per-step", "MAML++: statistics and affine of each inner step."),
        "outer.schedule": Own("cosine", "MAML++: cosine annealing."),
        "outer.clamp": Own(10.0, "MAML++'s code."),
        "outer.keep_best": Own(5, "MAML++'s published number is an ensemble of five."),
    },
    "protomaml": {"head": Own("prototype", "What makes it ProtoMAML.")},
}


def check_name(learner: str) -> None:
    """Raise UsageError where there is no such learner."""
    if learner not in LEARNERS:
        raise UsageError(
            f"no learner '{learner}'{did_you_mean(learner, LEARNERS)}: there are {', '.join(sorted(LEARNERS))}"
        )


def settle(learner: str, name: str, given: Any, preset: str = "default") -> Any:
    """Return what an option is for a learner: what was given, the learner's own value, or None where it has none.

    Args:
        learner: one of ``LEARNERS``.
        name: such as ``learner.lam``.
        given: the user's value, or None.
        preset: ``default`` or ``paper``.

    Raises:
        UsageError: the option is another learner's.
    """
    option = OPTIONS.get(name)
    if option is not None and learner not in option.owners:
        if given is None:
            return None
        owners = ", ".join(option.owners)
        raise UsageError(
            f"--{name} {given} does not go with {learner}: leave it out, or take --learner {_one_of(owners)}"
        )
    if given is not None:
        return given
    own = OWN.get(learner, {}).get(name)
    if own is not None:
        return own.value
    if option is None:
        return None
    return option.paper if preset == "paper" and option.paper is not None else option.value


def _one_of(owners: str) -> str:
    return owners.replace(", ", "|")
