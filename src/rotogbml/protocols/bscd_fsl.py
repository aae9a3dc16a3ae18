"""bscd-fsl: miniImageNet → crops, satellite, skin and chest images (Guo et al. 2020, the CD-FSL benchmark)."""

from __future__ import annotations

from rotogbml.protocols.conventions import (
    AS_THE_CODES,
    groups_of,
    residual,
    said_of_episodes,
    said_of_groups,
)
from rotogbml.protocols.datasets import UNSPLIT, Suite
from rotogbml.protocols.protocol import Evaluation, Part, Protocol, Question
from rotogbml.protocols.readings import Choices

TARGETS = UNSPLIT
REQUIRED = False
STEPS = 40_000
"""400 epochs of 100 episodes, one an update."""
SHOTS = (5, 20, 50)


def build(target: str, suite: Suite, choices: Choices) -> Protocol:
    """Return the protocol; without a target it tests on all four."""
    validation = choices.take("validation", "last", "mini")
    encoder, size = residual(choices, suite, blocks=1)
    apart = groups_of(choices)
    parts = tuple(Part(name, "all") for name in ((target,) if target else TARGETS))
    return Protocol(
        name="bscd-fsl",
        title="train on miniImageNet, test on four sets less and less like it",
        origin="Guo et al. 2020 (BSCD-FSL, 'Broader Study of Cross-Domain Few-Shot Learning')",
        suite=suite,
        target=target,
        training=(Part("miniimagenet", "base"),),
        validation=(Part("miniimagenet", "validation"),) if validation == "mini" else (),
        evaluation=Evaluation(parts, 600, 15, SHOTS),
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
            "miniImageNet's 64 base classes train; every class of CropDiseases, EuroSAT, ISIC and ChestX is tested; "
            "nothing of a target is trained on.",
            "ResNet10 at 224 px; 5-way, 5-, 20- and 50-shot, 600 episodes of 15 queries; 400 epochs of 100 episodes, "
            "16 queries in training, one episode an update (train.py).",
        ),
        questions=(
            Question(
                "model selection",
                "the code keeps no best state and tests the last; others validate on miniImageNet's validation classes",
                {"last": "the last state", "mini": "the best of 100 episodes on miniImageNet's validation classes"}[
                    validation
                ],
                "--readings.validation last|mini",
            ),
            Question(
                "shots in training",
                "the README trains 5-shot and its finetune.py takes any number at test",
                "5-shot, tested at 5, 20 and 50",
                "--episodes.k_shot K, or rotogbml evaluate --k_shot K",
            ),
            Question(
                "tasks an update",
                "one for its ProtoNet; no gradient-based learner is in its code",
                "one",
                "--episodes.tasks_per_batch N",
            ),
            Question(
                "adaptation at test",
                "finetune.py fits a new linear head (SGD 0.01, minibatches of 4, 100 epochs), encoder frozen or tuned",
                "learners adapt by their inner loop; that recipe is the methods' baseline and finetune",
                "--learner.test_steps N, or --method baseline|finetune",
            ),
            Question(
                "test episodes",
                "600, stated in the README",
                said_of_episodes(600, 15),
                "rotogbml evaluate --episodes N --n_query N",
            ),
            Question(
                "image size",
                "224 px; images of ChestX, which are square, are made 256 px first",
                f"{size} px, {encoder}; every image once, from the release to the pack",
                "--readings.size 224|84|42, --encoder NAME",
            ),
            *AS_THE_CODES,
            said_of_groups(apart),
        ),
    )
