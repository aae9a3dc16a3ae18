"""The check table of the compared methods: each against something independent of it, in float64.

    python -m benchmarks.compared

A row is a largest error, or where a property is checked the largest violation of it; the tests in ``tests/methods``
hold the same and more. Gradients are held against central differences of the method's own loss, number by number at
some places of every tensor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.config import (
    EncoderConfig,
    EpisodeConfig,
    MethodConfig,
    RunConfig,
)
from rotogbml.episodes import Episode, Examples, Labelled
from rotogbml.methods import create_method, relevance, skd, svm
from rotogbml.methods.adversarial import LR
from rotogbml.methods.compared import Task
from rotogbml.methods.logistic import logistic
from rotogbml.methods.ridge import dual
from rotogbml.training.resolve import resolve

SIZE, WAY = 20, 3


class Check(NamedTuple):
    """One row."""

    method: str
    what: str
    error: Callable[[], float]


def made(name: str, **options: Any) -> Any:
    """Return a method in float64 on conv4-4 at 20 px."""
    config = RunConfig(
        ["nowhere"],
        steps=1,
        episodes=EpisodeConfig(n_way=WAY),
        encoder=EncoderConfig(width=4, norm="support"),
        method=MethodConfig(name, **options),
    )
    method = create_method(resolve(config), SIZE, {"a": 3, "b": 4})
    method.network.encoder.to(torch.float64)
    method.network.head.double()
    return method


def episode() -> Episode:
    """Return a task of noise whose classes differ in brightness."""
    g = torch.Generator().manual_seed(2)

    def examples(n: int) -> Examples:
        y = torch.arange(n) % WAY
        x = torch.randn(n, 3, SIZE, SIZE, generator=g, dtype=torch.float64)
        return Examples(x + y[:, None, None, None], y)

    return Episode(examples(6), examples(6), "a", ("x", "y", "z"), (np.arange(6), np.arange(6, 12)))


def labelled() -> Labelled:
    """Return a minibatch of source a."""
    g = torch.Generator().manual_seed(3)
    return Labelled(
        Examples(torch.randn(6, 3, SIZE, SIZE, generator=g, dtype=torch.float64), torch.arange(6) % 3), "a", 0
    )


def features(s: int = 6, n: int = 3, m: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Return support features, labels, and query features."""
    g = torch.Generator().manual_seed(1)
    y = torch.arange(s) % n
    x, q = (torch.randn(rows, m, generator=g, dtype=torch.float64) for rows in (s, 4))
    return x + 0.5 * F.one_hot(y, m), y, q


