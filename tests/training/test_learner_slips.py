"""Options that do not go together are refused with the mend; rates that explode are found in one step and named."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rotogbml.config import LearnerConfig, RunConfig
from rotogbml.encoders import create_encoder
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.learners import Network, create_head, create_learner
from rotogbml.training.assemble import Parts
from rotogbml.training.step import meta_step

Build = Callable[..., Parts]

OTHERS: list[tuple[str, str, Any]] = [
    ("maml", "cg_steps", 3),
    ("maml", "cg_damping", 0.0),
    ("maml", "lam", 2.0),
    ("maml", "learn_rates", False),
    ("maml", "multi_step_loss", 0.0),
    ("meta-sgd", "first_order_share", 0.3),
    ("anil", "checkpoint", True),
    ("anil", "inner_batch", 10),
    ("boil", "transductive", True),
    ("protomaml", "inner_optimizer", "sgd"),
    ("maml++", "cg_tolerance", 0.1),
    ("imaml", "first_order", False),
    ("imaml", "checkpoint", False),
    ("imaml", "inner_batch", 10),
    ("reptile", "first_order", False),
    ("reptile", "first_order", True),
    ("reptile", "lam", 2.0),
    ("reptile", "checkpoint", True),
]
OWNERS = {
    "cg_steps": "imaml",
    "cg_damping": "imaml",
    "cg_tolerance": "imaml",
    "lam": "imaml",
    "learn_rates": "maml++",
    "multi_step_loss": "maml++",
    "first_order_share": "maml++",
    "inner_batch": "reptile",
    "inner_optimizer": "reptile",
    "transductive": "reptile",
    "first_order": "anil|boil|maml|maml++|meta-sgd|protomaml",
    "checkpoint": "boil|maml|maml++|meta-sgd|protomaml",
}


def network(head: str = "linear") -> Network:
    encoder = create_encoder("conv4", size=16, width=4)
    net = Network(encoder, create_head(head, encoder.feature_dim, 2))
    net.initialise(0)
    return net


def refusal(learner: str, option: str, value: Any) -> str:
    return (
        f"^--learner.{option} {re.escape(str(value))} does not go with {re.escape(learner)}: leave it out, or take "
        f"--learner {re.escape(OWNERS[option])}$"
    )


@pytest.mark.parametrize(("learner", "option", "value"), OTHERS)
def test_an_option_of_another_learner_is_refused_before_a_run(
    configure: Callable[..., RunConfig], learner: str, option: str, value: Any
) -> None:
    with pytest.raises(UsageError, match=refusal(learner, option, value)):
        configure(learner=LearnerConfig(learner, **{option: value}))


@pytest.mark.parametrize(("learner", "option", "value"), OTHERS)
def test_an_option_of_another_learner_is_refused_from_python(learner: str, option: str, value: Any) -> None:
    net = network("prototype" if learner == "protomaml" else "linear")
    with pytest.raises(UsageError, match=refusal(learner, option, value)):
        create_learner(learner, net, **{option: value})


@pytest.mark.parametrize("learner", ["boil", "maml", "maml++", "meta-sgd"])
def test_checkpointing_has_nothing_to_save_in_first_order(build: Build, learner: str) -> None:
    with pytest.raises(UsageError, match=r"learner.checkpoint .* learner.first_order: leave one of them out"):
        build(learner=LearnerConfig(learner, first_order=True, checkpoint=True))


@pytest.mark.parametrize("head", ["linear", "linear-tied", "zero", "cosine"])
def test_protomaml_with_another_head_is_refused(build: Build, head: str) -> None:
    with pytest.raises(UsageError, match=r"leave --head out, or take --learner maml"):
        build(learner=LearnerConfig("protomaml"), head=head)


@pytest.mark.parametrize("head", ["linear-tied", "zero"])
def test_boil_with_a_head_whose_rows_stay_alike_is_refused(build: Build, head: str) -> None:
    with pytest.raises(UsageError, match=r"sends it nothing: take --head linear, prototype or cosine"):
        build(learner=LearnerConfig("boil"), head=head)


@pytest.mark.parametrize(
    ("learner", "option", "value", "said"),
    [
        ("imaml", "lam", 0.0, "learner.lam is 0.0: it must be above 0"),
        ("imaml", "lam", -1.0, "learner.lam is -1.0"),
        ("imaml", "lam", math.nan, "learner.lam is nan"),
        ("imaml", "cg_steps", 0, "learner.cg_steps is 0: it must be at least 1"),
        ("imaml", "cg_damping", -0.1, "learner.cg_damping is -0.1: it must be 0 or more"),
        ("imaml", "cg_tolerance", 1.0, "learner.cg_tolerance is 1.0"),
        ("reptile", "inner_batch", 0, "learner.inner_batch is 0: it must be at least 1"),
        ("reptile", "inner_steps", 0, "learner.inner_steps is 0: it must be at least 1"),
        ("maml++", "multi_step_loss", 1.5, "learner.multi_step_loss is 1.5: it must be a share of training, 0 to 1"),
        ("maml++", "first_order_share", -0.1, "learner.first_order_share is -0.1"),
        ("maml", "inner_lr", 0.0, "inner_lr is 0.0: it must be above 0"),
        ("maml", "inner_lr", math.inf, "inner_lr is inf"),
        ("maml", "inner_lr", math.nan, "inner_lr is nan"),
        ("maml", "inner_steps", -1, "inner_steps is -1"),
        ("maml", "test_steps", -1, "test_steps is -1"),
    ],
)
def test_a_number_out_of_its_range_is_named(learner: str, option: str, value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        create_learner(learner, network(), **{option: value})


def test_an_unknown_learner_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no learner 'mamlpp'.*maml\+\+"):
        create_learner("mamlpp", network())


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no option 'inner_step' of a learner.*inner_steps"):
        create_learner("maml", network(), inner_step=3)


def exploded(build: Build, learner: str, steps: int, lr: float, **options: Any) -> tuple[str, Parts]:
    parts = build(
        learner=LearnerConfig(learner, inner_lr=lr, inner_steps=steps, **options), homogenizer=None, isi=None
    ).at(0.5)
    psi = parts.learner.network.psi()
    before = [p.detach().clone() for p in psi.tensors()]
    optimizer = torch.optim.SGD([*psi.tensors(), *parts.learner.alpha.values()], lr=0.1)
    with pytest.raises(RotogbmlError) as raised:
        meta_step(parts, psi, optimizer, parts.sampler.batch(0), 0)
    assert all(torch.equal(p, q) for p, q in zip(psi.tensors(), before, strict=True))
    return str(raised.value), parts


NAMED = r"source '(alpha|beta|gamma)' at step 0 .*\(inner step (\d) makes (encoder\.blocks\.\d\.[a-z.]+|head\.[a-z]+) "


@pytest.mark.parametrize("learner", ["anil", "boil", "imaml", "maml", "maml++", "meta-sgd", "protomaml"])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_rate_that_explodes_is_found_in_one_step_and_named(build: Build, learner: str, steps: int) -> None:
    more = {"lam": 1e-21} if learner == "imaml" else {}  # its proximal term alone would be refused
    said, _ = exploded(build, learner, steps, 3e38 if learner == "anil" else 1e20, **more)
    found = re.search(NAMED, said)
    assert found, said
    assert 1 <= int(found[2]) <= steps
    assert "lower --learner.inner_lr" in said


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_reptiles_rate_that_explodes_is_found_in_one_step_and_named(build: Build, optimizer: str) -> None:
    said, _ = exploded(build, "reptile", 3, 1e20, inner_optimizer=optimizer)
    assert re.search(NAMED, said), said


def test_what_is_named_is_what_exploded(build: Build) -> None:
    """By a rate of its own for one tensor, and in its second step: MAML++'s rates say which."""
    parts = build(learner=LearnerConfig("maml++", inner_lr=0.01, inner_steps=3), homogenizer=None, isi=None).at(1.0)
    with torch.no_grad():
        parts.learner.alpha["f.blocks.2.conv.weight"][1] = 3e38
    psi = parts.learner.network.psi()
    with pytest.raises(RotogbmlError, match=r"inner step [23] makes encoder\.blocks\.2\.conv\.weight "):
        meta_step(parts, psi, torch.optim.SGD(psi.tensors(), lr=0.1), parts.sampler.batch(0), 0)


def test_reptiles_explosion_is_looked_for_on_the_images_it_trained_on(build: Build) -> None:
    """Support and query together: the support alone may well stay finite."""
    parts = build(learner=LearnerConfig("reptile", inner_batch=99, inner_steps=2), homogenizer=None, isi=None)
    episode = parts.sampler.batch(0)[0]
    episode.query.x[0] = math.nan
    psi = parts.learner.network.psi()
    with pytest.raises(RotogbmlError, match=r"inner step 1 makes encoder\.blocks\.0\."):
        meta_step(parts, psi, torch.optim.SGD(psi.tensors(), lr=0.1), (episode,), 0)


def test_an_exploding_psi_is_not_blamed_on_a_tensor_that_did_not_grow(build: Build) -> None:
    parts = build(learner=LearnerConfig("maml", inner_lr=1e-3, inner_steps=1), homogenizer=None, isi=None)
    episode = parts.sampler.batch(0)[0]
    episode.query.x[0] = math.nan
    psi = parts.learner.network.psi()
    with pytest.raises(RotogbmlError) as raised:
        meta_step(parts, psi, torch.optim.SGD(psi.tensors(), lr=0.1), (episode,), 0)
    assert "inner step" not in str(raised.value)
