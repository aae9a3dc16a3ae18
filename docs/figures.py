"""Figures of the method, from numbers that are computed here or read from a run: ``python -m docs.figures``.

    python -m docs.figures two-tasks                 docs/two-tasks.svg    Figure 1: steps in task space and meta space
    python -m docs.figures triangle [RUN A B C]      docs/triangle.svg     Figure 2: d_ij between three sources of a run
    python -m docs.figures leader                    docs/leader.svg       leader and follower, Appendix A
    python -m docs.figures cues                      docs/cues.png         what ``rotogbml shape`` shows to runs
    python -m docs.figures saliency [WITHOUT WITH]   docs/saliency.png     Figure 8: where two runs look

Without a figure's name those that need no run are drawn. The runs of Figures 2 and 8 are trained first where none is
named (``figure_runs.py``).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from docs.two_parameters import STEPS, TASKS, game, homogenizer, smooth_ratio, train, turns
from torch import Tensor

from docs import figure_runs

HERE = Path(__file__).resolve().parent
HUES = ("#0561cd", "#d2390c", "#0ba46f")


def two_tasks(out: Path) -> str:
    """Draw Figure 1 and return its caption."""
    courses = {"plain": train(homogenizer(False)), "RotoGBML": train(homogenizer(True))}
    figure, axes = panels(2, width=9.0, height=4.6)
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


def leader(out: Path) -> str:
    """Draw leader and follower at three rates, and γ of the two tasks at two, and return the caption."""
    a, rate = 3.0, 0.2
    slow = 0.8 * smooth_ratio(a)
    rates: dict[str, Callable[[int], float]] = {
        "equal rates: condition violated": lambda t: rate,
        f"leader at {slow:.3f} of the follower's rate": lambda t: slow * rate,
        "leader's rate falls as 1/t": lambda t: rate / (1 + t),
    }
    figure, (left, right) = panels(2, width=9.0, height=3.6)
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
    figure, axes = panels(2, width=8.0, height=3.4)
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


def cues(out: Path) -> str:
    """Draw queries of held-out scripts as they are, in conflict, and altered; return what the columns are."""
    from PIL import Image

    from rotogbml.cues.altered import altered
    from rotogbml.cues.images import DISTORTIONS
    from rotogbml.episodes.augment import IMAGENET_MEAN, IMAGENET_STD
    from rotogbml.evaluation.work import Test
    from rotogbml.sources.glyphs import glyphs
    from rotogbml.sources.packed import open_pack

    def picture(x: Tensor) -> np.ndarray:
        mean, std = (torch.tensor(one).view(3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
        shown = ((x * std + mean).clamp(0, 1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        return np.pad(shown.repeat(2, axis=0).repeat(2, axis=1), ((3, 3), (3, 3), (0, 0)), constant_values=255)

    pack, rows = open_pack(glyphs()), []
    for script in ("lao", "tifinagh", "georgian", "nko"):
        test = Test(pack[script], "all", 5, 1, 1, 0)
        by_shape, by_texture = (altered(test, "look", asks).episode(0) for asks in ("shape", "texture"))
        support = {int(y): x for x, y in zip(by_shape.support.x, by_shape.support.y, strict=True)}
        shape, texture = (support[int(one.query.y[0])] for one in (by_shape, by_texture))
        altered_ones = [altered(test, name).episode(0).query.x[0] for name in DISTORTIONS]
        rows.append(np.hstack([picture(x) for x in (shape, texture, by_shape.query.x[0], *altered_ones)]))
    Image.fromarray(np.vstack(rows)).save(out, optimize=True)
    return "support of the class by shape, support of the class by look, the query between them; " + ", ".join(
        DISTORTIONS
    )


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


def panels(n: int, width: float, height: float) -> tuple[Any, Any]:
    """Return a figure and its n axes in a row; inches."""
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
    parser.add_argument("figure", nargs="?", choices=("two-tasks", "triangle", "leader", "cues", "saliency"))
    parser.add_argument("rest", nargs="*", help="triangle: RUN A B C; saliency: WITHOUT WITH [TARGET …]; none: train")
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args(arguments)
    drawn = {"two-tasks.svg": two_tasks, "leader.svg": leader, "cues.png": cues}
    if given.figure == "triangle":
        rest = given.rest or [str(figure_runs.conflict_run()), *figure_runs.CORNERS]
        if len(rest) != 4:
            parser.error("triangle needs RUN and the names of three sources, or nothing: then the run is trained")
        print(triangle(given.out / "triangle.svg", Path(rest[0]), rest[1:]))
    elif given.figure == "saliency":
        rest = given.rest or [*map(str, figure_runs.isi_runs()), *figure_runs.TARGETS]
        if len(rest) < 2:
            parser.error("saliency needs two runs, without ISI and with, or nothing: then they are trained")
        print(saliency(given.out / "saliency.png", rest[:2], rest[2:]))
    else:
        for name, draw in drawn.items():
            if given.figure in (None, name.split(".")[0]):
                print(draw(given.out / name))


if __name__ == "__main__":
    main()
