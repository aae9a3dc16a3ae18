"""A protocol as data: who trains on what, how long, what is tested, what its paper says and what it leaves open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from rotogbml.protocols.datasets import DATASETS, Classes, Dataset, Suite


def groups_in_words(apart: bool) -> str:
    """Return how rows call it that lesions, leaves or patients stand on one side of a task alone, or on both."""
    return "apart" if apart else "ignored"


@dataclass(frozen=True)
class Part:
    """Some classes of one dataset."""

    dataset: str
    classes: Classes

    @property
    def of(self) -> Dataset:
        """The dataset."""
        return DATASETS[self.dataset]


@dataclass(frozen=True)
class Question:
    """What a paper leaves open, and how we read it."""

    about: str
    evidence: str
    """What is known, and from where."""
    reading: str
    """What we do."""
    switch: str
    """The option that does otherwise."""


@dataclass(frozen=True)
class Evaluation:
    """What is tested."""

    parts: tuple[Part, ...]
    episodes: int
    n_query: int
    """Query images a class."""
    shots: tuple[int, ...] = ()
    """Support images a class, one table each; empty: as in training."""


@dataclass(frozen=True)
class Protocol:
    """One protocol with every question answered.

    Attributes:
        name: As on the command line.
        title: One sentence.
        origin: Whose it is.
        suite: Whose images.
        target: The dataset that was asked for; empty where the protocol tests on several.
        training: What is trained on.
        validation: What chooses the checkpoint; empty: the latest state.
        evaluation: What is tested.
        mix: From where the tasks of a minibatch come.
        shift: Which of the presets' two columns fills what nobody says.
        tasks_per_batch: N.
        n_way: Classes in a task.
        k_shot: Support images a class in training, where the user says nothing.
        n_query: Query images a class in training.
        respect_groups: Whether a lesion, leaf or patient stands on one side of a task alone, in training and test.
        steps: Meta-training steps by k_shot.
        other_steps: Those of any other k_shot.
        augment: Training augmentation.
        encoder: Name of the encoder.
        size: Side of the images, pixels.
        beta: Exponent of ω; None: not a matter of this protocol.
        says: What the paper says, a sentence each.
        questions: What it leaves open.
        readings: Which answer was taken, by the name under ``--readings``.
    """

    name: str
    title: str
    origin: str
    suite: Suite
    target: str
    training: tuple[Part, ...]
    validation: tuple[Part, ...]
    evaluation: Evaluation
    mix: Literal["one-source-per-task", "single-source", "uniform"]
    shift: Literal["weak", "strong"]
    tasks_per_batch: int
    n_way: int
    k_shot: int
    n_query: int
    steps: dict[int, int]
    other_steps: int
    augment: Literal["closer-look", "shape-safe", "none"]
    encoder: str
    size: int
    beta: float | None
    respect_groups: bool
    says: tuple[str, ...]
    questions: tuple[Question, ...]
    readings: dict[str, Any] = field(default_factory=dict)

    def steps_for(self, k_shot: int | tuple[int, int]) -> int:
        """Return the meta-training steps."""
        return self.steps.get(k_shot, self.other_steps) if isinstance(k_shot, int) else self.other_steps

    def options(self, k_shot: int | tuple[int, int]) -> dict[str, Any]:
        """Return the options of a run that the protocol settles, by dotted name."""
        found: dict[str, Any] = {
            "shift": self.shift,
            "steps": self.steps_for(k_shot),
            "episodes.n_way": self.n_way,
            "episodes.n_query": self.n_query,
            "episodes.tasks_per_batch": self.tasks_per_batch,
            "episodes.mix": self.mix,
            "episodes.augment": self.augment,
            "episodes.respect_groups": self.respect_groups,
            "encoder.name": self.encoder,
        }
        if self.beta is not None:
            found["homogenizer.reweight.beta"] = self.beta
        return found

    def needs(self) -> tuple[str, ...]:
        """Return the datasets it needs: those trained on, then those validated and tested on."""
        parts = (*self.training, *self.validation, *self.evaluation.parts)
        return tuple(dict.fromkeys(part.dataset for part in parts))
