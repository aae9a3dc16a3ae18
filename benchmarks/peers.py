"""The same step by the others: higher, torchopt, learn2learn's algorithm, and the loop that one writes oneself.

Every way takes the step of a ``Work`` on stock torch (``stock.py``): N tasks, one backward each, one step of Adam.
learn2learn, which does not install everywhere, is written out here from what it does: the module is cloned so that its
tensors stay attached to the original's, and each step replaces them by p − η g.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.stock import Model, features_of, scores
from benchmarks.work import CG_DAMPING, CG_STEPS, INNER_LR, LAM, META_LR, Work
from rotogbml.episodes import Episode


class Peer(ABC):
    """What all of them share: a model, Adam, and the mean of the tasks' gradients in ``.grad``."""

    def __init__(self, work: Work, dtype: torch.dtype = torch.float32) -> None:
        self.work, self.model = work, Model(work, dtype)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=META_LR)

    def to(self, device: torch.device) -> None:
        """Move the network; its optimizer, which has taken no step yet, goes along."""
        self.model.to(device)

    def step(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Take one step; return nothing worth noting."""
        self.optimizer.zero_grad()
        for episode in episodes:
            self.task(episode, len(episodes))
        self.optimizer.step()
        return {}

    @abstractmethod
    def task(self, episode: Episode, n: int) -> None:
        """Add a task's meta-gradient, divided by n, to ``.grad``."""

    def gradient(self) -> dict[str, Tensor]:
        """Return the meta-gradient of the last step, by name."""
        return {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}


class PlainLoop(Peer):
    """MAML by ``torch.autograd.grad`` and a dictionary of tensors."""

    def task(self, episode: Episode, n: int) -> None:
        """See the base."""
        f, fast = features_of(self.work), dict(self.model.named_parameters())
        for _ in range(self.work.steps):
            loss = F.cross_entropy(scores(fast, f(fast, episode.support.x)), episode.support.y)
            gradients = torch.autograd.grad(loss, list(fast.values()), create_graph=not self.work.first_order)
            fast = {name: p - INNER_LR * g for (name, p), g in zip(fast.items(), gradients, strict=True)}
        loss = F.cross_entropy(scores(fast, f(fast, episode.query.x)), episode.query.y)
        (loss / n).backward()


class PlainAnil(Peer):
    """ANIL by a plain loop: the head adapts. ``again``: the body is run in every inner step, as MAML's code would."""

    again = False

    def task(self, episode: Episode, n: int) -> None:
        """See the base."""
        f, body = features_of(self.work), dict(self.model.named_parameters())
        head = {name: p for name, p in body.items() if name.startswith("head.")}
        z = None
        for _ in range(self.work.steps):
            if z is None or self.again:
                z = f(body, episode.support.x)
            loss = F.cross_entropy(scores(head, z), episode.support.y)
            gradients = torch.autograd.grad(loss, list(head.values()), create_graph=not self.work.first_order)
            head = {name: p - INNER_LR * g for (name, p), g in zip(head.items(), gradients, strict=True)}
        loss = F.cross_entropy(scores(head, f(body, episode.query.x)), episode.query.y)
        (loss / n).backward()


class PlainAnilAgain(PlainAnil):
    """See ``PlainAnil``."""

    again = True


class PlainImaml(Peer):
    """iMAML by a plain loop: descent with the proximal term, then conjugate gradient on (1 + δ) v + H v / λ."""

    def task(self, episode: Episode, n: int) -> None:
        """See the base."""
        f, psi = features_of(self.work), dict(self.model.named_parameters())
        names = list(psi)
        origin = [p.detach() for p in psi.values()]
        at = [p.clone().requires_grad_() for p in origin]
        for _ in range(self.work.steps):
            fast = dict(zip(names, at, strict=True))
            loss = F.cross_entropy(scores(fast, f(fast, episode.support.x)), episode.support.y)
            gradients = torch.autograd.grad(loss, at)
            at = [
                (p - INNER_LR * (g + LAM * (p - o))).detach().requires_grad_()
                for p, g, o in zip(at, gradients, origin, strict=True)
            ]
        fast = dict(zip(names, at, strict=True))
        loss = F.cross_entropy(scores(fast, f(fast, episode.query.x)), episode.query.y)
        b = _flat(torch.autograd.grad(loss, at))
        loss = F.cross_entropy(scores(fast, f(fast, episode.support.x)), episode.support.y)
        slope = _flat(torch.autograd.grad(loss, at, create_graph=True))

        def product(v: Tensor) -> Tensor:
            return (1 + CG_DAMPING) * v + _flat(torch.autograd.grad(slope, at, v, retain_graph=True)) / LAM

        x, r = torch.zeros_like(b), b.clone()
        p, rr = r.clone(), r @ r
        for _ in range(CG_STEPS):
            ap = product(p)
            a = rr / (p @ ap)
            x, r = x + a * p, r - a * ap
            rr, before = r @ r, rr
            p = r + (rr / before) * p
        for q, part in zip(psi.values(), x.split([q.numel() for q in psi.values()]), strict=True):
            share = part.view_as(q) / n
            q.grad = share if q.grad is None else q.grad + share


class Learn2Learn(Peer):
    """learn2learn's algorithm: clone the module, replace its tensors by updated ones, ``first_order`` as its flag."""

    def task(self, episode: Episode, n: int) -> None:
        """See the base."""
        second_order = not self.work.first_order
        learner = clone_module(self.model)
        for _ in range(self.work.steps):
            loss = F.cross_entropy(learner(episode.support.x), episode.support.y)
            gradients = torch.autograd.grad(
                loss, list(learner.parameters()), retain_graph=second_order, create_graph=second_order
            )
            for p, g in zip(learner.parameters(), gradients, strict=True):
                p.update = -INNER_LR * g  # ty: ignore[unresolved-attribute]
            update_module(learner)
        loss = F.cross_entropy(learner(episode.query.x), episode.query.y)
        (loss / n).backward()


def clone_module(module: nn.Module) -> nn.Module:
    """Return a module that computes the same, its tensors clones that stay attached to the original's."""
    clone = module.__new__(type(module))
    clone.__dict__ = module.__dict__.copy()
    clone._parameters = {k: None if p is None else p.clone() for k, p in module._parameters.items()}
    clone._buffers = {k: None if b is None else b.clone() for k, b in module._buffers.items()}
    clone._modules = {k: None if child is None else clone_module(child) for k, child in module._modules.items()}
    return clone


def update_module(module: nn.Module) -> None:
    """Replace every tensor p by p + p.update, differentiably."""
    for name, p in module._parameters.items():
        if p is not None:
            module._parameters[name] = p + p.update  # ty: ignore[unresolved-attribute, invalid-assignment]
    for child in module.children():
        update_module(child)


class Higher(Peer):
    """``higher.innerloop_ctx``, as its examples have it."""

    def task(self, episode: Episode, n: int) -> None:
        """See the base."""
        import higher

        inner = torch.optim.SGD(self.model.parameters(), lr=INNER_LR)
        with higher.innerloop_ctx(self.model, inner, copy_initial_weights=False) as (fast, descent):
            for _ in range(self.work.steps):
                descent.step(F.cross_entropy(fast(episode.support.x), episode.support.y))
            (F.cross_entropy(fast(episode.query.x), episode.query.y) / n).backward()


class TorchOpt(Peer):
    """``torchopt.MetaSGD``, as its examples have it: the state is taken before a task and put back after it."""

    def task(self, episode: Episode, n: int) -> None:
        """See the base."""
        import torchopt

        inner = torchopt.MetaSGD(self.model, lr=INNER_LR)
        weights, state = torchopt.extract_state_dict(self.model), torchopt.extract_state_dict(inner)
        for _ in range(self.work.steps):
            inner.step(F.cross_entropy(self.model(episode.support.x), episode.support.y))
        (F.cross_entropy(self.model(episode.query.x), episode.query.y) / n).backward()
        torchopt.recover_state_dict(self.model, weights)
        torchopt.recover_state_dict(inner, state)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])
