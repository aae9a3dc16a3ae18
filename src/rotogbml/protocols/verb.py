"""``rotogbml protocol list`` and ``rotogbml protocol show``."""

from __future__ import annotations

from rotogbml.protocols.datasets import DATASETS, SUITES, Suite
from rotogbml.protocols.protocol import Protocol
from rotogbml.protocols.readings import ReadingsConfig
from rotogbml.protocols.registry import create_protocol, list_protocols, targets_of
from rotogbml.protocols.show import Format, render


def list_() -> None:
    """List the protocols, what each can test on, the suites, and how datasets are called."""
    for name in list_protocols():
        targets = targets_of(name)
        protocol = create_protocol(name, targets[0])
        print(f"{name:<13}{protocol.title}\n{'':<13}from {protocol.origin}\n{'':<13}targets: {', '.join(targets)}")
    print("\nsuites")
    for suite, about in SUITES.items():
        print(f"{suite:<13}{about}")
    print("\ndatasets, the packed sources that are taken for them, and those that stand in for them (core)")
    for dataset in DATASETS.values():
        aliases, stand_ins = ", ".join(dataset.aliases), ", ".join(dataset.stands_in)
        print(f"{dataset.name:<13}{aliases}; core: {stand_ins} ({dataset.stand_in})")


def show(
    name: str,
    target: str | None = None,
    suite: Suite = "paper",
    readings: ReadingsConfig = ReadingsConfig(),  # noqa: B008 (a frozen default would lose its type on the command line)
    format: Format = "text",
) -> Protocol:
    """Print a protocol: sources, classes, splits, augmentation, iterations, evaluation, what is said and left open.

    Args:
        name: One of weak, strong, closer-look, bscd-fsl, cdfsl.
        target: Dataset to test on; weak and strong need one, the others test on all of theirs where not given.
        suite: The paper's datasets, or core: the stand-ins.
        readings: Answers to what the papers leave open.
        format: How it is printed.

    Returns:
        The protocol.

    Raises:
        UsageError: there is no such protocol, target or reading.
    """
    protocol = create_protocol(name, target, suite, readings)
    print(render(protocol, format), end="")
    return protocol
