"""RelationNet-FT and -LFT (Tseng et al. 2020): noise on the encoder's maps in training, fixed or learned.

After a norm, in training only, γ ~ N(1, sp(a)²) and β ~ N(0, sp(b)²) for each channel, one draw a pass, and
γ·norm(x) + β goes on; sp is softplus with sharpness 100. A norm ends with scale w and shift v, so that this is the same
pass with γw and γv + β: no layer is added.

    FT    a = 0.3, b = 0.5, in single-source or multi-source training
    LFT   a and b are learned, one each a channel, so that a step on one source helps another:
              w′ = w − 1e-3 ∇_w L_seen(w; a, b),   a, b ← descend L_unseen(w′) without noise
          with w moving by ∇_w L_seen as ever.

Norms that are followed by noise: the last of a residual block and its shortcut's; of conv4 all. LFT's code adds a
classifier on mini-ImageNet as auxiliary task, which belongs to its sources; here there is none.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders import Encoder, Norm, ResNet, ResNet12
from rotogbml.episodes import Pair
from rotogbml.errors import UsageError
from rotogbml.learners import Network, Outcome, Params, Psi, Rotation
from rotogbml.methods.compared import Options, Task, TaskLoss
from rotogbml.methods.relation import Relation
from rotogbml.methods.relationnet import RelationNet
from rotogbml.seeds import torch_generator

A, B = 0.3, 0.5
SHARPNESS = 100.0
STEP = 1e-3
"""Of w′."""

_LAST = ("norm2", "norms.2", "shortcut_norm")


def noisy_norms(encoder: Encoder) -> dict[str, int]:
    """Return the norms that noise follows, and each one's channels.

    Raises:
        UsageError: the encoder has no norms of ours.
    """
    residual = isinstance(encoder, ResNet | ResNet12)
    found = {
        name: module.weight.shape[-1]
        for name, module in encoder.named_modules()
        if isinstance(module, Norm) and (not residual or name.endswith(_LAST))
    }
    if not found:
        raise UsageError("feature-wise transformation follows norms of ours: take an encoder of `list_encoders()`")
    return found


def fixed(norms: dict[str, int]) -> Params:
    """Return a and b of each norm, one number a channel."""
    return {
        f"{name}.{which}": torch.full((channels,), start)
        for name, channels in norms.items()
        for which, start in (("a", A), ("b", B))
    }


def transformed(theta: Params, strength: Params, key: int) -> Params:
    """Return θ with noise in its scales and shifts, attached to θ and to a and b.

    Args:
        theta: the encoder's parameters.
        strength: a and b by norm.
        key: names the draws.
    """
    noisy = dict(theta)
    for name in {each.rpartition(".")[0]: None for each in strength}:
        a, b = strength[f"{name}.a"], strength[f"{name}.b"]
        generator = torch_generator(key, "feature-wise", name)
        of_gamma, of_beta = (torch.randn(a.shape, generator=generator).to(a) for _ in range(2))
        gamma = 1 + of_gamma * F.softplus(a, beta=SHARPNESS)
        beta = of_beta * F.softplus(b, beta=SHARPNESS)
        noisy[f"{name}.weight"] = gamma * theta[f"{name}.weight"]
        noisy[f"{name}.bias"] = gamma * theta[f"{name}.bias"] + beta
    return noisy


class Transformed(RelationNet):
    """RelationNet-FT."""

    def __init__(self, name: str, network: Network, options: Options, module: Relation) -> None:
        super().__init__(name, network, options, module)
        self.strength = fixed(noisy_norms(network.encoder))

    def to(self, device: torch.device) -> None:
        """Move everything, the strength too."""
        super().to(device)
        self.strength = {name: t.to(device) for name, t in self.strength.items()}

    def task_loss(self, psi: Psi, task: Task) -> TaskLoss:
        """Return the loss of an episode whose maps are noisy."""
        return super().task_loss(psi._replace(theta=transformed(psi.theta, self.strength, task.episode.key)), task)


class LearnedTransform(RelationNet):
    """RelationNet-LFT."""

    draws = "pairs"

    def __init__(self, name: str, network: Network, options: Options, module: Relation) -> None:
        super().__init__(name, network, options, module)
        self.alpha = {name: t.requires_grad_() for name, t in fixed(noisy_norms(network.encoder)).items()}

    def meta_gradient(self, psi: Psi, task: Task, rotate: Rotation | None = None) -> Outcome:
        """Return L_seen and its gradient at ψ, and the gradient of L_unseen(w′) at a and b."""
        pair: Pair = task.episode
        noisy = psi._replace(theta=transformed(psi.theta, self.alpha, pair.key))
        found = self.task_loss(noisy, task._replace(episode=pair.seen))
        tensors = psi.tensors()
        gradients = torch.autograd.grad(found.loss, [*tensors, found.z], create_graph=True, materialize_grads=True)
        moved = iter([p - STEP * g for p, g in zip(tensors, gradients, strict=False)])
        after = Psi(*({name: next(moved) for name in group} for group in psi))
        unseen = self.unseen_loss(after, pair)
        of_alpha = torch.autograd.grad(unseen, list(self.alpha.values()), materialize_grads=True)
        outcome = self.outcome(psi, task, found, [g.detach() for g in gradients[:-1]], gradients[-1].detach())
        return replace(outcome, alpha_gradient=list(of_alpha), notes={"unseen_loss": float(unseen.detach())})

    def unseen_loss(self, psi: Psi, pair: Pair) -> Tensor:
        """Return the loss of the other source's episode, without noise, as in a test."""
        episode = pair.unseen
        support, query = self.features(psi.theta, episode)
        pairs = self.pairs(support, episode.support.y, query, episode.n_way)
        return self.loss(self.raw(psi, pairs, episode.n_way), episode.query.y)
