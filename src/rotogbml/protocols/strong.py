"""strong(target): every task of a minibatch from another dataset, one dataset never seen (RotoGBML, section VI)."""

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
    residual,
    said_of_episodes,
    schedule,
)
from rotogbml.protocols.datasets import DATASETS, NATURAL, UNSPLIT, Suite
from rotogbml.protocols.protocol import Evaluation, Part, Protocol, Question
from rotogbml.protocols.readings import Choices

TARGETS = tuple(name for name in DATASETS if name != "miniimagenet")
REQUIRED = True


def build(target: str, suite: Suite, choices: Choices) -> Protocol:
    """Return the protocol for one of the eight targets."""
    pool = choices.take("pool", "all8", "natural4", "mini-only")
    draw = choices.take("draw", "without-replacement", "with-replacement")
    unsplit = choices.take("unsplit", "all", "base")
    test = choices.take("test", "novel", "all")
    validation = choices.take("validation", "mini", "sources", "last")
    episodes, n_query = evaluation_of(choices, "lrp")
    encoder, size = residual(choices, suite, blocks=1)

    pools = {"all8": tuple(DATASETS), "natural4": NATURAL, "mini-only": ("miniimagenet",)}
    names = [name for name in pools[pool] if name != target]
    training = tuple(Part(name, "all" if name in UNSPLIT and unsplit == "all" else "base") for name in names)
    judges = {"mini": ["miniimagenet"], "sources": [p.dataset for p in training if p.classes == "base"], "last": []}
    alone = pool == "mini-only"
    return Protocol(
        name="strong",
        title="every task of a minibatch from another dataset; the target's dataset is never trained on",
        origin="RotoGBML (Zhang et al.), section VI, strong OOD (leave one dataset out)",
        suite=suite,
        target=target,
        training=training,
        validation=tuple(Part(name, "validation") for name in judges[validation]),
        evaluation=Evaluation((Part(target, "all" if target in UNSPLIT else test),), episodes, n_query),
        mix="single-source" if alone else "one-source-per-task" if draw == "without-replacement" else "uniform",
        shift="weak" if alone else "strong",
        tasks_per_batch=4,
        n_way=5,
        k_shot=1,
        n_query=15,
        steps=CLOSER_LOOK_STEPS,
        other_steps=CLOSER_LOOK_OTHER,
        augment="closer-look",
        encoder=encoder,
        size=size,
        beta=1.5,
        respect_groups=True,
        says=(
            "Each task of a minibatch comes from a different dataset; one dataset is held out as the target.",
            "resnet10; Adam; N = 4 tasks a minibatch; beta 1.5; 5-way, 1- and 5-shot; all models from scratch.",
        ),
        questions=(
            Question(
                "training pool",
                "'other datasets': the eight others, or miniImageNet and the fine-grained ones; the published rows "
                "beside the paper's are of models trained on miniImageNet alone",
                {
                    "all8": "the letter: all eight datasets that are not the target",
                    "natural4": f"the other natural photographs ({len(names)}: of a medical, satellite or crop target "
                    "there are five)",
                    "mini-only": "miniImageNet alone: then no two tasks come from different datasets",
                }[pool],
                "--pool all8|natural4|mini-only",
            ),
            Question(
                "how the N datasets of a minibatch are drawn",
                "'each task comes from different datasets', Assumption III.1 has i unlike j",
                "from the one dataset" if alone else f"{draw.replace('-', ' ')}, each dataset equally often",
                "--readings.draw without-replacement|with-replacement",
            ),
            Question(
                "classes of the training datasets",
                "not said; prior work trains on base classes, and four of the nine have no published split",
                "base classes; of the four without a split "
                + ("all classes" if unsplit == "all" else "the pack's training classes, all where it has no split")
                + " (data import splits none of the four, --split FILE.json does: half of seven classes is fewer "
                "than a 5-way task needs)",
                "--readings.unsplit all|base",
            ),
            Question(
                "which dataset is the target",
                "'randomly sampled one dataset as testing data'; the paper reports eight",
                "each of the eight in its turn",
                "--target NAME",
            ),
            Question(
                "test classes of the target",
                "not said; prior work tests on novel classes, BSCD-FSL on all",
                "all classes: the literature does not split it"
                if target in UNSPLIT
                else {"novel": "novel classes", "all": "all classes: none was trained on"}[test],
                "--readings.test novel|all",
            ),
            Question(
                "model selection",
                "not said; prior work validates on miniImageNet's validation classes",
                {
                    "mini": "the best of 100 episodes on miniImageNet's validation classes, never on the target",
                    "sources": "the best of 100 episodes on the validation classes of all training datasets",
                    "last": "the last state",
                }[validation],
                "--readings.validation mini|sources|last",
            ),
            CHOSEN,
            START,
            schedule(CLOSER_LOOK_STEPS),
            ADAPTATION,
            Question(
                "queries and test episodes",
                "not said, and its Table II has no intervals; prior work on the same targets takes 1,000 or 2,000",
                f"15 queries in training; {said_of_episodes(episodes, n_query)}",
                "--readings.evaluation closer-look|xd|lrp|ata, --episodes.n_query N",
            ),
            AUGMENTATION,
            Question(
                "image size",
                "not said; 224 px with residual encoders in the literature",
                f"{size} px, {encoder}" + ("" if size == 224 else ": a variant for small machines"),
                "--readings.size 224|84|42, --encoder NAME",
            ),
            NORM,
            GROUPS,
        ),
    )
