"""``rotogbml shape``: do runs decide by shape or by texture, and what is left when one of the two is taken away?"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from rotogbml.children import cores
from rotogbml.config import names as listed
from rotogbml.cues.altered import Asks, altered
from rotogbml.cues.conflict import kinds
from rotogbml.cues.images import DISTORTIONS
from rotogbml.cues.lines import ShapeReport, Values, lines_of, show
from rotogbml.errors import UsageError
from rotogbml.evaluation.asked import default_targets, named_sources
from rotogbml.evaluation.dealing import accuracies
from rotogbml.evaluation.methods import Spec, check_head, load, run_names
from rotogbml.evaluation.repeat import command, counting
from rotogbml.evaluation.seen import Seen, Split, honest_split
from rotogbml.evaluation.work import Test
from rotogbml.files import make_folder, write_atomic
from rotogbml.sources.glyphs import SCRIPTS
from rotogbml.training.sources import open_sources


def shape(
    runs: list[str],
    target: list[str] | None = None,
    sources: list[str] | None = None,
    k_shot: int | None = None,
    n_query: int | None = None,
    episodes: int = 200,
    seed: int = 0,
    split: Split = "auto",
    checkpoint: Literal["best", "last", "averaged"] = "best",
    out: str | None = None,
    workers: int | None = None,
) -> ShapeReport:
    """Measure whether runs decide by shape or by texture, and their accuracy on altered test images.

    Shape share: of the queries whose shape says one class and whose texture another, decisions by shape over decisions
    by either; a half by chance. Robustness: accuracy with clean supports and queries shuffled, reduced to edges,
    blurred, recoloured or noisy. The first run is compared with each other one, paired by episode.

    Args:
        runs: Run folders, such as one with ISI, one without, one with plain dropout.
        target: Sources to test on; the first run's held-out sources where not given.
        sources: Packs to look for the targets in; the first run's own where not given.
        k_shot: Support images a class; as in training where not given.
        n_query: Query images a class; as in training where not given.
        episodes: Test episodes for each target and alteration.
        seed: Names the test episodes and all that is drawn to alter them.
        split: Classes of the target; ``auto`` takes its test classes, or all of a source that was never trained on.
        checkpoint: ``best`` by validation, ``last``, or ``averaged``: the running mean of the weights.
        out: Folder for shape.json; RUN/shape of the first run where not given.
        workers: Processes; as many as cores where not given. The numbers do not depend on it.

    Returns:
        Every measure with its intervals and paired differences.

    Raises:
        UsageError: a run, a target or a number cannot be used.
        RotogbmlError: a checkpoint is damaged, or a process died.
    """
    runs = list({Path(run).resolve(): run for run in listed(runs)}.values())
    target, sources = (None if given is None else listed(given) for given in (target, sources))
    if episodes < 2:
        raise UsageError(f"episodes is {episodes}: an interval needs at least 2")
    for name, value in (("n_query", n_query), ("k_shot", k_shot), ("workers", workers)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}: give at least 1, or leave it out")
    load.cache_clear()  # a run may have been trained on since
    specs = [Spec("run", run, checkpoint) for run in runs]
    first = specs[0].config()
    way, trained_k = first.episodes.n_way, first.episodes.k_shot
    for spec in specs:
        check_head(spec.config(), spec.run, way)
    found = open_sources(first.sources if sources is None else sources)
    seen = [Seen.by(run) for run in runs]
    shot = k_shot or (trained_k if isinstance(trained_k, int) else trained_k[0])
    query = n_query or first.episodes.n_query
    wanted = default_targets(first, found) if target is None else target
    tests = [
        Test(source, honest_split(source, split, seen), way, shot, query, seed)
        for source in named_sources(wanted, found, runs[0])
    ]
    alterations = _alterations(tests, query)
    for test in tests:
        test.sampler()  # says now, not in another process, what a target lacks
    for spec in specs:
        load(spec, tests[0].source.size)
    folder = Path(out) if out is not None else Path(runs[0]) / "shape"
    make_folder(folder)

    names = label(specs)
    # A module that was given from Python stays in the process that it was given to.
    alone = any(spec.config().encoder.name.startswith("given:") for spec in specs)
    measured = _measure(specs, names, tests, alterations, episodes, 1 if alone else workers or cores())
    unusual = None if checkpoint == "best" else checkpoint
    report = ShapeReport(
        runs={names[spec]: spec.run for spec in specs},
        targets=[test.source.name for test in tests],
        n_way=way,
        k_shot=shot,
        n_query=query,
        episodes=episodes,
        seed=seed,
        checkpoint=checkpoint,
        command=_command(runs, tests, episodes, {"sources": sources, "checkpoint": unusual, "out": out}),
        lines=lines_of(measured, list(names.values()), [test.source.name for test in tests]),
    )
    write_atomic(folder / "shape.json", json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n")
    show(report)
    print(f"written: {folder / 'shape.json'}")
    return report


def label(specs: Sequence[Spec]) -> dict[Spec, str]:
    """Return what to call each run: its method, with plain dropout called so, and its folder where two are alike."""
    names = {}
    for spec in specs:
        isi = spec.config().isi
        plain = isi is not None and isi.T is not None and math.isinf(float(isi.T))
        named = spec.name.replace("RotoGBML", "ω + γ + ISI") if plain else spec.name
        names[spec] = named.replace("+ ISI", "+ plain dropout") if plain else named
    said = list(names.values())
    folders = run_names([spec.run for spec in specs])
    return {s: n if said.count(n) == 1 else f"{n} ({folders[s.run]})" for s, n in names.items()}


def _alterations(tests: list[Test], n_query: int) -> list[tuple[str, Asks]]:
    """Return what is to be tested: every distortion, then each way of cue conflict, asked three times."""
    ways = {tuple(kinds(test.source)) for test in tests}
    if len(ways) > 1:
        raise UsageError(
            f"{', '.join(test.source.name for test in tests)} are drawn and photographed: their cues conflict in "
            "different ways, so test them in two commands"
        )
    (way,) = ways
    if "look" in way and tests[0].n_way >= len(SCRIPTS):
        raise UsageError(f"n_way is {tests[0].n_way}: each class needs a look of its own, there are {len(SCRIPTS) - 1}")
    if "look" not in way and n_query < 2:
        raise UsageError(f"n_query is {n_query}: a texture comes from another query image, so give at least 2")
    asked: tuple[Asks, ...] = ("shape", "texture", "both")
    return [*((name, "shape") for name in DISTORTIONS), *((name, one) for name in way for one in asked)]


def _measure(
    specs: list[Spec],
    names: dict[Spec, str],
    tests: list[Test],
    alterations: list[tuple[str, Asks]],
    episodes: int,
    workers: int,
) -> Values:
    """Return the accuracies of every run on every alteration, by ``NAME|asks`` and the run's name."""
    out: Values = {}
    with counting("altered episodes", len(alterations) * len(specs) * len(tests) * episodes) as advance:
        for name, asks in alterations:
            changed: list[Test] = [altered(test, name, asks) for test in tests]
            scores = accuracies(specs, changed, episodes, workers, advance)
            for spec in specs:
                out[f"{name}|{asks}", names[spec]] = [scores[spec, test.source.name] for test in tests]
    return out


def _command(runs: list[str], tests: list[Test], episodes: int, given: dict[str, list[str] | str | None]) -> str:
    asked = {name: getattr(tests[0], name) for name in ("k_shot", "n_query", "seed")} | {"episodes": episodes}
    return command("shape", runs, {"target": [test.source.name for test in tests]} | asked | given)
