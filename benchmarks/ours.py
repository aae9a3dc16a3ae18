"""The step as ``rotogbml train`` takes it, of the plain learner: no ω, no γ, no ISI, which the peers do not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.step import Variant, configuration
from benchmarks.stock import named
from benchmarks.work import CG_DAMPING, CG_STEPS, INNER_LR, LAM, META_LR, Work
from rotogbml.config import EncoderConfig, EpisodeConfig, LearnerConfig, OuterConfig
from rotogbml.episodes import Episode


class Ours:
    """``meta_step`` on tasks that are handed in."""

    def __init__(
        self, work: Work, dtype: torch.dtype = torch.float32, precision: Literal["32", "bf16-mixed"] = "32"
    ) -> None:
        learner = {"name": work.learner, "inner_lr": INNER_LR, "inner_steps": work.steps}
        if work.learner == "imaml":
            # Without a tolerance it always takes all its products, as the plain loop does.
            learner |= {"lam": LAM, "cg_steps": CG_STEPS, "cg_damping": CG_DAMPING, "cg_tolerance": 0.0}
        else:
            learner["first_order"] = work.first_order
        config = configuration(
            None,
            None,
            encoder=EncoderConfig(name=work.encoder, width=work.width, precision=precision),
            learner=LearnerConfig(**learner),
            episodes=EpisodeConfig(k_shot=work.k_shot, n_query=work.n_query, tasks_per_batch=work.tasks),
            outer=OuterConfig(meta_lr=META_LR),
        )
        self.variant = Variant(config, work.size)
        network = self.variant.parts.learner.network
        for module in (network.encoder, network.head):
            assert isinstance(module, nn.Module)
            module.to(dtype)
        self.steps = 0

    def to(self, device: torch.device) -> None:
        """Move the network; its optimizer, which has taken no step yet, goes along."""
        self.variant.parts.learner.to(device)
        self.variant.parts = replace(self.variant.parts, device=device)

    def step(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Take one step; return what the solver notes."""
        self.steps += 1
        return self.variant.step(tuple(episodes), self.steps).notes

    def gradient(self) -> dict[str, Tensor]:
        """Return the meta-gradient of the last step, by the name that ``Model`` has for a tensor."""
        psi = self.variant.psi
        return {name: p.grad for name, p in named(psi.theta, psi.phi).items() if p.grad is not None}
