"""Label files of every piece, cut short and garbled: read as far as can be, or refused in words, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rotogbml.errors import UsageError
from rotogbml.releases.importing import read_release
from rotogbml.seeds import numpy_generator
from rotogbml.sources.tree import IMAGE_SUFFIXES

from .test_layouts import NEED_SCIPY, PIECES

Piece = Callable[..., tuple[Path, dict[str, Any]]]


def damaged(data: bytes, way: int, rng: np.random.Generator) -> bytes:
    """Return the file cut short, with bytes changed, with lines dropped or mixed, or as the page of an error."""
    if way == 0:
        return data[: int(rng.integers(0, len(data) + 1))]
    if way == 1:
        garbled = np.frombuffer(data, np.uint8).copy()
        places = rng.integers(0, max(1, len(garbled)), 20)
        garbled[places[places < len(garbled)]] = rng.integers(0, 256, (places < len(garbled)).sum())
        return garbled.tobytes()
    lines = data.split(b"\n")
    if way == 2:
        return b"\n".join(lines[i] for i in sorted(rng.permutation(len(lines))[: len(lines) // 2]))
    if way == 3:
        return b"\n".join(b" ".join(line.split()[::-1]) for line in lines[:2000])
    return b"<!DOCTYPE html><title>404</title>"


@pytest.mark.parametrize("name", sorted(PIECES))
def test_damaged_label_files(piece: Piece, name: str) -> None:
    if name in NEED_SCIPY:
        pytest.importorskip("scipy")
    place, _ = piece(name)
    labels = [f for f in sorted(place.rglob("*")) if f.is_file() and not f.name.lower().endswith(IMAGE_SUFFIXES)]
    for label in labels[:4]:
        whole = label.read_bytes()
        for way in range(5):
            label.write_bytes(damaged(whole, way, numpy_generator(way, "damage", name, label.name)))
            try:
                said = f"{place}: {len(read_release(PIECES[name], place).reading.rows)} images"
            except UsageError as error:
                said = str(error)
            assert str(place) in said
            assert not said.endswith(" 0 images")
        label.write_bytes(whole)
