"""Images as PNG data URIs: test episodes with right and wrong marked, and what ISI would drop.

An image is at most ``SIDE`` pixels wide and of 256 colours in the page, so that three episodes of photos stay well
below the page's 5 MB; the number of images shown of an episode is bounded for the same reason.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from rotogbml.reports.record import Example

SIDE = 84
MOST_CLASSES = 20
HEAT = ((0, 0, 0), (86, 24, 92), (196, 60, 60), (247, 142, 30), (252, 240, 160))  # dark → bright, as brightness alone
DropMap = Callable[[np.ndarray], np.ndarray]  # float32 [b, 3, h, w] in 0..1 → drop probability [b, h′, w′]


@dataclass(frozen=True)
class Query:
    """A query image; ``predicted`` is the class that the method named."""

    uri: str
    truth: str
    predicted: str

    @property
    def right(self) -> bool:
        """Say whether the prediction is the true class."""
        return self.truth == self.predicted


@dataclass(frozen=True)
class ClassStrip:
    """One class of an episode: its support images, and the first of its queries."""

    name: str
    support: list[str]
    queries: list[Query]
    more_support: int
    more_queries: int


@dataclass(frozen=True)
class EpisodePicture:
    """A test episode as pictures; ``right`` of ``total`` counts every query, shown or not."""

    target: str
    method: str
    strips: list[ClassStrip]
    right: int
    total: int
    more_classes: int
    others: list[tuple[str, int]]


@dataclass(frozen=True)
class MaskPicture:
    """An example image beside its drop probability (PNG data URIs), which ranges from ``low`` to ``high``."""

    name: str
    image: str
    overlay: str
    low: float
    high: float


def png(pixels: np.ndarray, side: int = SIDE) -> str:
    """Return a uint8 image [h, w, 3] as a PNG data URI, its longer side at most ``side`` pixels."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    small = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def episode_picture(example: Example, method: str) -> EpisodePicture:
    """Return an episode as pictures, marked with the predictions of ``method``.

    The first support and query images of each class are shown, never chosen by how they came out.
    """
    predicted = example.predictions[method]
    n_way = len(example.classes)
    most_support, most_queries = max(1, min(5, 30 // n_way)), max(1, min(8, 60 // n_way))
    strips = []
    for label, name in enumerate(example.classes[:MOST_CLASSES]):
        support = np.flatnonzero(example.support_y == label)
        queries = np.flatnonzero(example.query_y == label)
        strips.append(
            ClassStrip(
                name=name,
                support=[png(example.support_x[i]) for i in support[:most_support]],
                queries=[
                    Query(png(example.query_x[i]), name, example.classes[int(predicted[i])])
                    for i in queries[:most_queries]
                ],
                more_support=max(len(support) - most_support, 0),
                more_queries=max(len(queries) - most_queries, 0),
            )
        )
    hits = {name: int((labels == example.query_y).sum()) for name, labels in example.predictions.items()}
    return EpisodePicture(
        target=example.target,
        method=method,
        strips=strips,
        right=hits[method],
        total=len(example.query_y),
        more_classes=max(n_way - MOST_CLASSES, 0),
        others=[(name, count) for name, count in hits.items() if name != method],
    )


def mask_pictures(examples: list[Example], drop: DropMap, most: int = 6) -> list[MaskPicture]:
    """Return support images of the episodes beside the probability that ISI drops each place of layer 1.

    Args:
        examples: the test episodes.
        drop: the probability that a neuron of layer 1 is zeroed at a place.
        most: how many images, shared out over the episodes.
    """
    share = -(-most // max(len(examples), 1))
    chosen = [(example, i) for example in examples for i in range(min(share, len(example.support_x)))][:most]
    pictures = []
    for example, i in chosen:
        pixels = example.support_x[i]
        image = np.moveaxis(pixels.astype(np.float32) / 255, -1, 0)[None]
        probability = np.asarray(drop(image), dtype=np.float64)[0]
        pictures.append(
            MaskPicture(
                name=f"{example.target}: {example.classes[int(example.support_y[i])]}",
                image=png(pixels, 2 * SIDE),
                overlay=png(heat(pixels, probability), 2 * SIDE),
                low=float(probability.min()),
                high=float(probability.max()),
            )
        )
    return pictures


def heat(pixels: np.ndarray, weight: np.ndarray, strength: float = 0.75) -> np.ndarray:
    """Lay a map [h′, w′] of non-negative weights, dark (lowest) to bright (highest), over an image [h, w, 3]."""
    low, high = float(weight.min()), float(weight.max())
    level = (weight - low) / (high - low) if high > low else np.zeros_like(weight)
    height, width = pixels.shape[:2]
    resized = Image.fromarray(level.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    stops = np.linspace(0, 1, len(HEAT))
    colour = np.stack([np.interp(np.asarray(resized), stops, [rgb[c] for rgb in HEAT]) for c in range(3)], axis=-1)
    grey = pixels.astype(np.float64).mean(axis=-1, keepdims=True)
    return np.clip((1 - strength) * grey + strength * colour, 0, 255).astype(np.uint8)
