"""Figures of the method, from numbers that are computed here or read from a run: ``python -m docs.figures``.

    python -m docs.figures two-tasks                 docs/two-tasks.svg    Figure 1: steps in task space and meta space
    python -m docs.figures triangle RUN A B C        docs/triangle.svg     Figure 2: d_ij between three sources of a run
    python -m docs.figures leader                    docs/leader.svg       leader and follower, Appendix A
    python -m docs.figures saliency WITHOUT WITH     docs/saliency.png     Figure 8: where two runs look

Without arguments the two that need no run are drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rotogbml.config import HomogenizerConfig, ReweightConfig, RotateConfig
from rotogbml.homogenizer import Homogenizer, TaskStatistics, create_homogenizer
from rotogbml.homogenizer.conflict import conflict

HERE = Path(__file__).resolve().parent
HUES = ("#0561cd", "#d2390c", "#0ba46f")
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
        found = conflict(gradients, weights)
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


def two_tasks(out: Path) -> str:
    """Draw Figure 1 and return its caption."""
    courses = {"plain": train(homogenizer(False)), "RotoGBML": train(homogenizer(True))}
    figure, axes = _panels(2, width=9.0, height=4.6)
    span = torch.linspace(-2.6, 2.6, 220, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(span, span, indexing="xy"), dim=-1)
    said = []
    for panel, (name, course) in zip(axes, courses.items(), strict=True):
        for task, γ, hue in zip(TASKS, course.gammas, HUES, strict=False):
            heights = task.loss(grid @ γ.T).numpy()
            panel.contour(
                span, span, heights, levels=0.5 * np.arange(0.3, 3.4, 0.6) ** 2, colors=hue, linewidths=0.7, alpha=0.55
            )
            least = γ.T @ torch.tensor(task.centre, dtype=torch.float64)
            panel.plot(*least.tolist(), marker="x", color=hue, markersize=7, label=f"least {task.name}")
        path = torch.stack(course.theta).numpy()
        panel.plot(path[:, 0], path[:, 1], color="black", linewidth=1.6, label="meta space")
        for step in (0, 12, 30, 60, 120, STEPS - 1):
            for hue, inner in zip(HUES, course.inner[step], strict=False):
                line = torch.stack(inner).numpy()
                panel.plot(line[:, 0], line[:, 1], color=hue, linewidth=1.3, marker=".", markersize=3.5)
            panel.plot(path[step, 0], path[step, 1], "o", color="black", markersize=4)
        panel.set(xlim=(-2.2, 2.5), ylim=(-2.4, 2.0), aspect="equal", title=name, xlabel="θ₁", ylabel="θ₂")
        first, last, ratio = course.losses[0], course.losses[-1], course.ratio
        said.append(
            f"{name}: losses {first[0]:.2f}, {first[1]:.2f} → {last[0]:.2f}, {last[1]:.2f}; cosine of gradients "
            f"{course.cosine[0]:+.2f} → {course.cosine[-1]:+.2f}; "
            f"larger over smaller weighted norm {ratio[0]:.2f} → {ratio[-1]:.2f}"
        )
    axes[0].legend(fontsize=7, loc="lower left", frameon=False)
    figure.savefig(out, metadata={"Date": None})
    return "\n".join(said)


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


def leader(out: Path) -> str:
    """Draw leader and follower at three rates, and γ of the two tasks at two, and return the caption."""
    a, rate = 3.0, 0.2
    slow = 0.8 * smooth_ratio(a)
    rates: dict[str, Callable[[int], float]] = {
        "equal rates: condition violated": lambda t: rate,
        f"leader at {slow:.3f} of the follower's rate": lambda t: slow * rate,
        "leader's rate falls as 1/t": lambda t: rate / (1 + t),
    }
    figure, (left, right) = _panels(2, width=9.0, height=3.6)
    said = [f"smooth below a ratio of {smooth_ratio(a):.4f} (a = {a:g})"]
    for hue, (name, at) in zip(HUES[::-1], rates.items(), strict=True):
        course = game(rate, at, a)
        left.plot(course[:, 0], color=hue, linewidth=1.2, label=name)
        said.append(
            f"{name}: the follower crosses 0 {turns(course[:, 0])} times in 200 steps, ends at {course[-1, 0]:+.3f}"
        )
    left.set(xlabel="step", ylabel="follower x", ylim=(-2.2, 3.2), title="a game of two parameters")
    left.legend(fontsize=7, frameon=False, loc="upper right")
    for hue, (name, turn, decay) in zip(
        HUES[::-1],
        (("γ turns up to 1 rad a step, for ever", 1.0, 1.0), ("0.01 rad, decaying", 0.01, 0.995)),
        strict=False,
    ):
        losses = np.array(train(homogenizer(True, turn, decay), 200).losses).mean(1)
        right.plot(losses, color=hue, linewidth=1.2, label=name)
        up = int((np.diff(losses) > 1e-9).sum())
        said.append(f"{name}: the network's mean loss rises in {up} of 199 steps, ends at {losses[-1]:.3f}")
    right.set(xlabel="step", ylabel="mean query loss", title="the two tasks of Figure 1", yscale="log")
    right.legend(fontsize=7, frameon=False)
    figure.savefig(out, metadata={"Date": None})
    return "\n".join(said)


def triangle(out: Path, run: Path, sources: Sequence[str]) -> str:
    """Draw Figure 2: the sides are d_ij of a run's three sources, mean over its whole training; return the caption."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line["kind"] == "train" and "conflict" in line]
    if not lines:
        sys.exit(f"{run} has no distances in its metrics: train with this version")
    seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for line in lines:
        for a, b, found in line["conflict"]["pairs"]:
            seen.setdefault((a, b), []).append((found["encoder_before"], found["encoder_after"]))
    wanted = sorted(sources)
    pairs = [(wanted[0], wanted[1]), (wanted[0], wanted[2]), (wanted[1], wanted[2])]
    missing = [pair for pair in pairs if pair not in seen]
    if missing:
        sys.exit(
            f"{run}: {' and '.join(missing[0])} never met in a minibatch; "
            f"name three sources that did, such as {sorted(seen)[0]}"
        )
    figure, axes = _panels(2, width=8.0, height=3.4)
    said = []
    for panel, which, title in zip(axes, (0, 1), ("before ω", "after ω"), strict=True):
        ab, ac, bc = (float(np.mean([d[which] for d in seen[pair]])) for pair in pairs)
        x = (ab**2 + ac**2 - bc**2) / (2 * ab)
        corners = np.array([[0, 0], [ab, 0], [x, math.sqrt(max(ac**2 - x**2, 0))]])
        panel.fill(corners[:, 0], corners[:, 1], facecolor=HUES[0], alpha=0.1, edgecolor=HUES[0])
        for name, (px, py), above in zip(wanted, corners, (False, False, True), strict=True):
            panel.annotate(
                name, (px, py), xytext=(0, 6 if above else -13), textcoords="offset points", ha="center", fontsize=9
            )
        for (i, j), length in zip(((0, 1), (0, 2), (1, 2)), (ab, ac, bc), strict=True):
            middle = (corners[i] + corners[j]) / 2
            panel.annotate(f"{length:.2f}", middle, ha="center", fontsize=9, color=HUES[1])
        panel.set(aspect="equal", title=f"{title}: d_ij of encoder gradients")
        panel.margins(0.2)
        panel.axis("off")
        said.append(f"{title}: " + ", ".join(f"{a}–{b} {d:.3f}" for (a, b), d in zip(pairs, (ab, ac, bc), strict=True)))
    top = max(panel.get_xlim()[1] for panel in axes)
    for panel in axes:
        panel.set_xlim(-0.2 * top, top)
    figure.savefig(out, metadata={"Date": None})
    return "\n".join(said)


