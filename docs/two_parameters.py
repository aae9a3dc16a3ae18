"""Problems of two parameters: two tasks under the package's own ω and γ, and a leader with a follower."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rotogbml.config import HomogenizerConfig, ReweightConfig, RotateConfig
from rotogbml.homogenizer import Homogenizer, TaskStatistics, create_homogenizer
from rotogbml.homogenizer.conflict import angles, conflict

INNER, OUTER, STEPS = 0.06, 0.03, 400
START = (-1.0, 1.3)


@dataclass(frozen=True)
class Task:
    """L(ẑ) = ½ (ẑ − c)ᵀ A (ẑ − c), two features."""

    name: str
    centre: tuple[float, float]
    axes: tuple[float, float]
    turn: float

    def matrix(self) -> Tensor:
        """Return A: eigenvalues ``axes``, the first along ``turn`` radians."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        basis = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
        return basis @ torch.diag(torch.tensor(self.axes, dtype=torch.float64)) @ basis.T

    def loss(self, z: Tensor) -> Tensor:
        """Return L of points [..., 2]."""
        off = z - torch.tensor(self.centre, dtype=torch.float64)
        return 0.5 * ((off @ self.matrix()) * off).sum(-1)

    def slope(self, z: Tensor) -> Tensor:
        """Return ∂L/∂ẑ at one point [2]."""
        return self.matrix() @ (z - torch.tensor(self.centre, dtype=torch.float64))


TASKS = (Task("task 1", (1.6, 0.5), (1.0, 0.3), 0.2), Task("task 2", (0.2, -1.5), (4.0, 1.6), 1.3))


@dataclass
class Course:
    """What a training of the two parameters left: everything [step, …]."""

    theta: list[Tensor] = field(default_factory=list)
    inner: list[list[list[Tensor]]] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    cosine: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    gammas: list[Tensor] = field(default_factory=list)


def homogenizer(on: bool, turn: float = 0.01, decay: float = 0.995) -> Homogenizer:
    """Return the package's own ω and γ for the two tasks, or none."""
    reweight = ReweightConfig(1.5, "mean", "gradient", 0.01, "source")
    rotate = RotateConfig("shared", turn, decay, "source", True)
    return create_homogenizer(
        HomogenizerConfig(reweight, rotate) if on else None,
        sources=[task.name for task in TASKS],
        tasks_per_batch=len(TASKS),
        feature_dim=2,
        n_way=2,
    )


def train(part: Homogenizer, steps: int = STEPS, outer: float = OUTER, inner_steps: int = 3) -> Course:
    """Run Algorithm 1 in first order on θ ∈ ℝ², whose features are θ itself: ẑ_i = γ_i θ_i."""
    names = tuple(task.name for task in TASKS)
    theta, course = torch.tensor(START, dtype=torch.float64), Course()
    for _ in range(steps):
        gammas = [γ.double() for γ in part.rotations(names) or [torch.eye(2)] * len(TASKS)]
        paths, g, u, losses = [], [], [], []
        for task, γ in zip(TASKS, gammas, strict=True):
            path = [theta]
            for _ in range(inner_steps):
                path.append(path[-1] - INNER * γ.T @ task.slope(γ @ path[-1]))
            rotated = γ @ path[-1]
            paths.append(path)
            u.append(task.slope(rotated))
            g.append(γ.T @ u[-1])
            losses.append(task.loss(rotated))
        gradients = torch.stack(g)
        stats = TaskStatistics(names, torch.stack(losses), gradients.norm(dim=1), torch.stack(u))
        weights = part.weights(stats)
        found = conflict(angles(gradients), weights)
        course.theta.append(theta)
        course.inner.append(paths)
        course.losses.append([float(one) for one in losses])
        course.cosine.append(float(found.cosine[0, 1]))
        weighted = weights * found.norms
        course.ratio.append(float(weighted.max() / weighted.min()))
        course.weights, course.gammas = weights.tolist(), gammas
        theta = theta - outer * (weights @ gradients) / len(TASKS)
        part.update(stats)
    return course


def game(follower: float, leader: Callable[[int], float], a: float = 3.0, steps: int = 200) -> np.ndarray:
    """Return (x, y) over steps where the follower x lowers ½x² − a·x·y and the leader y lowers ½y² + a·x·y."""
    x, y, seen = 1.0, 1.0, [(1.0, 1.0)]
    for t in range(steps):
        x, y = x - follower * (x - a * y), y - leader(t) * (y + a * x)
        seen.append((x, y))
    return np.array(seen)


def smooth_ratio(a: float) -> float:
    """Return the largest η_leader / η_follower without oscillation in continuous time: (√(1 + a²) − a)².

    The motion's matrix [[1, −a], [ra, r]] has real eigenvalues where (1 − r)² ≥ 4 a² r.
    """
    return (math.sqrt(1 + a * a) - a) ** 2


def turns(values: np.ndarray) -> int:
    """Return how often a course changes its sign: an oscillation about 0 does."""
    big = values[np.abs(values) > 1e-9]
    return int((np.sign(big[1:]) != np.sign(big[:-1])).sum())