def by_differences(name: str, **options: Any) -> float:
    """Return the largest error of a method's gradient, as a share of the largest number of it."""
    method = made(name, **options)
    psi = method.network.psi()
    item = labelled() if method.draws == "images" else episode()
    outcome = method.meta_gradient(psi, method.prepare(psi, item))
    gradients = [*outcome.theta_gradient, *outcome.phi_gradient]
    largest, worst, h = max(float(g.abs().max()) for g in gradients), 0.0, 1e-6
    for p, g in zip(psi.tensors(), gradients, strict=True):
        for place in {0, p.numel() // 2, p.numel() - 1}:
            at = np.unravel_index(place, p.shape) if p.ndim else ()
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    p[at] += sign * h
                    ends.append(float(method.task_loss(psi, Task(item, None, {})).loss))
                    p[at] -= sign * h
            worst = max(worst, abs(float(g[at]) - (ends[0] - ends[1]) / (2 * h)))
    return worst / largest


def prototype_distance() -> float:
    """Return ProtoNet's scores against loops over classes and queries."""
    method, task = made("protonet"), episode()
    psi = method.network.psi()
    support, query = (z.detach() for z in method.features(psi.theta, task))
    scores, worst = method.predict(psi, task), 0.0
    for q, z in enumerate(query):
        for k in range(WAY):
            mean = support[task.support.y == k].numpy().mean(0)
            worst = max(worst, abs(float(scores[q, k]) + float(((z.numpy() - mean) ** 2).sum())))
    return worst


def probabilities() -> float:
    """Return how far MatchingNet's probabilities are from summing to one."""
    method = made("matchingnet")
    return float((method.predict(method.network.psi(), episode()).exp().sum(1) - 1).abs().max())


def ridge() -> float:
    """Return R2D2's scores against the primal's by a dense solve."""
    x, y, q = features()
    lam, a, b = 3.0, 1.7, 0.4
    method = made("r2d2")
    psi = method.network.psi()
    psi.phi.update({"log_lambda": x.new_tensor(math.log(lam)), "alpha": x.new_tensor(a), "beta": x.new_tensor(b)})
    W = torch.linalg.solve(x.T @ x + lam * torch.eye(5, dtype=x.dtype), x.T @ F.one_hot(y, 3).double())
    return float((method.scores(psi, x, y, q, 3, 0) - (a * q @ W + b)).abs().max())


def twice() -> float:
    """Return MetaOptNet's ridge against the optimality of its dual, (K + 50 I) a = 2 Y."""
    x, y, _ = features()
    a = 2 * dual(x, y, 3, 50.0)
    return float((x @ x.T @ a + 50 * a - 2 * F.one_hot(y, 3)).abs().max())


def projected(v: Tensor, most: Tensor) -> Tensor:
    """Return the nearest point to each row with sum 0 and no number above ``most``, by bisection."""
    low, high = v.min(1).values - 1, (v - most).max(1).values + v.abs().max() + 1
    for _ in range(200):
        middle = (low + high) / 2
        total = torch.minimum(v - middle[:, None], most).sum(1)
        low, high = torch.where(total > 0, middle, low), torch.where(total > 0, high, middle)
    return torch.minimum(v - middle[:, None], most)


def machine() -> float:
    """Return the support vector machine's dual against projected gradient."""
    x, y, _ = features(10, 5, 8)
    K, hot = x @ x.T, F.one_hot(y, 5).double()
    a, length = torch.zeros_like(hot), float(torch.linalg.eigvalsh(K).max()) + 1
    for _ in range(3000):
        a = projected(a - (K @ a + a - hot) / length, 0.1 * hot)
    return float((svm.solve(K, hot).alpha - a).abs().max())


def optimum() -> float:
    """Return the largest derivative of logistic regression's objective at its solution."""
    x, y, _ = features()
    W, b = (t.requires_grad_() for t in logistic(x, y, 3))
    value = W.square().sum() / 2 + F.cross_entropy(x @ W.T + b, y, reduction="sum")
    return max(float(g.abs().max()) for g in torch.autograd.grad(value, [W, b]))


def by_hand() -> float:
    """Return the largest error of SKD's three losses, worked out on paper for two and four numbers."""
    p, q = math.e / (1 + math.e), 1 / (1 + math.e)  # softmax of (1, 0), at T = 2
    teacher, student = torch.tensor([[2.0, 0.0]]).double(), torch.tensor([[0.0, 2.0]]).double()
    turned, upright = torch.tensor([[3.0, 4.0], [1.0, 1.0]]).double(), torch.tensor([[0.0, 0.0], [1.0, 0.0]]).double()
    logits = torch.tensor([[0.0, 0.0, math.log(3), 0.0]]).double()
    found = (
        (skd.distillation_loss(student, teacher), 4 * (p - q)),  # T² Σ p log(p/q), log(p/q) = 1
        (skd.consistency_loss(turned, upright), (5 + 1) / 2 / 3),
        (skd.rotation_loss(logits, torch.tensor([2])), (math.log(4 / 3) + 3 * math.log(2)) / 4),
    )
    return max(abs(float(loss) - known) for loss, known in found)


def conservation() -> float:
    """Return how far relevance at the pairs is from that at the scores, as a share of it, biases and ε aside."""
    method = made("relationnet-lrp")
    psi, task = method.network.psi(), episode()
    support, query = method.features(psi.theta, task)
    pairs = method.pairs(support, task.support.y, query, WAY).detach()
    start = torch.linspace(-2, 3, len(pairs), dtype=torch.float64)
    phi = {**psi.phi, "fc1.bias": psi.phi["fc1.bias"] + 20}  # no unit of the last layer but one is stopped
    R = relevance.relevance(method.module, phi, pairs, start, epsilon=0.0)
    return float(((R.flatten(1).sum(1) - start) / start).abs().max())


def plain_at_test(name: str) -> float:
    """Return the largest difference to RelationNet at test."""
    method, plain = made(name), made("relationnet")
    return float(
        (method.predict(method.network.psi(), episode()) - plain.predict(plain.network.psi(), episode())).abs().max()
    )


def climbs() -> float:
    """Return the largest fall of the loss in a step of the ascent, of the method's size; 0 where it rises at each."""
    method = made("relationnet-ata")
    psi, task = method.network.psi(), episode()
    states = method.ascent(psi, task, torch.cat([task.support.x, task.query.x]), LR)
    losses = [float(method.test_loss(psi, task, x).detach()) for x in states]
    return max(0.0, *(a - b for a, b in itertools.pairwise(losses)))


CHECKS = (
    Check("protonet", "distances against loops", prototype_distance),
    Check("matchingnet", "probabilities sum to one", probabilities),
    Check("r2d2", "scores against the primal by a dense solve", ridge),
    Check("metaoptnet", "ridge: its dual's optimality", twice),
    Check("metaoptnet", "svm: dual against projected gradient", machine),
    Check("skd-gen0", "logistic regression: derivative at its optimum", optimum),
    Check("skd-gen1", "distillation, consistency and rotations against hand values", by_hand),
    Check("relationnet-lrp", "relevance in against relevance out", conservation),
    *(
        Check(name, "at test against relationnet", lambda name=name: plain_at_test(name))
        for name in ("relationnet-ft", "relationnet-lft", "relationnet-lrp", "relationnet-ata")
    ),
    Check("relationnet-ata", f"largest fall in a step of the ascent (step size {LR:g})", climbs),
    *(
        Check(
            name,
            f"gradient{said} against differences",
            lambda name=name, options=options: by_differences(name, **options),
        )
        for name, said, options in (
            ("baseline", "", {}),
            ("baseline++", "", {}),
            ("multi-head", "", {}),
            ("skd-gen0", "", {}),
            ("protonet", "", {}),
            ("matchingnet", "", {}),
            ("r2d2", "", {}),
            ("metaoptnet", " (ridge)", {}),
            ("metaoptnet", " (svm)", {"solver": "svm"}),
            ("relationnet", " (mse)", {}),
            ("relationnet", " (softmax)", {"loss": "softmax"}),
        )
    ),
)


def main() -> None:
    """Print the table."""
    print("| method | check | error |\n|---|---|---:|")
    for check in CHECKS:
        print(f"| `{check.method}` | {check.what} | {check.error():.1e} |", flush=True)


if __name__ == "__main__":
    main()
