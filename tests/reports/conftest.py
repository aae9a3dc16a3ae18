"""A run folder as training and evaluation leave it, with made-up numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

METHODS = ("maml+rotogbml", "maml", "untrained encoder", "nearest prototype on pixels")


def make_run(
    folder: Path,
    *,
    method: str = "maml+rotogbml",
    sources: tuple[str, ...] = ("arabic", "armenian", "cyrillic", "greek", "hebrew", "latin"),
    targets: tuple[str, ...] = ("lao", "nko"),
    steps: int = 600,
    evaluated: bool = True,
    seed: int = 0,
    n_way: int = 5,
    k_shot: int = 1,
    side: int = 42,
    classes: tuple[str, ...] = (),
    photos: bool = False,
) -> Path:
    """Write a run folder; ``photos`` makes the examples noise, which no format packs well."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    on = "rotogbml" in method
    config: dict[str, Any] = {
        "sources": ["glyphs"],
        "holdout": list(targets),
        "steps": steps,
        "minutes": None,
        "seed": seed,
        "preset": "default",
        "shift": "strong",
        "episodes": {
            "n_way": n_way,
            "k_shot": k_shot,
            "n_query": 15,
            "tasks_per_batch": 4,
            "mix": "one-source-per-task",
            "augment": "shape-safe",
        },
        "encoder": {"name": "conv4", "width": 64, "norm": "batch"},
        "learner": {"name": "maml", "inner_lr": 0.05, "inner_steps": 3, "test_steps": 10, "first_order": True},
        "homogenizer": {
            "reweight": {"beta": 1.5, "relative_loss": "mean", "update": "gradient", "lr": 0.01, "slots": "source"},
            "rotate": {"align": "shared", "lr": 0.0005, "decay": 0.9999, "slots": "source", "rotate_support": True},
        }
        if on
        else None,
        "isi": {"layers": 2, "rate": 0.1, "T": 0.5, "radius": 2, "bandwidth": 1.0, "patch": 3, "normalize": "image"}
        if on
        else None,
        "outer": {"meta_lr": 0.001, "log_every": 20, "validate_every": 100},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    identity = {
        "rotogbml": "0.1.0",
        "torch": "2.13.0",
        "numpy": "2.3.0",
        "python": "3.11.2",
        "machine": "x86_64",
        "parameters": 112_000,
        "sources": {name: f"{i:02x}" * 32 for i, name in enumerate(sources)},
    }
    (folder / "run.json").write_text(json.dumps(identity))
    lines = [_train_line(step, steps, sources, rng, on) for step in range(20, steps + 1, 20)]
    lines += [
        {
            "kind": "val",
            "step": step,
            "accuracy": 0.3 + 0.5 * (1 - np.exp(-step / 200)),
            "ci95": 0.02,
            "episodes": 100,
            "best": "last",
            "sources": dict.fromkeys(sources, 0.6),
        }
        # Some runs keep a running mean of their weights.
        | ({"averaged": {"accuracy": 0.5, "ci95": 0.02, "sources": dict.fromkeys(sources, 0.5)}} if on else {})
        for step in range(100, steps + 1, 100)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    timing = [{"step": step, "seconds": step * 0.21, "tasks_per_second": 19.0} for step in range(20, steps + 1, 20)]
    (folder / "timing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in timing))
    if evaluated:
        _evaluate(folder, method, sources, targets, rng, n_way, k_shot, side, classes, photos, seed)
    return folder


def _train_line(step: int, steps: int, sources: tuple[str, ...], rng: np.random.Generator, on: bool) -> dict[str, Any]:
    progress = 1 - np.exp(-step / (0.3 * steps))
    weights = {name: 1 + (0.3 * np.sin(i) * progress if on else 0.0) for i, name in enumerate(sources)}
    entries = {}
    for i, name in enumerate(sources):
        norm = 1.1 - 0.5 * progress + 0.1 * np.cos(2 * i) + 0.04 * rng.standard_normal()
        entries[name] = {
            "tasks": 12,
            "loss": 1.6 - 1.0 * progress,
            "accuracy": 0.2 + 0.6 * progress,
            "norm": norm,
            "weighted_norm": weights[name] * norm,
            "omega": weights[name],
        }
    pairs = [
        [
            *(a, b),
            {
                "count": 3,
                "encoder": 0.02 * rng.standard_normal(),
                "feature_before": 0.05 * rng.standard_normal(),
                "feature_after": 0.03 + 0.05 * rng.standard_normal(),
            },
        ]
        for i, a in enumerate(sources)
        for b in sources[i + 1 :]
    ]
    return {
        "kind": "train",
        "step": step,
        "loss": 1.6 - 1.0 * progress + 0.03 * rng.standard_normal(),
        "accuracy": 0.2 + 0.6 * progress + 0.01 * rng.standard_normal(),
        "sources": entries,
        "omega": weights if on else {},
        "cosine": {"encoder": 0.01, "feature_before": 0.0, "feature_after": 0.02},
        "pairs": pairs,
    }


def result_row(
    method: str = "maml+rotogbml", target: str = "lao", mean: float | None = 0.78, **more: Any
) -> dict[str, Any]:
    """Return one row of results.json."""
    row = {
        "method": method,
        "run": "roto",
        "target": target,
        "split": "all",
        "classes": 31,
        "n_way": 5,
        "k_shot": 1,
        "n_query": 15,
        "episodes": 600,
        "norm": "batch",
        "inner_steps": 5,
        "mean": mean,
        "ci95": 0.011,
        "training_seed": 0,
        "test_seed": 0,
        "sources": ["greek", "latin"],
        "steps": 600,
        "checkpoint": "best",
        "key": f"{method}|{target}|5way1shot",
    }
    return row | more


def _evaluate(
    folder: Path,
    method: str,
    sources: tuple[str, ...],
    targets: tuple[str, ...],
    rng: np.random.Generator,
    n_way: int,
    k_shot: int,
    side: int,
    classes: tuple[str, ...],
    photos: bool,
    seed: int,
) -> None:
    (folder / "evaluation").mkdir()
    means = {METHODS[0]: 0.78, METHODS[1]: 0.776, METHODS[2]: 0.41, METHODS[3]: 0.33}
    rows = [
        result_row(
            name,
            target,
            means[name] + 0.02 * i,
            n_way=n_way,
            k_shot=k_shot,
            norm="none" if "pixels" in name else "batch",
            run=folder.name if name == method else None if name in METHODS[2:] else "plain",
            training_seed=None if name in METHODS[2:] else seed,
            sources=[] if name in METHODS[2:] else list(sources),
        )
        for i, target in enumerate(targets)
        for name in METHODS
    ]
    paired = [
        {"a": METHODS[0], "b": METHODS[1], "target": target, "difference": 0.004, "ci95": 0.006, "episodes": 600}
        for target in (*targets, f"mean of {len(targets)}")
    ]
    paired[-1] |= {"difference": 0.031, "ci95": 0.004}
    command = f"rotogbml evaluate {folder.name} --target {' '.join(targets)}"
    (folder / "evaluation" / "results.json").write_text(
        json.dumps({"rows": rows, "paired": paired, "command": command})
    )
    arrays: dict[str, np.ndarray] = {}
    names = classes or tuple(f"letter {chr(65 + i)}" for i in range(n_way))
    for i in range(3):
        support_y, query_y = np.repeat(np.arange(n_way), k_shot), rng.permutation(np.repeat(np.arange(n_way), 15))
        draw = (lambda label: rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) if photos else _picture(side, rng)
        arrays |= {
            f"{i}/support_x": np.stack([draw(label) for label in support_y]),
            f"{i}/support_y": support_y,
            f"{i}/query_x": np.stack([draw(label) for label in query_y]),
            f"{i}/query_y": query_y,
            f"{i}/target": np.array(targets[i % len(targets)]),
            f"{i}/classes": np.array(names),
        }
        for name in METHODS:
            wrong = rng.random(len(query_y)) > means[name]
            arrays[f"{i}/pred/{name}"] = np.where(wrong, (query_y + 1) % n_way, query_y)
    np.savez(folder / "evaluation" / "examples.npz", **arrays)  # ty: ignore[invalid-argument-type]


def _picture(side: int, rng: np.random.Generator) -> Callable[[int], np.ndarray]:
    """A different closed shape for each class on speckled paper."""

    def draw(label: int) -> np.ndarray:
        image = Image.new("RGB", (side, side), (231, 220, 196))
        pen = ImageDraw.Draw(image)
        box = (side * 0.2, side * 0.2, side * 0.8, side * 0.8)
        pen.regular_polygon(
            (side / 2, side / 2, side * 0.32),
            n_sides=3 + int(label) % 6,
            rotation=int(rng.integers(40)),
            outline=(40, 60, 90),
        )
        pen.arc(box, 0, 40 * (1 + label % 8), fill=(150, 40, 30), width=2)
        noise = rng.integers(-18, 18, (side, side, 1))
        return np.clip(np.asarray(image, dtype=int) + noise, 0, 255).astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def whole_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of such a run folder, for tests that only read it."""
    from rotogbml.reports import report

    return report([str(make_run(tmp_path_factory.mktemp("whole") / "roto"))])


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Return a whole run folder of six sources and two targets."""
    return make_run(tmp_path / "roto")
