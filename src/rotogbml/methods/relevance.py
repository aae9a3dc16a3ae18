"""RelationNet-LRP (Sun et al. 2021): what speaks for a class counts more in training.

    r = g(pairs);   R = relevance of each number of the pairs for r, by LRP through g, a constant
    w = 1 + R / max over channels |R|,  0 … 2;   r_lrp = g(w · pairs)
    L = L(r) + λ L(r_lrp),   λ = 0.5 for one shot, else 1

Layer-wise relevance propagation hands what an output says down to its inputs, layer by layer, in shares that add up:

    linear     R_j = Σ_k x_j w_kj R_k / (z_k + ε sign z_k),  z = W x;  ε = 0.01, no bias, an x of 0 counts as −1e-6
    conv       the same with positive products alone (α = 1, β = 0): x⁺ and w⁺, x⁻ and w⁻
    max-pool   to the winner;   norm: as it is;   ReLU: where its input is positive

It starts from the logit of p = softmax of a query's scores, log((n − 1)(p + 0.01) / (1.01 − p)): positive for what is
said to be the class, negative for the others. Written forward and backward by hand: no hooks, no replaced gradients.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from rotogbml.encoders import Norm, NormPass
from rotogbml.learners import Params, Psi
from rotogbml.methods.compared import Task, TaskLoss
from rotogbml.methods.relation import Relation
from rotogbml.methods.relationnet import RelationNet

EPSILON = 0.01
ZERO = -1e-6
SMOOTH = 0.01
TINY = 1e-12
"""Below it a sum has no share to hand down."""


def through_linear(x: Tensor, weight: Tensor, R: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Return R of x [b, in], given that of W x [b, out]."""
    x = torch.where(x == 0, x.new_tensor(ZERO), x)
    z = x @ weight.T
    return x * ((R / (z + epsilon * torch.where(z < 0, -1.0, 1.0))) @ weight)


def through_convolution(x: Tensor, weight: Tensor, padding: int, R: Tensor) -> Tensor:
    """Return R of a map x [b, c, h, w], given that of its convolution, stride 1."""
    signs = [(x.clamp(min=0), weight.clamp(min=0)), (x.clamp(max=0), weight.clamp(max=0))]
    z = sum((F.conv2d(a, w, padding=padding) for a, w in signs), x.new_zeros(()))
    share = torch.where(z > TINY, R / z.clamp_min(TINY), 0.0)
    return sum((a * F.conv_transpose2d(share, w, padding=padding) for a, w in signs), x.new_zeros(()))


def through_pool(x: Tensor, R: Tensor) -> Tensor:
    """Return R of a map, given that of its 2×2 max-pool."""
    _, where = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(R.contiguous(), where, [2, 2], output_size=[*x.shape[2:]])


@torch.no_grad()
def relevance(
    module: Relation,
    phi: Params,
    pairs: Tensor,
    R: Tensor,
    at: NormPass | None = None,
    epsilon: float = EPSILON,
) -> Tensor:
    """Return the relevance of each number of the pairs, [p, 2C, h, w], for their scores.

    Args:
        module: g.
        phi: its parameters.
        pairs: what it is asked.
        R: relevance of each score, [p].
        at: what its norms are told.
        epsilon: of the linear layers.
    """
    padding = module.padding
    x, blocks = pairs, []
    for i in range(2):
        norm = cast(Norm, module.norms[i])
        own = {name: phi[f"norms.{i}.{name}"] for name, _ in norm.named_parameters()}
        before = functional_call(norm, own, (F.conv2d(x, phi[f"convs.{i}.weight"], padding=padding), at))
        blocks.append((x, before))
        x = F.max_pool2d(F.relu(before), 2) if module.pools[i] else F.relu(before)
    flat = x.flatten(1)
    hidden = F.linear(flat, phi["fc1.weight"], phi["fc1.bias"])
    R = through_linear(F.relu(hidden), phi["fc2.weight"], R[:, None], epsilon)
    R = through_linear(flat, phi["fc1.weight"], R * (hidden > 0), epsilon).view(x.shape)
    for i in (1, 0):
        x, before = blocks[i]
        R = through_pool(F.relu(before), R) if module.pools[i] else R
        R = through_convolution(x, phi[f"convs.{i}.weight"], padding, R * (before > 0))
    return R


def anchor(raw: Tensor) -> Tensor:
    """Return where relevance starts: the logit of each class's softmax probability, [q, n_way]."""
    p = raw.softmax(1)
    return torch.log((raw.shape[1] - 1) * (p + SMOOTH) / (1 + SMOOTH - p))


def weights(R: Tensor) -> Tensor:
    """Return w = 1 + R / max over channels |R|, [p, 2C, h, w]."""
    return 1 + R / R.abs().amax(1, keepdim=True).clamp_min(TINY)


class Relevant(RelationNet):
    """RelationNet-LRP; a test is plain RelationNet's."""

    def task_loss(self, psi: Psi, task: Task) -> TaskLoss:
        """Return L(r) + λ L(r_lrp)."""
        episode = task.episode
        support, query = self.features(psi.theta, episode, task.drop, task.seen)
        pairs, y, n = self.pairs(support, episode.support.y, query, episode.n_way), episode.query.y, episode.n_way
        raw = self.raw(psi, pairs, n, task.seen)
        at = NormPass(seen={} if self.module.norm == "moving" else None)  # as in that pass, and not told a second time
        R = relevance(self.module, psi.phi, pairs.detach(), anchor(raw.detach()).flatten(), at)
        again = self.raw(psi, pairs * weights(R), n, at.seen)
        lam = 0.5 if len(episode.support.y) == n else 1.0
        return TaskLoss(self.loss(raw, y) + lam * self.loss(again, y), raw, y, query)
