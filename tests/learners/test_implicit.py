"""iMAML against the dense system that it solves, and at the ends of what λ and its solver can be."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from benchmarks.independent import Tensors, Way, course, loss
from benchmarks.oracles import at, make_network, make_task
from torch import Tensor

from rotogbml.learners import Learner, Outcome, create_learner

LAM = 8.0
WAY = Way(steps=20, lr=1 / 12, lam=LAM, smooth=True)


def imaml(**options: Any) -> Learner:
    settled = {"inner_lr": WAY.lr, "inner_steps": WAY.steps, "lam": LAM, "cg_steps": 300}
    settled |= {"cg_damping": 0.0, "cg_tolerance": 1e-14}
    return create_learner("imaml", make_network("linear", smooth=True), **{**settled, **options})


def outcome(**options: Any) -> Outcome:
    learner = imaml(**options)
    psi = learner.network.psi()
    return learner.meta_gradient(psi, learner.prepare(psi, make_task()))


def flat(o: Outcome) -> Tensor:
    return torch.cat([g.reshape(-1) for g in [*o.theta_gradient, *o.phi_gradient]])


def derivative(state: Tensors, x: Tensor, y: Tensor, create_graph: bool = False) -> tuple[list[Tensor], Tensor]:
    """Return leaves of a state and the flat gradient of the loss there, by the network written out by hand."""
    leaf = {key: p.detach().requires_grad_() for key, p in state.items()}
    found = torch.autograd.grad(loss(WAY, leaf, x, y, 0), list(leaf.values()), create_graph=create_graph)
    return list(leaf.values()), torch.cat([g.reshape(-1) for g in found])


@dataclass(frozen=True)
class Dense:
    """What the meta-gradient is made of, in full: the support's Hessian and the query's gradient at ψ*."""

    H: Tensor
    g: Tensor

    def system(self, lam: float = LAM, damping: float = 0.0) -> Tensor:
        return (1 + damping) * torch.eye(len(self.g), dtype=torch.float64) + self.H / lam


@pytest.fixture(scope="module")
def dense() -> Dense:
    """Return them at the state where 20 steps of the inner loop end, worked out row by row."""
    task = make_task()
    psi, _ = at(imaml())
    solved = course(WAY, psi, {}, task)[0][-1]
    leaves, g = derivative(solved, task.support.x, task.support.y, create_graph=True)
    rows = [torch.autograd.grad(one, leaves, retain_graph=True, materialize_grads=True) for one in g]
    H = torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])
    return Dense((H + H.T) / 2, derivative(solved, task.query.x, task.query.y)[1])


@pytest.mark.parametrize("damping", [0.0, 1.0, 0.3])
def test_with_enough_steps_it_is_the_dense_solve(dense: Dense, damping: float) -> None:
    found = flat(outcome(cg_damping=damping))
    expected = torch.linalg.solve(dense.system(damping=damping), dense.g)
    assert (found - expected).norm() <= 1e-8 * expected.norm()
    assert (dense.g - expected).norm() > 1e-2 * expected.norm()  # the system is not the identity


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
def test_its_error_falls_with_the_products_as_fast_as_theory_says(dense: Dense, steps: int) -> None:
    A = dense.system()
    eigenvalues = torch.linalg.eigvalsh(A)
    assert eigenvalues[0] > 0
    root = math.sqrt(eigenvalues[-1] / eigenvalues[0])
    expected = torch.linalg.solve(A, dense.g)
    error = flat(outcome(cg_steps=steps)) - expected
    bound = 2 * ((root - 1) / (root + 1)) ** steps * math.sqrt(expected @ A @ expected)
    assert math.sqrt(error @ A @ error) <= bound * (1 + 1e-6)


@pytest.mark.parametrize("steps", [1, 3, 6])
@pytest.mark.parametrize("damping", [0.0, 1.0])
def test_the_residual_it_reports_is_the_true_one(dense: Dense, steps: int, damping: float) -> None:
    o = outcome(cg_steps=steps, cg_damping=damping)
    residual = (dense.g - dense.system(damping=damping) @ flat(o)).norm() / dense.g.norm()
    assert o.notes["cg_residual"] == pytest.approx(residual.item(), rel=1e-6)
    assert o.notes["cg_steps"] == steps
    assert o.notes["cg_unconverged"] == 1.0


@pytest.mark.parametrize("tolerance", [0.1, 1e-3, 1e-6])
def test_it_stops_by_the_true_residual_and_says_that_it_converged(dense: Dense, tolerance: float) -> None:
    o = outcome(cg_tolerance=tolerance)
    assert (dense.g - dense.system() @ flat(o)).norm() <= 1.0001 * tolerance * dense.g.norm()
    assert o.notes["cg_unconverged"] == 0.0
    assert o.notes["cg_negative_curvature"] == 0.0
    fewer = flat(outcome(cg_tolerance=tolerance, cg_steps=max(1, int(o.notes["cg_steps"]) - 1)))
    assert o.notes["cg_steps"] == 1 or (dense.g - dense.system() @ fewer).norm() > tolerance * dense.g.norm()


def test_negative_curvature_is_told_and_the_gradient_stays_finite() -> None:
    """λ far below the most negative eigenvalue of H, which the state it starts from has: see the dense H."""
    o = outcome(lam=1e-3, inner_steps=1, inner_lr=1e-12)
    assert o.notes["cg_negative_curvature"] == 1.0
    assert o.notes["cg_unconverged"] == 1.0
    assert flat(o).isfinite().all()


def distance_to_the_gradient_at_psi(lam: float) -> float:
    task = make_task()
    psi, _ = at(imaml())
    expected = derivative(psi, task.query.x, task.query.y)[1]
    return float((flat(outcome(lam=lam, inner_lr=1 / lam)) - expected).norm() / expected.norm())


@pytest.mark.parametrize("lam", [1e3, 1e4, 1e5])
def test_as_lambda_grows_it_tends_to_the_gradient_at_psi_as_one_over_lambda(lam: float) -> None:
    near, nearer = distance_to_the_gradient_at_psi(lam), distance_to_the_gradient_at_psi(10 * lam)
    assert near / nearer == pytest.approx(10, rel=0.05)
    assert near < 10 / lam


@pytest.mark.parametrize("head", ["linear", "linear-tied", "zero", "prototype", "cosine"])
def test_a_solved_problem_forgets_the_way_to_it(head: str) -> None:
    """Twice the steps of half the size end in the same ψ*, and so in the same meta-gradient."""
    lam = 100.0 if head == "cosine" else LAM
    ends = []
    for steps, lr in ((60, 1 / (lam + 15)), (120, 0.5 / (lam + 15))):
        network = make_network(head, smooth=True)
        options = {"lam": lam, "cg_steps": 300, "cg_tolerance": 1e-14}
        learner = create_learner("imaml", network, inner_lr=lr, inner_steps=steps, **options)
        psi = network.psi()
        ends.append(flat(learner.meta_gradient(psi, learner.prepare(psi, make_task()))))
    assert (ends[0] - ends[1]).norm() <= 1e-8 * ends[0].norm()


def test_the_inner_loop_has_the_proximal_term() -> None:
    """Without it, as in the published code, descent would end elsewhere."""
    task = make_task()
    learner = imaml()
    psi, _ = at(learner)
    task_at = learner.prepare(learner.network.psi(), task).at
    for way, alike in ((WAY, True), (replace(WAY, lam=0.0), False)):
        end = course(way, psi, {}, task)[0][-1]
        assert (
            all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(task_at, end.values(), strict=True))
            == alike
        )
