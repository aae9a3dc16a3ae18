"""RelationNet-ATA (Wang & Deng 2021): each training episode is first made harder.

    1. with probability 1 − p, one random convolution 3 → 3 over the whole episode: k ∈ {1, 3, 5, 7, 11, 15}, Xavier's
       normal, no bias, the same size
    2. T = 5 steps of gradient ascent on the episode's loss with respect to all its pixels, as in a test, step size 80;
       no projection, no clamp
    3. the loss of the episode that comes of it

p = 0.5 and the step are the code's defaults; what it took for RelationNet is not stated.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rotogbml.episodes import Episode, Examples
from rotogbml.learners import Psi
from rotogbml.methods.compared import Task, TaskLoss
from rotogbml.methods.relationnet import RelationNet
from rotogbml.seeds import numpy_generator, torch_generator

KERNELS = (1, 3, 5, 7, 11, 15)
STEPS = 5
LR = 80.0
P = 0.5


def random_convolution(x: Tensor, key: int) -> Tensor:
    """Return images [b, 3, h, w] after one convolution that ``key`` draws."""
    k = int(numpy_generator(key, "ata", "kernel").choice(KERNELS))
    weight = nn.init.xavier_normal_(torch.empty(3, 3, k, k), generator=torch_generator(key, "ata", "weights"))
    return F.conv2d(x, weight.to(x), padding=k // 2)


class Adversarial(RelationNet):
    """RelationNet-ATA; a test is plain RelationNet's."""

    def task_loss(self, psi: Psi, task: Task) -> TaskLoss:
        """Return the loss of the harder episode."""
        return super().task_loss(psi, task._replace(episode=self.harder(psi, task.episode)))

    def harder(self, psi: Psi, episode: Episode) -> Episode:
        """Return the episode with the convolution and after the ascent."""
        s = len(episode.support.x)
        x = torch.cat([episode.support.x, episode.query.x])
        if numpy_generator(episode.key, "ata", "whether").random() >= P:
            x = random_convolution(x, episode.key)
        *_, x = self.ascent(psi, episode, x)
        return with_images(episode, x[:s], x[s:])

    def ascent(self, psi: Psi, episode: Episode, x: Tensor, lr: float = LR) -> list[Tensor]:
        """Return the images before and after each step, T + 1 in all.

        Args:
            psi: held still.
            episode: whose labels count.
            x: support and query images, [s + q, 3, size, size].
            lr: step size.
        """
        still = Psi(*({name: p.detach() for name, p in group.items()} for group in psi))
        states = [x]
        for _ in range(STEPS):
            x = states[-1].detach().requires_grad_()
            (g,) = torch.autograd.grad(self.test_loss(still, episode, x), [x])
            states.append((x + lr * g).detach())
        return states

    def test_loss(self, psi: Psi, episode: Episode, x: Tensor) -> Tensor:
        """Return the loss of an episode of those images, norms as in a test."""
        s = len(episode.support.x)
        episode = with_images(episode, x[:s], x[s:])
        support, query = self.features(psi.theta, episode)
        pairs = self.pairs(support, episode.support.y, query, episode.n_way)
        return self.loss(self.raw(psi, pairs, episode.n_way), episode.query.y)


def with_images(episode: Episode, support: Tensor, query: Tensor) -> Episode:
    """Return an episode with other images; its key stays, which its rows give."""
    return replace(episode, support=Examples(support, episode.support.y), query=Examples(query, episode.query.y))
