"""What several protocols share: Closer-Look's schedule, the literature's test conventions, the questions on both."""

from __future__ import annotations

from dataclasses import replace

from rotogbml.protocols.datasets import Suite
from rotogbml.protocols.protocol import Question
from rotogbml.protocols.readings import Choices

CLOSER_LOOK_STEPS = {1: 60_000, 5: 40_000}
"""Its MAML: (600 epochs of 1-shot, 400 of 5-shot) × 4 tasks × 100 episodes, 4 tasks an update."""
CLOSER_LOOK_OTHER = 60_000
EPISODES = {"closer-look": (600, 15), "xd": (1000, 15), "lrp": (2000, 15), "ata": (2000, 16)}
"""Test episodes and queries a class: Chen et al. 2019; Tseng et al. 2020; Sun et al. 2020; Wang and Deng 2021."""
VALIDATION_EPISODES = 100
"""Of Closer-Look, BSCD-FSL and the codes after them."""
CHOSEN = Question(
    "how often is chosen, and of what",
    "the codes validate after each epoch of 100 episodes, and keep weights; none keeps a running mean of them",
    "every 500 steps, of the weights and of their running mean (0.998) the better: its checkpoint is 'best'",
    "--outer.validate_every N, --outer.validation_episodes N, --outer.average 0",
)
START = Question(
    "where the encoder starts",
    "'We optimize all models from scratch', while each of its relation rows begins with an encoder of 400 epochs",
    "from scratch; compared methods that need a start have one, and the row says which",
    "--method.start RUN|FILE|hub:OWNER/NAME/FILE",
)


def evaluation_of(choices: Choices, default: str) -> tuple[int, int]:
    """Return test episodes and queries a class."""
    return EPISODES[choices.take("evaluation", default, *(name for name in EPISODES if name != default))]


def residual(choices: Choices, suite: Suite, blocks: int) -> tuple[str, int]:
    """Return the residual encoder and the image size; its small stem below 224 px."""
    default: tuple[int, ...] = (224, 84, 42) if suite == "paper" else (84, 42, 224)
    size: int = choices.take("size", *default)
    return f"resnet{2 + 8 * blocks}" + ("" if size == 224 else "-small"), size


def said_of_episodes(episodes: int, n_query: int) -> str:
    """Return a reading in words."""
    return f"{episodes:,} test episodes, {n_query} queries a class"


def schedule(steps: dict[int, int]) -> Question:
    """Return the question of length and inner loop, which the paper leaves open in both of its settings."""
    return Question(
        "iterations, inner steps, the learning rate of omega",
        "the paper gives eta_base 0.01, eta_meta 1e-3, eta_gamma 5e-4 and '1-10 steps', no iterations and no "
        "eta_omega; Closer-Look's MAML takes 5 inner steps and 60,000 (1-shot) or 40,000 (5-shot) updates of 4 tasks",
        f"{steps[1]:,} steps for 1-shot, {steps[5]:,} for 5-shot; inner loop and omega as the presets have them",
        "--steps N, --minutes M, --learner.inner_steps N, --homogenizer.reweight.lr X",
    )


ADAPTATION = Question(
    "adaptation at test",
    "'fine-tuning in the inner loop', no number of steps",
    "as many inner steps as in training, printed in every row",
    "--learner.test_steps N, or rotogbml evaluate --test_steps N",
)
AUGMENTATION = Question(
    "augmentation",
    "'following' Closer-Look: random resized crop, brightness, contrast and colour 0.4, mirror; support and query of "
    "training tasks alike; at test the middle of a square 1.15 times as large",
    "the same (closer-look); room for the crop is the pack's margin of 0.15",
    "--episodes.augment shape-safe|none",
)
NORM = Question(
    "batch norm",
    "not said; Closer-Look's MAML takes the statistics of the batch at hand, at test too (transductive)",
    "the same (policy batch), printed in every row",
    "--encoder.norm support|running|per-step|group|layer|none",
)


AS_THE_CODES = (
    replace(
        AUGMENTATION,
        evidence="as Closer-Look: random resized crop, brightness, contrast and colour 0.4, mirror; at test the "
        "middle of a square 1.15 times as large",
    ),
    replace(
        NORM,
        evidence="Closer-Look's MAML and relation modules take the batch at hand, at test too; its other rows, and the "
        "codes after it, moving averages at test",
    ),
)
"""The same two where published code answers them."""


def groups_of(choices: Choices) -> bool:
    """Return whether lesions, leaves or patients are kept apart; as published they are not."""
    return choices.take("groups", "ignored", "apart") == "apart"


_GROUPS = "photographs of one lesion, leaf or patient on both sides of a task"


def said_of_groups(apart: bool) -> Question:
    """Return the question of groups where published code answers it."""
    return Question(
        _GROUPS,
        "the code draws a class's images whatever lesion, leaf or patient they are of",
        "kept apart where the pack names them, in training and test" if apart else "the same: groups are ignored",
        "--readings.groups ignored|apart",
    )


GROUPS = Question(
    _GROUPS,
    "the paper says nothing, and no paper read keeps them apart",
    "kept apart where the pack names them (data import does, of ISIC, ChestX and CropDiseases); the row says so",
    "--respect_groups false, of train and of evaluate",
)
