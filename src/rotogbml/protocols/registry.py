"""Which protocols there are."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

from rotogbml.errors import UsageError, did_you_mean
from rotogbml.protocols import bscd_fsl, cdfsl, closer_look, strong, weak
from rotogbml.protocols.datasets import DATASETS, SUITES, Suite, dataset_named
from rotogbml.protocols.protocol import Protocol
from rotogbml.protocols.readings import Choices, ReadingsConfig

PROTOCOLS: dict[str, ModuleType] = {
    "weak": weak,
    "strong": strong,
    "closer-look": closer_look,
    "bscd-fsl": bscd_fsl,
    "cdfsl": cdfsl,
}


def list_protocols() -> list[str]:
    """Return the names that ``create_protocol`` knows."""
    return list(PROTOCOLS)


def targets_of(name: str) -> tuple[str, ...]:
    """Return the datasets that a protocol can test on."""
    return _module(name).TARGETS


def trains_alike(name: str) -> bool:
    """Say whether a protocol trains on the same whatever it tests on: one that can do without a target does."""
    return not _module(name).REQUIRED


def create_protocol(
    name: str, target: str | None = None, suite: Suite = "paper", readings: ReadingsConfig | None = None
) -> Protocol:
    """Return a protocol with every question answered.

    Args:
        name: one of ``list_protocols()``.
        target: a dataset by its name or an alias; only weak and strong must have one.
        suite: the paper's datasets, or the stand-ins.
        readings: answers to what papers leave open; the protocol's own where not given.

    Raises:
        UsageError: an unknown name, no target where one is needed, one that the protocol does not test on, or a
            reading that it does not know.
    """
    module = _module(name)
    if suite not in SUITES:
        raise UsageError(f"no suite '{suite}'{did_you_mean(suite, SUITES)}: there are {', '.join(SUITES)}")
    where = "" if target is None else dataset_named(target).name
    there = ", ".join(module.TARGETS)
    if not where and module.REQUIRED:
        raise UsageError(f"protocol {name} needs --target: one of {there}")
    if where and where not in module.TARGETS:
        why = f": {DATASETS[where].title} is trained on" if where == "miniimagenet" else ""
        raise UsageError(f"protocol {name} does not test on '{target}'{why}; its targets are {there}")
    choices = Choices(name, ReadingsConfig() if readings is None else readings)
    protocol = module.build(where, suite, choices)
    choices.check()
    return replace(protocol, readings=choices.taken)


def _module(name: str) -> ModuleType:
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol '{name}'{did_you_mean(name, PROTOCOLS)}: there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
