"""``rotogbml explain``: a page of test images beside where each run looks (Figure 8), with a number."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rotogbml.config import names as listed
from rotogbml.cues.altered import pixels
from rotogbml.cues.ink import ink, is_drawn
from rotogbml.cues.saliency import require_captum, scores_of, share_inside, smooth_grad, strength
from rotogbml.cues.verb import label
from rotogbml.errors import UsageError
from rotogbml.evaluation.asked import default_targets, named_sources
from rotogbml.evaluation.methods import Adapted, Spec, check_head, load
from rotogbml.evaluation.repeat import command
from rotogbml.evaluation.seen import Seen, Split, honest_split
from rotogbml.evaluation.work import Test
from rotogbml.files import write_atomic
from rotogbml.numbers import signed
from rotogbml.seeds import derive
from rotogbml.training.sources import open_sources
from rotogbml.training.validation import mean_ci95

SIDE = 126


@dataclass(frozen=True)
class Share:
    """How much of a run's saliency lies on the ink of one target, as means over images, 0 … 1."""

    run: str
    target: str
    on_ink: float
    ci95: float
    area: float
    """The ink's own share of the image: what saliency spread evenly would give."""
    images: int
    gain: float | None = None
    """This run minus the first, paired by image; None for the first itself."""
    gain_ci95: float | None = None


@dataclass(frozen=True)
class Explanation:
    """What ``rotogbml explain`` found; it stands beside the page as JSON."""

    page: str
    command: str
    samples: int
    sigma: float
    shares: list[Share] = field(default_factory=list)
    """Empty where no target is drawn: nobody knows where the object is in a photo."""


def explain(
    runs: list[str],
    target: list[str] | None = None,
    sources: list[str] | None = None,
    shown: int = 6,
    images: int = 30,
    samples: int = 30,
    sigma: float = 0.15,
    seed: int = 0,
    split: Split = "auto",
    checkpoint: Literal["best", "last", "averaged"] = "best",
    out: str | None = None,
) -> Explanation:
    """Write a self-contained page of test images, each beside the saliency map of every run (SmoothGrad, eq. 14).

    Of drawn sources the page also says which share of a run's saliency lies on the ink.

    Args:
        runs: Run folders, a column each in this order; for Figure 8 one without ISI, then one with.
        target: Sources whose test images are shown; the first run's held-out sources where not given.
        sources: Packs to look for the targets in; the first run's own where not given.
        shown: Images of each target on the page.
        images: Images of each target behind the number; at least as many as shown.
        samples: Noisy copies of an image (n).
        sigma: Deviation of their noise, in shares of the span between an image's least and largest number.
        seed: Names the test episodes and the noise.
        split: Classes of the target; ``auto`` takes its test classes, or all of a source that was never trained on.
        checkpoint: ``best`` by validation, ``last``, or ``averaged``: the running mean of the weights.
        out: The page to write; explain.html in the last run folder where not given.

    Returns:
        The page's path and the shares.

    Raises:
        UsageError: captum is missing, or a run, a target or a number cannot be used.
        RotogbmlError: a checkpoint is damaged, or the page could not be written.
    """
    require_captum()
    runs = listed(runs)
    target, sources = (None if given is None else listed(given) for given in (target, sources))
    for name, value in (("shown", shown), ("images", images), ("samples", samples)):
        if value < 1:
            raise UsageError(f"{name} is {value}: give at least 1")
    if not 0 <= sigma < math.inf:
        raise UsageError(f"sigma is {sigma}: give a share of the image's span, 0 or more")
    images = max(images, shown)
    load.cache_clear()
    specs = [Spec("run", run, checkpoint) for run in dict.fromkeys(runs)]
    first = specs[0].config()
    e = first.episodes
    for spec in specs:
        check_head(spec.config(), spec.run, e.n_way)
    found = open_sources(first.sources if sources is None else sources)
    seen = [Seen.by(spec.run) for spec in specs]
    shot = e.k_shot if isinstance(e.k_shot, int) else e.k_shot[0]
    wanted = default_targets(first, found) if target is None else target
    tests = [
        Test(source, honest_split(source, split, seen), e.n_way, shot, e.n_query, seed)
        for source in named_sources(wanted, found, runs[0])
    ]
    names = label(specs)
    strips: list[dict[str, Any]] = []
    shares: list[Share] = []
    for test in tests:
        seen_maps = _maps(specs, test, images, samples, sigma)
        strips.append(_strip(test, seen_maps, shown, [names[spec] for spec in specs]))
        if is_drawn(test.source):
            shares += _shares(test, seen_maps, [names[spec] for spec in specs])
    shares += _overall(shares, [names[spec] for spec in specs])
    path = Path(out) if out is not None else Path(specs[-1].run) / "explain.html"
    if path.is_dir():
        path = path / "explain.html"
    given = {"sources": sources, "split": None if split == "auto" else split, "out": out}
    given |= {"checkpoint": None if checkpoint == "best" else checkpoint}
    numbers = {"shown": shown, "images": images, "samples": samples, "sigma": sigma, "seed": seed}
    shown_targets = {"target": [test.source.name for test in tests]}
    again = command("explain", [spec.run for spec in specs], shown_targets | numbers | given)
    explanation = Explanation(str(path), again, samples, sigma, shares)
    write_atomic(path, _page(explanation, strips, [names[spec] for spec in specs]))
    write_atomic(path.with_suffix(".json"), json.dumps(asdict(explanation), indent=1, ensure_ascii=False) + "\n")
    for share in shares:
        print(_sentence(share))
    print(f"page: {path}")
    return explanation


