"""closer-look: miniImageNet → CUB (Chen et al. 2019, "A Closer Look at Few-shot Classification", cross-domain)."""

from __future__ import annotations

from rotogbml.protocols.conventions import (
    AS_THE_CODES,
    CHOSEN,
    CLOSER_LOOK_OTHER,
    CLOSER_LOOK_STEPS,
    evaluation_of,
    groups_of,
    residual,
    said_of_episodes,
    said_of_groups,
)
from rotogbml.protocols.datasets import Suite
from rotogbml.protocols.protocol import Evaluation, Part, Protocol, Question
from rotogbml.protocols.readings import Choices

TARGETS = ("cub",)
REQUIRED = False


def build(target: str, suite: Suite, choices: Choices) -> Protocol:
    """Return the protocol; its one target is CUB."""
    source = choices.take("source", "all", "base")
    judges = ("target", "last") if source == "all" else ("target", "mini", "last")
    validation = choices.take("validation", *judges)
    episodes, n_query = evaluation_of(choices, "closer-look")
    encoder, size = residual(choices, suite, blocks=2)
    apart = groups_of(choices)
    judge = {"target": (Part("cub", "validation"),), "mini": (Part("miniimagenet", "validation"),), "last": ()}
    return Protocol(
        name="closer-look",
        title="train on miniImageNet, test on CUB",
        origin="Chen et al. 2019 (Closer-Look), dataset 'cross' of their code",
        suite=suite,
        target="cub",
        training=(Part("miniimagenet", source),),
        validation=judge[validation],
        evaluation=Evaluation((Part("cub", "novel"),), episodes, n_query),
        mix="single-source",
        shift="weak",
        tasks_per_batch=4,
        n_way=5,
        k_shot=5,
        n_query=16,
        steps=CLOSER_LOOK_STEPS,
        other_steps=CLOSER_LOOK_OTHER,
        augment="closer-look",
        encoder=encoder,
        size=size,
        beta=None,
        respect_groups=apart,
        says=(
            "All 100 classes of miniImageNet train, CUB's 50 validation classes choose the checkpoint, its 50 novel "
            "classes are tested (train.py).",
            "5-way; 16 queries a class in training, 15 at test, 600 test episodes; MAML: 4 tasks an update, 5 inner "
            "steps at 0.01, second order.",
        ),
        questions=(
            Question(
                "training classes",
                "the code takes all 100; later work on CUB takes the 64 base classes",
                {"all": "all 100", "base": "the 64 base classes"}[source],
                "--readings.source all|base",
            ),
            Question(
                "model selection",
                "the code keeps the best of 100 episodes on the target's own validation classes, which other protocols "
                "would not touch",
                {"target": "the same", "mini": "on miniImageNet's validation classes", "last": "the last state"}[
                    validation
                ],
                f"--readings.validation {'|'.join(judges)}",
            ),
            CHOSEN,
            Question(
                "encoder and shots",
                "the code leaves both to the command line; in the paper resnet18, 5-shot (from memory, not confirmed)",
                f"{encoder}, {size} px, 5-shot",
                "--encoder NAME, --readings.size 224|84|42, --episodes.k_shot K",
            ),
            Question(
                "test episodes",
                "600 of 15 queries",
                said_of_episodes(episodes, n_query),
                "--readings.evaluation closer-look|xd|lrp|ata",
            ),
            *AS_THE_CODES,
            said_of_groups(apart),
        ),
    )
