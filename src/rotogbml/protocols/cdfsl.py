"""cdfsl: miniImageNet → each of the eight others (the single-source setting of Tseng, Sun, and Wang and Deng)."""

from __future__ import annotations

from rotogbml.protocols.conventions import (
    AS_THE_CODES,
    CHOSEN,
    evaluation_of,
    groups_of,
    residual,
    said_of_episodes,
    said_of_groups,
)
from rotogbml.protocols.datasets import DATASETS, UNSPLIT, Suite
from rotogbml.protocols.protocol import Evaluation, Part, Protocol, Question
from rotogbml.protocols.readings import Choices

TARGETS = tuple(name for name in DATASETS if name != "miniimagenet")
REQUIRED = False
STEPS = 40_000
"""400 epochs of 100 episodes, one an update."""


def build(target: str, suite: Suite, choices: Choices) -> Protocol:
    """Return the protocol; without a target it tests on all eight."""
    validation = choices.take("validation", "mini", "last")
    episodes, n_query = evaluation_of(choices, "ata")
    encoder, size = residual(choices, suite, blocks=1)
    apart = groups_of(choices)
    names = (target,) if target else TARGETS
    parts = tuple(Part(name, "all" if name in UNSPLIT else "novel") for name in names)
    return Protocol(
        name="cdfsl",
        title="train on miniImageNet alone, test on the eight others",
        origin="single-source work: Tseng et al. 2020 (FT), Sun et al. 2020 (LRP), Wang and Deng 2021 (ATA)",
        suite=suite,
        target=target,
        training=(Part("miniimagenet", "base"),),
        validation=(Part("miniimagenet", "validation"),) if validation == "mini" else (),
        evaluation=Evaluation(parts, episodes, n_query, (1, 5)),
        mix="single-source",
        shift="weak",
        tasks_per_batch=1,
        n_way=5,
        k_shot=5,
        n_query=16,
        steps={},
        other_steps=STEPS,
        augment="closer-look",
        encoder=encoder,
        size=size,
        beta=None,
        respect_groups=apart,
        says=(
            "miniImageNet's 64 base classes train, its 16 validation classes choose the checkpoint; novel classes of "
            "CUB, Cars, Places and Plantae and every class of the other four are tested.",
            "ResNet10 at 224 px; trained 5-shot, tested 1- and 5-shot; 400 epochs of 100 episodes, 16 queries in "
            "training, one episode an update.",
            "Its four RelationNet rows are those beside which RotoGBML's Table II sets models trained on eight "
            "datasets: the two do not share training data.",
        ),
        questions=(
            Question(
                "where the encoder starts",
                "every recipe starts from an encoder trained 400 epochs on miniImageNet's labels; RotoGBML does not",
                "from scratch: the protocol does not give the start",
                "--method.start RUN|FILE|hub:OWNER/NAME/FILE, or a pretrained encoder of your own, --encoder "
                "package.module:factory",
            ),
            Question(
                "model selection",
                "the best of 100 episodes on miniImageNet's validation classes (ATA, LRP); FT tests epoch 400",
                {"mini": "miniImageNet's validation classes", "last": "the last state"}[validation],
                "--readings.validation mini|last",
            ),
            CHOSEN,
            Question(
                "a class with fewer images than a task needs",
                "the codes repeat its images, so that support and queries may share one",
                "it takes part in no task: no image stands twice in one",
                "--n_query N and --k_shot K of rotogbml evaluate",
            ),
            Question(
                "test episodes",
                "FT: 1,000 of 15 queries; LRP: 2,000 of 15; ATA: 2,000 of 16",
                said_of_episodes(episodes, n_query),
                "--readings.evaluation ata|lrp|xd|closer-look",
            ),
            Question(
                "tasks an update",
                "one for relation networks; no gradient-based learner is in their code",
                "one",
                "--episodes.tasks_per_batch N",
            ),
            Question(
                "image size",
                "224 px",
                f"{size} px, {encoder}",
                "--readings.size 224|84|42, --encoder NAME",
            ),
            *AS_THE_CODES,
            said_of_groups(apart),
        ),
    )
