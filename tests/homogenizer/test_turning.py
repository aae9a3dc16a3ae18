"""How γ and ω move: Cayley's gradient against autograd, Adam against torch's, agreement against time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rotogbml.homogenizer.adam import Adam
from rotogbml.homogenizer.compare import rows
from rotogbml.homogenizer.descent import create_descent, subgradient
from rotogbml.homogenizer.plane import direction
from rotogbml.homogenizer.turning import CayleyAdam, Plane, mean

ALIGN = ("rotated", "shared")


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def cayley(A: torch.Tensor) -> torch.Tensor:
    eye = torch.eye(len(A), dtype=A.dtype)
    return torch.linalg.solve(eye - A, eye + A)


@pytest.mark.parametrize("align", ALIGN)
@pytest.mark.parametrize("k", [1, 3])
def test_cayleys_gradient_is_autograds(align, k):
    way = CayleyAdam(align, 1, 5)
    free = (0.3 * random(0, 5, 5)).requires_grad_()
    A = free - free.T
    γ = cayley(A)
    u, goal = random(1, k, 5), random(2, k, 5)
    if align == "rotated":
        g = (u @ γ).detach()
        loss = -((g @ γ.T) * goal).sum()
    else:
        loss = -((u @ γ) * goal).sum()
    loss.backward()
    # ∂/∂free sees both halves of A: it is the skew gradient itself.
    torch.testing.assert_close(way._gradient(A.detach(), γ.detach(), u, goal), free.grad)


def test_adam_is_torchs():
    mine, theirs = Adam(3, (4,)), [torch.zeros(4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    torchs = [torch.optim.Adam([p], lr=0.1) for p in theirs]
    place = torch.zeros(3, 4, dtype=torch.float64)
    for step in range(12):
        drawn = torch.tensor([0, 2] if step % 3 else [1, 2])
        gradient = random(step, 2, 4)
        place[drawn] -= 0.1 * mine.direction(drawn, gradient)
        for slot, g in zip(drawn.tolist(), gradient, strict=True):
            theirs[slot].grad = g
            torchs[slot].step()
    torch.testing.assert_close(place, torch.stack([p.detach() for p in theirs]), rtol=1e-10, atol=1e-12)


def agreement(directions: torch.Tensor) -> float:
    """Return the mean cosine to the mean over tasks, of [S, k, d]."""
    units = torch.stack([torch.stack([direction(row) for row in task]) for task in directions])
    return float((units * torch.stack([direction(row) for row in units.mean(0)])).sum(-1).mean())


@pytest.mark.parametrize("align", ALIGN)
@pytest.mark.parametrize("way", ["plane", "gradient"])
@pytest.mark.parametrize("k", [1, 2])
def test_agreement_comes(align, way, k):
    """With constant ∇_z L (rotated) or ∇_ẑ L (shared), one direction a task or two at once."""
    held = random(3, 4, k, 6)
    if k == 2:  # at the same angle in every task, else no rotation makes both agree
        held = torch.stack([(torch.linalg.qr(random(4 + i, 6, 6))[0] @ held[0].T).T for i in range(4)])
    turning = Plane(align) if way == "plane" else CayleyAdam(align, 4, 6)
    γ = [torch.eye(6, dtype=torch.float64)] * 4
    path = []
    for _ in range(400):
        if align == "rotated":
            u = torch.stack([g @ r.T for g, r in zip(held, γ, strict=True)])
            path.append(agreement(u))
        else:
            u = held
            path.append(agreement(torch.stack([g @ r for g, r in zip(held, γ, strict=True)])))
        γ = turning(γ, u, torch.ones(4), 0.02, torch.arange(4))
    assert path[0] < 0.8
    assert path[-1] > 0.99, path[-1]


def test_mean_is_over_tasks():
    torch.testing.assert_close(mean(torch.eye(2), torch.tensor([3, 1])), torch.tensor([0.75, 0.25]))


def test_rows_of_each_reading():
    u = random(5, 2, 3, 4)
    assert torch.equal(rows("mean", u[:, 0])[:, 0], u[:, 0])
    assert torch.equal(rows("class", u), u)
    torch.testing.assert_close(rows("prototype", u).sum(1), torch.zeros(2, 4, dtype=torch.float64))
    units = u / u.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(rows("class-mean", u)[:, 0], units.mean(1))
    scaled = u * torch.tensor([1.0, 100.0, 0.01])[:, None]
    torch.testing.assert_close(rows("class-mean", scaled), rows("class-mean", u))


def test_a_literal_step_and_adams_first():
    ω, G, I = torch.ones(3).double(), torch.tensor([2.0, 1.0, 0.5]).double(), torch.ones(3).double()  # noqa: E741
    index = torch.tensor([2, 0, 1])
    g = subgradient(ω, G, I, 1.0)
    torch.testing.assert_close(create_descent("sgd", 1.0, 0.01, 3)(ω, G, I, index), ω - 0.01 * g)
    moved = create_descent("adam", 1.0, 0.01, 3)(ω, G, I, index)
    torch.testing.assert_close(moved, ω - 0.01 * g.sign(), rtol=0, atol=1e-9)
    assert float(create_descent("sgd", 1.0, 100.0, 3)(ω, G, I, index).min()) > 0
