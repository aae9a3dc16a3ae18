"""Whose training and test data, how long, how tested: published settings as data, with every open question answered."""

from rotogbml.protocols.datasets import DATASETS, SUITES, Dataset, Suite, dataset_named
from rotogbml.protocols.protocol import Evaluation, Part, Protocol, Question
from rotogbml.protocols.readings import ReadingsConfig
from rotogbml.protocols.registry import create_protocol, list_protocols, targets_of

__all__ = [
    "DATASETS",
    "SUITES",
    "Dataset",
    "Evaluation",
    "Part",
    "Protocol",
    "Question",
    "ReadingsConfig",
    "Suite",
    "create_protocol",
    "dataset_named",
    "list_protocols",
    "targets_of",
]