@dataclass(frozen=True)
class Maps:
    """One test image and the saliency of every run at it."""

    row: int
    name: str
    strengths: list[np.ndarray]
    """[size, size] of each run."""
    right: list[bool]


def _maps(specs: Sequence[Spec], test: Test, images: int, samples: int, sigma: float) -> list[Maps]:
    """Return the first query of each class of the first episodes: never chosen by how they came out."""
    found: list[Maps] = []
    index = 0
    while len(found) < images:
        episode = test.episode(index)
        runs = []
        for spec in specs:
            method = load(spec, test.source.size)
            assert isinstance(method, Adapted)
            runs.append((scores_of(method, episode), method.scores(episode).argmax(1)))
        firsts = [int((episode.query.y == c).nonzero()[0]) for c in range(episode.n_way)]
        for i in firsts[: images - len(found)]:
            x, y = episode.query.x[i], int(episode.query.y[i])
            width = sigma * float(x.max() - x.min())
            noise = derive(test.seed, "explain", test.source.name, index, i)
            maps = [strength(smooth_grad(of(i), x, y, samples, width, noise)) for of, _ in runs]
            right = [bool(predicted[i] == y) for _, predicted in runs]
            found.append(Maps(int(episode.indices[1][i]), episode.classes[y], maps, right))
        index += 1
    return found


def _shares(test: Test, maps: list[Maps], names: list[str]) -> list[Share]:
    edge = (test.source.side - test.source.size) // 2
    inner = slice(edge, edge + test.source.size)
    masks = ink(test.source, np.array([one.row for one in maps]))[:, inner, inner] > 0
    per_run = [
        np.array([share_inside(one.strengths[r], mask) for one, mask in zip(maps, masks, strict=True)])
        for r in range(len(names))
    ]
    known = np.isfinite(per_run).all(0)
    shares = []
    for r, name in enumerate(names):
        mean, half = mean_ci95(per_run[r][known])
        gain, gain_half = (None, None) if r == 0 else mean_ci95((per_run[r] - per_run[0])[known])
        area = float(masks[known].mean())
        shares.append(Share(name, test.source.name, mean, half, area, int(known.sum()), gain, gain_half))
    return shares


def _overall(shares: list[Share], names: list[str]) -> list[Share]:
    """Return each run's mean over targets, where there are several: targets are fixed, images vary."""
    each = [[share for share in shares if share.run == name] for name in names]
    if len(each[0]) < 2:
        return []

    def mean(values: list[float | None]) -> float:
        return float(np.mean([value for value in values if value is not None]))

    def half(values: list[float | None]) -> float:
        return math.sqrt(sum(value**2 for value in values if value is not None)) / len(values)

    found = []
    for name, own in zip(names, each, strict=True):
        gains = [share.gain for share in own], [share.gain_ci95 for share in own]
        gain, gain_half = (None, None) if own[0].gain is None else (mean(gains[0]), half(gains[1]))
        on_ink, ci95 = mean([share.on_ink for share in own]), half([share.ci95 for share in own])
        area, images = mean([share.area for share in own]), sum(share.images for share in own)
        found.append(Share(name, f"mean of {len(own)}", on_ink, ci95, area, images, gain, gain_half))
    return found


def _strip(test: Test, maps: list[Maps], shown: int, names: list[str]) -> dict[str, Any]:
    from rotogbml.reports.pictures import heat, png

    lines = []
    for one in maps[:shown]:
        image = np.rint(pixels(test.source, np.array([one.row]))[0].transpose(1, 2, 0) * 255).astype(np.uint8)
        cells = []
        for name, strong, right in zip(names, one.strengths, one.right, strict=True):
            # The strongest hundredth is one colour: a single pixel would leave the rest dark.
            level = np.minimum(strong, np.quantile(strong, 0.99))
            cells.append({"run": name, "uri": png(_large(heat(image, level)), SIDE), "right": right})
        lines.append({"name": one.name, "image": png(_large(image), SIDE), "cells": cells})
    return {"target": test.source.name, "lines": lines}


def _large(image: np.ndarray) -> np.ndarray:
    """Return small images with each pixel several pixels wide: maps are of pixels, and should be seen as such."""
    times = max(1, SIDE // image.shape[0])
    return image.repeat(times, axis=0).repeat(times, axis=1)


def _sentence(share: Share) -> str:
    said = (
        f"{share.target}, {share.run}: {100 * share.on_ink:.1f} ± {100 * share.ci95:.1f} % of the saliency lies on the "
        f"ink, which covers {100 * share.area:.1f} % of the image ({share.images} images)"
    )
    if share.gain is None or share.gain_ci95 is None:
        return said
    return f"{said}; {signed(100 * share.gain, 1)} ± {100 * share.gain_ci95:.1f} to the first run"


def _page(explanation: Explanation, strips: list[dict[str, Any]], names: list[str]) -> str:
    from importlib import resources

    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = resources.files("rotogbml.cues").joinpath("explain.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        strips=strips,
        names=names,
        sentences=[_sentence(share) for share in explanation.shares],
        command=explanation.command,
        samples=explanation.samples,
        sigma=explanation.sigma,
    )