def saliency(out: Path, runs: Sequence[str], target: Sequence[str]) -> str:
    """Draw Figure 8 from the pictures that ``rotogbml explain`` writes, and return its sentences."""
    import base64
    import io
    import re
    import tempfile

    from PIL import Image

    import rotogbml

    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "explain.html"
        found = rotogbml.explain(list(runs), list(target) or None, shown=3, out=str(page))
        uris = re.findall(r"<img src=\"data:image/png;base64,([^\"]+)\"", page.read_text(encoding="utf-8"))
    pictures = [Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB") for uri in uris]
    width, side, gap = 1 + len(runs), pictures[0].width, 6
    # Two triplets beside each other, to be as wide as it is high.
    rows = math.ceil(len(pictures) / width / 2)
    sheet = Image.new("RGB", (2 * width * (side + gap) + 3 * gap, rows * (side + gap)), "white")
    for i, picture in enumerate(pictures):
        triplet, place = divmod(i, width)
        half, row = divmod(triplet, rows)
        sheet.paste(picture, ((half * width + place) * (side + gap) + half * 3 * gap, row * (side + gap)))
    sheet.quantize(128).save(out, optimize=True)
    return "\n".join(
        f"{s.target}, {s.run}: {100 * s.on_ink:.1f} ± {100 * s.ci95:.1f} % on ink of {100 * s.area:.1f} %"
        for s in found.shares
    )


def _panels(n: int, width: float, height: float) -> tuple[Any, Any]:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.hashsalt": "rotogbml", "font.size": 9.0, "svg.fonttype": "none"})
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, n)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m docs.figures", description=__doc__.splitlines()[0])
    parser.add_argument("figure", nargs="?", choices=("two-tasks", "triangle", "leader", "saliency"))
    parser.add_argument("rest", nargs="*", help="triangle: RUN A B C; saliency: WITHOUT WITH [TARGET …]")
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args(arguments)
    drawn: dict[str, Callable[[Path], str]] = {"two-tasks": two_tasks, "leader": leader}
    if given.figure == "triangle":
        if len(given.rest) != 4:
            parser.error("triangle needs RUN and the names of three sources")
        print(triangle(given.out / "triangle.svg", Path(given.rest[0]), given.rest[1:]))
    elif given.figure == "saliency":
        if len(given.rest) < 2:
            parser.error("saliency needs two runs, without ISI and with")
        print(saliency(given.out / "saliency.png", given.rest[:2], given.rest[2:]))
    else:
        for name, draw in drawn.items():
            if given.figure in (None, name):
                print(draw(given.out / f"{name}.svg"))


if __name__ == "__main__":
    main()
