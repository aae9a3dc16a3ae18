"""Closed forms, the dual of the support vector machine, and logistic regression, against independent solutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from benchmarks.compared import projected
from scipy import optimize
from torch import Tensor

from rotogbml.methods import svm
from rotogbml.methods.logistic import logistic
from rotogbml.methods.ridge import dual

Create = Callable[..., Any]


def support(s: int = 6, n: int = 3, m: int = 5, seed: int = 0, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(s) % n
    x, q = (torch.randn(rows, m, generator=generator, dtype=torch.float64) * scale for rows in (s, 4))
    return x + 0.5 * scale * F.one_hot(y, m), y, q


def test_the_dual_is_the_primal_by_a_dense_solve() -> None:
    x, y, q = support()
    hot = F.one_hot(y, 3).double()
    for lam in (0.1, 1.0, 50.0):
        W = torch.linalg.solve(x.T @ x + lam * torch.eye(5, dtype=torch.float64), x.T @ hot)
        torch.testing.assert_close(q @ x.T @ dual(x, y, 3, lam), q @ W, rtol=1e-10, atol=1e-12)


def test_r2d2s_scores_are_the_primals_with_its_three_numbers(create: Create) -> None:
    x, y, q = support()
    method = create("r2d2")
    psi = method.network.psi()
    psi.phi.update({"log_lambda": x.new_tensor(math.log(3)), "alpha": x.new_tensor(1.7), "beta": x.new_tensor(0.4)})
    W = torch.linalg.solve(x.T @ x + 3 * torch.eye(5, dtype=x.dtype), x.T @ F.one_hot(y, 3).double())
    torch.testing.assert_close(method.scores(psi, x, y, q, 3, 0), 1.7 * q @ W + 0.4, rtol=1e-10, atol=1e-12)


def test_metaoptnets_ridge_is_the_minimum_of_its_dual_and_twice_r2d2s(create: Create) -> None:
    x, y, q = support()
    method = create("metaoptnet")
    scores = method.scores(method.network.psi(), x, y, q, 3, 0)
    K, hot = x @ x.T, F.one_hot(y, 3).double()
    a = torch.zeros_like(hot)
    for _ in range(4000):  # ½ aᵀ(K + 50 I)a − 2 yᵀa by its gradient
        a = a - 0.01 * (K @ a + 50 * a - 2 * hot)
    torch.testing.assert_close(scores.detach(), q @ x.T @ a, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(scores.detach(), 2 * q @ x.T @ dual(x, y, 3, 50.0))


def test_a_diverged_training_leaves_logistic_regression_without_an_answer() -> None:
    x, y, _ = support()
    for bad in (torch.nan, torch.inf):
        x[0, 0] = bad
        assert all(t.isnan().all() for t in logistic(x, y, 3))


@pytest.mark.parametrize(("name", "options"), [("r2d2", {}), ("metaoptnet", {}), ("metaoptnet", {"solver": "svm"})])
def test_gradients_by_finite_differences(create: Create, name: str, options: dict[str, str]) -> None:
    method = create(name, method=options)
    x, y, q = support()
    names = list(method.network.psi().phi)
    phi = [method.network.psi().phi[each].detach().clone().requires_grad_() for each in names]

    def loss(x: Tensor, q: Tensor, *phi: Tensor) -> Tensor:
        psi = method.network.psi()._replace(phi=dict(zip(names, phi, strict=True)))
        return F.cross_entropy(method.scores(psi, x, y, q, 3, 0), torch.tensor([0, 1, 2, 0]))

    assert torch.autograd.gradcheck(loss, (x.requires_grad_(), q.requires_grad_(), *phi), eps=1e-6, atol=1e-7)


OF_MANY_SCALES = pytest.mark.parametrize(
    ("s", "n", "scale", "seed"), [(6, 3, 1.0, 0), (10, 5, 0.1, 1), (15, 5, 1.0, 2), (5, 5, 10.0, 3)]
)
"""Supports of s images of n classes, on which the support vector machine's dual is solved otherwise too."""


@OF_MANY_SCALES
def test_the_svms_dual_is_what_projected_gradient_finds(s: int, n: int, scale: float, seed: int) -> None:
    x, y, _ = support(s, n, 8, seed, scale)
    K, hot = x @ x.T, F.one_hot(y, n).double()
    found = svm.solve(K, hot)
    assert found.gap < svm.TOLERANCE
    length = float(torch.linalg.eigvalsh(K).max()) + 1
    a = before = torch.zeros_like(hot)
    theta = 1.0
    for _ in range(20000):  # Nesterov's, begun anew where it goes up
        after = projected(a - ((K + torch.eye(s)) @ a - hot) / length, 0.1 * hot)
        if float(((a - after) * (after - before)).sum()) > 0:
            theta = 1.0
        faster = (1 + (1 + 4 * theta**2) ** 0.5) / 2
        a = after + (theta - 1) / faster * (after - before)
        if float((after - before).abs().max()) < 1e-14:
            break
        before, theta = after, faster
    torch.testing.assert_close(found.alpha, before, rtol=0, atol=1e-8)


@OF_MANY_SCALES
def test_the_svms_dual_is_what_a_generic_solver_finds(s: int, n: int, scale: float, seed: int) -> None:
    x, y, _ = support(s, n, 8, seed, scale)
    K, hot = (x @ x.T).numpy(), F.one_hot(y, n).double().numpy()
    Q = K + np.eye(s)

    def dual_objective(a: np.ndarray) -> tuple[float, np.ndarray]:
        a = a.reshape(s, n)
        return float(((0.5 * Q @ a - hot) * a).sum()), (Q @ a - hot).ravel()

    solved = optimize.minimize(
        dual_objective,
        np.zeros(s * n),
        jac=True,
        method="SLSQP",
        bounds=[(None, most) for most in 0.1 * hot.ravel()],
        constraints=optimize.LinearConstraint(np.kron(np.eye(s), np.ones(n)), 0, 0),  # every image's row sums to 0
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    found = svm.solve(torch.from_numpy(K), torch.from_numpy(hot)).alpha.numpy()
    assert abs(dual_objective(found.ravel())[0] - solved.fun) < 1e-9
    np.testing.assert_allclose(found, solved.x.reshape(s, n), rtol=0, atol=1e-6)


def test_a_dual_that_is_cut_short_says_its_gap(create: Create, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(svm, "MOST", 2)
    method = create("metaoptnet", method={"solver": "svm"})
    x, y, q = support()
    method.scores(method.network.psi(), x, y, q, 3, 0)
    assert method.notes()["svm_gap"] > svm.TOLERANCE
    assert "stopped at a gap of" in caplog.text
    assert "--method.solver ridge" in caplog.text


def test_features_that_are_no_numbers_say_so_too(create: Create, caplog: Any) -> None:
    method = create("metaoptnet", method={"solver": "svm"})
    x, y, q = support()
    method.scores(method.network.psi(), x * torch.nan, y, q, 3, 0)
    assert "stopped at a gap of nan" in caplog.text


@pytest.mark.parametrize("s", [3, 6, 15])
def test_logistic_regression_is_at_its_optimum(s: int) -> None:
    x, y, _ = support(s, 3, 8)
    x = F.normalize(x, dim=1)
    W, b = (t.requires_grad_() for t in logistic(x, y, 3))
    value = W.square().sum() / 2 + F.cross_entropy(x @ W.T + b, y, reduction="sum")
    for g in torch.autograd.grad(value, [W, b]):
        assert float(g.abs().max()) < 1e-7
