"""Tasks whose losses are quadratic in ψ, where every learner's meta-gradient is a formula.

    scores  x Θ + b,   L = ½ mean ‖scores − onehot(y)‖²;   with Ψ = (Θ; b), rows first of θ, the last of φ:
    ∇L(Ψ) = AΨ − B,    A = DᵀD/n,  B = DᵀY/n,  D = (X, 1)

A, the same for every column of Ψ, couples θ with φ, so that learners which move one alone differ from those that
move both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.independent import relative
from rotogbml.episodes import Episode, Examples
from rotogbml.learners import Learner, LinearHead, Network, create_learner
from rotogbml.learners.heads import PrototypeHead

INPUTS, CLASSES, LR, STEPS, LAM = 4, 3, 0.2, 3, 0.7


class Linear(nn.Module):
    """x ↦ x Θ."""

    layers, norm, feature_dim = 0, "none", CLASSES

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(INPUTS, CLASSES, dtype=torch.float64))

    def forward(self, x: Tensor, drop: Any = None, at: Any = None) -> Tensor:
        """[b, inputs] → [b, classes]."""
        return x @ self.weight


class Shift(LinearHead):
    """z ↦ z + b."""

    def __init__(self) -> None:
        super().__init__(CLASSES, CLASSES)
        del self.weight
        self.double()

    def scores(self, phi: dict[str, Tensor], z: Tensor) -> Tensor:
        """[b, classes] → [b, classes]."""
        return z + phi["bias"]


class PrototypeShift(PrototypeHead):
    """z ↦ z + b, where b starts at the mean of the class means of the support's features: linear in Θ."""

    def start(self, phi: dict[str, Tensor], n_way: int, prototypes: Any) -> dict[str, Tensor]:
        """Return b."""
        return {"bias": prototypes().mean(0)}

    def scores(self, phi: dict[str, Tensor], z: Tensor) -> Tensor:
        """[b, classes] → [b, classes]."""
        return z + phi["bias"]


class Squared(Network):
    """A network whose loss is half the mean squared distance to the label's unit vector."""

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return ½ mean ‖logits − onehot(y)‖²."""
        return (logits - F.one_hot(y, CLASSES)).square().sum(1).mean() / 2


def system(*sets: Examples) -> tuple[Tensor, Tensor]:
    """Return A [d + 1, d + 1] and B [d + 1, classes] of the loss on examples."""
    X, y = torch.cat([s.x for s in sets]), torch.cat([s.y for s in sets])
    D = torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], 1)
    return D.T @ D / len(D), D.T @ F.one_hot(y, CLASSES).to(D) / len(D)


class World:
    """One task, one ψ, and the numbers that the formulas are made of."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(7)

        def examples(n: int) -> Examples:
            return Examples(torch.randn(n, INPUTS, generator=g, dtype=torch.float64), torch.arange(n) % CLASSES)

        support, query = examples(9), examples(12)
        self.task = Episode(support, query, "made", ("a", "b", "c"), (np.arange(9), np.arange(9, 21)))
        self.psi = torch.randn(INPUTS + 1, CLASSES, generator=g, dtype=torch.float64)
        (self.A, self.B), (self.Aq, self.Bq) = system(support), system(query)
        self.eye = torch.eye(INPUTS + 1, dtype=torch.float64)
        self.in_theta = self.eye.clone()
        self.in_theta[-1, -1] = 0
        self.in_phi = self.eye - self.in_theta

    def at_query(self, psi: Tensor) -> Tensor:
        """∇L_Q."""
        return self.Aq @ psi - self.Bq

    def learner(self, name: str, **options: Any) -> Learner:
        """Return a learner at ψ."""
        encoder, head = Linear(), PrototypeShift(CLASSES, CLASSES).double() if name == "protomaml" else Shift()
        with torch.no_grad():
            encoder.weight.copy_(self.psi[:-1])
            if name != "protomaml":
                head.bias.copy_(self.psi[-1])
        options = {"inner_lr": LR, "inner_steps": STEPS, **options}
        return create_learner(name, Squared(encoder, head), **options)

    def gradients(self, name: str, **options: Any) -> tuple[Tensor, list[Tensor]]:
        """Return the meta-gradient at ψ, shaped like Ψ or its first rows, and that at α."""
        learner = self.learner(name, **options)
        psi = learner.network.psi()
        outcome = learner.meta_gradient(psi, learner.prepare(psi, self.task))
        rows = [*outcome.theta_gradient, *(g[None] for g in outcome.phi_gradient)]
        return torch.cat(rows), outcome.alpha_gradient

    def adapted(self, P: Tensor) -> Tensor:
        """Return Ψ^τ of descent within the projection P."""
        psi = self.psi
        for _ in range(STEPS):
            psi = psi - LR * P @ (self.A @ psi - self.B)
        return psi


