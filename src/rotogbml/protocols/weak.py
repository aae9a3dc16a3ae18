"""weak(dataset): train and test on disjoint classes of one dataset (RotoGBML, section VI, weak OOD; its Table I)."""

from __future__ import annotations

from rotogbml.protocols.conventions import (
    ADAPTATION,
    AUGMENTATION,
    CHOSEN,
    CLOSER_LOOK_OTHER,
    CLOSER_LOOK_STEPS,
    GROUPS,
    NORM,
    START,
    evaluation_of,
    said_of_episodes,
    schedule,
)
from rotogbml.protocols.datasets import DATASETS, Suite
from rotogbml.protocols.protocol import Evaluation, Part, Protocol, Question
from rotogbml.protocols.readings import Choices

TARGETS = tuple(DATASETS)
REQUIRED = True


def build(target: str, suite: Suite, choices: Choices) -> Protocol:
    """Return the protocol for one dataset."""
    validation = choices.take("validation", "own", "last")
    episodes, n_query = evaluation_of(choices, "closer-look")
    size: int = choices.take("size", 84, 42)
    split = DATASETS[target].split
    return Protocol(
        name="weak",
        title="train and test on disjoint classes of one dataset",
        origin="RotoGBML (Zhang et al.), section VI, weak OOD",
        suite=suite,
        target=target,
        training=(Part(target, "base"),),
        validation=(Part(target, "validation"),) if validation == "own" else (),
        evaluation=Evaluation((Part(target, "novel"),), episodes, n_query),
        mix="single-source",
        shift="weak",
        tasks_per_batch=4,
        n_way=5,
        k_shot=1,
        n_query=15,
        steps=CLOSER_LOOK_STEPS,
        other_steps=CLOSER_LOOK_OTHER,
        augment="closer-look",
        encoder="conv4",
        size=size,
        beta=0.1,
        respect_groups=True,
        says=(
            "Train and test on the same dataset, disjoint classes: miniImageNet 64/16/20, CUB 100/50/50.",
            "conv4; Adam; N = 4 tasks a minibatch; beta 0.1; 5-way, 1- and 5-shot.",
        ),
        questions=(
            Question(
                "datasets",
                "the paper has miniImageNet and CUB",
                "any of the nine; "
                + (
                    "split as published"
                    if split
                    else "the literature does not split this one: base, validation and novel are those of the pack"
                ),
                "--target NAME",
            ),
            Question(
                "model selection",
                "not said; Closer-Look keeps the best of 100 validation episodes after each epoch",
                {"own": "the best of 100 episodes on the dataset's validation classes", "last": "the last state"}[
                    validation
                ],
                "--readings.validation own|last, --outer.validation_episodes N, --outer.validate_every N",
            ),
            CHOSEN,
            START,
            schedule(CLOSER_LOOK_STEPS),
            ADAPTATION,
            Question(
                "queries and test episodes",
                "not said; Closer-Look takes 600 episodes of 15 queries, and the paper's intervals fit 600",
                f"15 queries in training; {said_of_episodes(episodes, n_query)}",
                "--readings.evaluation closer-look|xd|lrp|ata, --episodes.n_query N",
            ),
            AUGMENTATION,
            Question(
                "image size", "not said; 84 px with conv4 in the literature", f"{size} px", "--readings.size 84|42"
            ),
            NORM,
            GROUPS,
        ),
    )
