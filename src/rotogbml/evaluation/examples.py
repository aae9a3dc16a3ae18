"""A few whole test episodes, kept as pictures with everybody's predictions, for the report."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rotogbml.evaluation.methods import Spec, load
from rotogbml.evaluation.work import Test
from rotogbml.files import write_atomic
from rotogbml.sources.packed import PackedSource

COUNT = 3


def write_examples(path: Path, methods: Mapping[Spec, str], tests: list[Test]) -> None:
    """Write ``examples.npz``: the first episodes of the test, from different targets where there are several.

    Args:
        path: the file.
        methods: each method and what the rows call it.
        tests: one for each target.
    """
    arrays: dict[str, np.ndarray] = {}
    for i in range(COUNT):
        test = tests[i % len(tests)]
        episode = test.episode(i // len(tests))
        for side, examples, rows in zip(
            ("support", "query"), (episode.support, episode.query), episode.indices, strict=True
        ):
            arrays[f"{i}/{side}_x"] = _pixels(test.source, rows)
            arrays[f"{i}/{side}_y"] = examples.y.numpy()
        arrays[f"{i}/target"] = np.array(test.source.name)
        arrays[f"{i}/classes"] = np.array(episode.classes)
        for spec, name in methods.items():
            scores = load(spec, test.source.size).scores(episode)
            arrays[f"{i}/pred/{name}"] = scores.argmax(1).numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def _pixels(source: PackedSource, rows: np.ndarray) -> np.ndarray:
    """Return the centre of the stored squares: what the test view shows, before normalisation."""
    edge = (source.side - source.size) // 2
    return source.images[rows][:, edge : edge + source.size, edge : edge + source.size]