def unrolled(name: str, group: str, first_order: bool) -> float:
    """∏ (I − ηPA)ᵀ ∇L_Q(Ψ^τ), P the projection on what adapts; first order without the product."""
    w = World()
    P = {"all": w.eye, "head": w.in_phi, "encoder": w.in_theta}[group]
    end = w.at_query(w.adapted(P))
    through = torch.linalg.matrix_power((w.eye - LR * P @ w.A).T, 0 if first_order else STEPS)
    return relative(w.gradients(name, first_order=first_order)[0], through @ end)


def meta_sgd() -> float:
    """One step from rates that differ: ∇_Ψ = q − A(α ∘ q) and ∇_α = −g ∘ q, with g = ∇L_S(Ψ), q = ∇L_Q(Ψ − α ∘ g)."""
    w = World()
    learner = w.learner("meta-sgd", inner_steps=1)
    rates = 0.1 + 0.2 * torch.rand(w.psi.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    with torch.no_grad():
        for p, value in zip(learner.alpha.values(), (rates[:-1], rates[-1]), strict=True):
            p.copy_(value)
    psi = learner.network.psi()
    outcome = learner.meta_gradient(psi, learner.prepare(psi, w.task))
    g = w.A @ w.psi - w.B
    q = w.at_query(w.psi - rates * g)
    ours = torch.cat([*outcome.theta_gradient, *(p[None] for p in outcome.phi_gradient)])
    at_rates = torch.cat([outcome.alpha_gradient[0], outcome.alpha_gradient[1][None]])
    return max(relative(ours, q - w.A @ (rates * q)), relative(at_rates, -g * q))


def maml_pp() -> float:
    """A rate for each tensor and step: ∂L_Q/∂α_t = −⟨g_t, (I − ηA)^{τ−1−t} q⟩ over the tensor's rows."""
    w = World()
    ours, alpha = w.gradients("maml++", multi_step_loss=0.0, first_order_share=0.0)
    states = [w.psi]
    for _ in range(STEPS):
        states.append(states[-1] - LR * (w.A @ states[-1] - w.B))
    v, expected = w.at_query(states[-1]), []
    for state in reversed(states[:-1]):
        product = -(w.A @ state - w.B) * v
        expected.insert(0, torch.stack([product[:-1].sum(), product[-1].sum()]))
        v = v - LR * w.A @ v
    return max(relative(ours, v), relative(torch.stack(alpha), torch.stack(expected).T))


def protomaml() -> float:
    """Ψ⁰ = JΘ with J = (I; c), c the mean of the class means of x: ∇_Θ = Jᵀ(I − ηA)^τ ∇L_Q(Ψ^τ)."""
    w = World()
    s = w.task.support
    c = torch.stack([s.x[s.y == k].mean(0) for k in range(CLASSES)]).mean(0)
    J = torch.cat([w.eye[:-1, :-1], c[None]])
    w.psi = J @ w.psi[:-1]
    end = w.at_query(w.adapted(w.eye))
    return relative(w.gradients("protomaml")[0], J.T @ torch.linalg.matrix_power(w.eye - LR * w.A, STEPS) @ end)


def imaml() -> float:
    """λ (A + λI)⁻¹ ∇L_Q(Ψ*) at Ψ* = (A + λI)⁻¹ (B + λΨ), the inner problem solved to the last digit."""
    w = World()
    solved = torch.linalg.solve(w.A + LAM * w.eye, w.B + LAM * w.psi)
    expected = LAM * torch.linalg.solve(w.A + LAM * w.eye, w.at_query(solved))
    options = {"inner_steps": 400, "cg_steps": 50, "cg_damping": 0.0, "cg_tolerance": 0.0, "lam": LAM}
    return relative(w.gradients("imaml", **options)[0], expected)


def reptile() -> float:
    """(Ψ − Ψ^τ)/(τη) = (I − (I − ηA)^τ) A⁻¹ (AΨ − B)/(τη), with A and B of all labelled images in one minibatch."""
    w = World()
    A, B = system(w.task.support, w.task.query)
    way = w.eye - torch.linalg.matrix_power(w.eye - LR * A, STEPS)
    expected = way @ torch.linalg.solve(A, A @ w.psi - B) / (STEPS * LR)
    return relative(w.gradients("reptile", inner_optimizer="sgd", inner_batch=21)[0], expected)
