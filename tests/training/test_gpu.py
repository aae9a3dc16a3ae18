"""A step on a GPU is the CPU's. Skipped, saying so, where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rotogbml.config import EncoderConfig, EpisodeConfig, LearnerConfig
from rotogbml.learners import list_learners
from rotogbml.training.assemble import Parts, assemble
from rotogbml.training.step import meta_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: training on one is not tested"),
]


def steps(parts: Parts, dtype: torch.dtype) -> list[torch.Tensor]:
    """Take two steps with ω, γ and ISI in this precision; return all that is learned."""
    learner = parts.learner
    for module in (learner.network.encoder, learner.network.head):
        module.to(dtype)
    for alpha in learner.alpha.values():
        alpha.data = alpha.data.to(dtype)
    psi = learner.network.psi()
    learned = [*psi.tensors(), *learner.alpha.values()]
    optimizer = torch.optim.SGD(learned, lr=0.1)
    for step in range(2):
        episodes = tuple(e.to(parts.device) for e in parts.sampler.batch(step))
        for e in episodes:
            for side in (e.support, e.query):
                object.__setattr__(side, "x", side.x.to(dtype))
        meta_step(parts, psi, optimizer, episodes, step)
    return [p.detach().cpu() for p in learned]


@pytest.mark.parametrize("learner", list_learners())
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-9), (torch.float32, 1e-2)])
def test_a_step_is_the_cpus(configure: Callable, learner: str, dtype: torch.dtype, within: float) -> None:
    config = configure(learner=LearnerConfig(learner, inner_steps=2))
    here = steps(assemble(config, torch.device("cpu")), dtype)
    there = steps(assemble(config, torch.device("cuda")), dtype)
    for a, b in zip(there, here, strict=True):
        # A short tensor's difference is that of the sums behind it, which conjugate gradients in float32 make longest.
        short = 1e-2 if (learner, dtype) == ("imaml", torch.float32) else 1e-3
        assert (a - b).norm() <= within * b.norm().clamp_min(short)


def test_train_on_a_gpu(pack: Path, tmp_path: Path) -> None:
    import rotogbml

    task = EpisodeConfig(n_way=2, n_query=3, tasks_per_batch=3)
    small = {"holdout": [], "episodes": task, "encoder": EncoderConfig(width=4)}
    report = rotogbml.train([str(pack)], str(tmp_path / "run"), steps=3, accelerator="cuda", **small)
    assert report.steps == 3
    assert not torch.backends.cudnn.allow_tf32
