"""``rotogbml evaluate``: fixed test episodes on sources never seen, one honest row for each method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from rotogbml.children import cores
from rotogbml.config import names as listed
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.evaluation.asked import asked_of, default_targets, named_sources, protocol_label
from rotogbml.evaluation.calibration import Scored
from rotogbml.evaluation.cost import cost
from rotogbml.evaluation.dealing import scored
from rotogbml.evaluation.examples import write_examples
from rotogbml.evaluation.methods import ENSEMBLE, Adapted, Spec, check_head, load, run_names, shown_names
from rotogbml.evaluation.repeat import command, counting
from rotogbml.evaluation.results import Paired, Results, Row, stratified
from rotogbml.evaluation.seen import Seen, Split, honest_split
from rotogbml.evaluation.tables import Format, render
from rotogbml.evaluation.work import LOWER, Test
from rotogbml.files import make_folder
from rotogbml.memory import saying_what_to_lower
from rotogbml.numbers import defined
from rotogbml.training.checkpoint import DamagedError
from rotogbml.training.sources import open_sources
from rotogbml.training.validation import mean_ci95


def evaluate(
    runs: list[str],
    target: list[str] | None = None,
    sources: list[str] | None = None,
    n_way: int | None = None,
    k_shot: int | None = None,
    n_query: int | None = None,
    episodes: int | None = None,
    seed: int = 0,
    split: Split = "auto",
    checkpoint: Literal["best", "last", "averaged", "ensemble"] = "best",
    test_steps: int | None = None,
    respect_groups: bool | None = None,
    format: Format = "text",
    out: str | None = None,
    workers: int | None = None,
) -> Results:
    """Test runs on fixed episodes of sources they never saw.

    Beside the runs stand always the first run's encoder untrained, and the nearest prototype on pixels. Of two
    runs or more, the paired difference of the first to each other one is given with its 95 % interval.

    Args:
        runs: Run folders; the first is ours, the others are compared with it.
        target: Sources to test on; where not given those of the first run's protocol, else its held-out sources.
        sources: Packs to look for the targets in; the first run's own where not given.
        n_way: Classes in a test episode; as in training where not given.
        k_shot: Support images a class; where not given as the protocol says (a table for each number), else as in
            training.
        n_query: Query images a class; where not given as the protocol says, else as in training.
        episodes: Test episodes for each target; where not given as the protocol says, else 600.
        seed: Names the test episodes; independent of any training seed.
        split: Classes of the target; ``auto`` takes those of the protocol, else its test classes, or all of a source
            that was never trained on.
        checkpoint: ``best`` by validation, of the weights and of their running mean, ``last``, ``averaged``: that mean
            (``--outer.average``), or ``ensemble``: the mean probability of the best few that the run kept
            (``--outer.keep_best``); named in the row.
        test_steps: Inner steps at test; as the run says where not given.
        respect_groups: Never put images of one lesion, leaf or patient on both sides of an episode, where a target
            names them; where not given as the protocol says (those of other work ignore them), else true. The row says
            which.
        format: How the table is printed.
        out: Folder for results.json and what lies beside it; RUN/evaluation of the first run where not given.
        workers: Processes; as many as cores where not given. The numbers do not depend on it.

    Returns:
        The rows, the paired differences, what is kept of every episode, and the seconds of a task.

    Raises:
        UsageError: a run, a target or a number cannot be used.
        RotogbmlError: a checkpoint is damaged, or a process died.
    """
    arguments: dict[str, Any] = dict(locals())
    runs = listed(runs)
    target, sources = (None if given is None else listed(given) for given in (target, sources))
    if episodes is not None and episodes < 2:
        raise UsageError(f"episodes is {episodes}: an interval needs at least 2, the literature takes 600")
    for name, value, least in (("n_query", n_query, 1), ("test_steps", test_steps, 0), ("workers", workers, 1)):
        if value is not None and value < least:
            raise UsageError(f"{name} is {value}: give at least {least}, or leave it out")
    load.cache_clear()  # a run may have been trained on since
    runs = list({Path(run).resolve(): run for run in runs}.values())
    specs = [Spec("run", run, checkpoint, test_steps) for run in runs]
    configs = [spec.config() for spec in specs]
    # An ensemble is never shown without the one checkpoint beside it.
    singles = [Spec("run", run, "best", test_steps) for run in runs] if checkpoint == ENSEMBLE else []
    first = configs[0]
    found = open_sources(first.sources if sources is None else sources)
    asked = asked_of(first, found)
    if k_shot is None and len(asked.shots) > 1:
        once = cast("Callable[..., Results]", evaluate)
        return [once(**{**arguments, "k_shot": shot}) for shot in asked.shots][-1]
    shot = asked.shots[0] if k_shot is None else k_shot
    query = asked.n_query if n_query is None else n_query
    episodes = asked.episodes if episodes is None else episodes
    way = first.episodes.n_way if n_way is None else n_way
    apart = asked.respect_groups if respect_groups is None else respect_groups
    for spec, config in zip(specs, configs, strict=True):
        check_head(config, spec.run, way)
    specs += [*singles, Spec("untrained", specs[0].run, checkpoint, test_steps), Spec("pixels")]

    seen = {run: Seen.by(run) for run in runs}
    chosen = named_sources(default_targets(first, found) if target is None else target, found, runs[0])
    wanted = {source.name: asked.split(source.name, split) for source in chosen}
    tests = [
        Test(
            found[name],
            honest_split(found[name], of, list(seen.values())),
            way,
            shot,
            query,
            seed,
            respect_groups=apart,
        )
        for name, of in wanted.items()
    ]
    for test in tests:
        test.sampler()  # says now, not in another process, what a target lacks
    for spec in specs:
        _load(spec, tests[0].source.size)

    # Before the long part: what is wrong with the place of the results is said at once.
    folder = Path(out) if out is not None else Path(specs[0].run) / "evaluation"
    make_folder(folder)
    results = Results.read(folder)
    given = {"sources": sources, "test_steps": test_steps, "out": out}
    given |= {"respect_groups": None if asked.respect_groups and apart else str(apart).lower()}
    given |= {"split": None if split == "auto" else split, "checkpoint": None if checkpoint == "best" else checkpoint}
    results.command = _command(runs, tests, episodes, given)
    names = run_names(runs)
    shown = shown_names(specs, names)

    # A module that was given from Python stays in the process that it was given to.
    alone = any(config.encoder.name.startswith("given:") for config in configs)
    found_of = _score(specs, tests, episodes, 1 if alone else workers or cores())
    scores = {key: each.accuracy for key, each in found_of.items()}
    rows = []
    for spec in specs:
        with saying_what_to_lower(LOWER):
            seconds = cost(load(spec, tests[0].source.size), tests[0], episodes * len(tests))
        trained = (names[spec.run], sorted(seen[spec.run].pixels)) if spec.kind == "run" else ("", [])
        for test in tests:
            values = found_of[spec, test.source.name]
            label = protocol_label(spec.config(), test, trained[1], episodes, found) if spec.kind == "run" else ""
            rows.append(_row(spec, test, values, shown[spec], *trained, results.command, label))
            results.add(rows[-1], values, seconds)
    paired = [
        pair for other in specs[1 : len(configs)] for pair in _pairs(specs[0], other, tests, scores, shown, names)
    ]
    for pair in paired:
        results.add_paired(pair)
    results.write()
    with saying_what_to_lower(LOWER):
        write_examples(results.folder / "examples.npz", shown, tests)
    print(render([results.whole(row.key) for row in rows], [vars(pair) for pair in paired], format))
    return results


def _load(spec: Spec, size: int) -> None:
    """Load a method before its turn, so that what is wrong with it is said at once."""
    try:
        load(spec, size)
    except DamagedError as error:
        other = "last" if spec.checkpoint == "best" else "best"
        raise RotogbmlError(f"{error}: test the other one with --checkpoint {other}, or train again") from error


def _score(specs: list[Spec], tests: list[Test], episodes: int, workers: int) -> dict[tuple[Spec, str], Scored]:
    with counting("testing", len(specs) * len(tests) * episodes, "episodes") as advance:
        return scored(specs, tests, episodes, workers, advance)


def _row(
    spec: Spec,
    test: Test,
    found: Scored,
    shown: str,
    run: str,
    trained_on: list[str],
    command: str,
    protocol: str,
) -> Row:
    mean, ci95 = mean_ci95(found.accuracy)
    brier, brier_ci95 = mean_ci95(found.brier)
    config = None if spec.kind == "pixels" else spec.config()
    method = load(spec, test.source.size)
    return Row(
        method=shown,
        run=run,
        target=test.source.name,
        split=test.split,
        classes=len(test.source.classes_of(test.split)),
        n_way=test.n_way,
        k_shot=test.k_shot,
        n_query=test.n_query,
        episodes=len(found.accuracy),
        norm=method.norm if isinstance(method, Adapted) else "none",
        inner_steps=method.steps_on(test.n_way * test.k_shot) if isinstance(method, Adapted) else 0,
        mean=mean,
        ci95=ci95,
        training_seed=None if config is None else config.seed,
        test_seed=test.seed,
        sources=trained_on,
        steps=method.step if isinstance(method, Adapted) else 0,
        checkpoint=spec.checkpoint if spec.kind == "run" else "",
        command=command,
        protocol=protocol,
        groups=test.groups,
        ece=defined(found.ece),
        brier=defined(brier),
        brier_ci95=defined(brier_ci95),
    )


def _pairs(
    a: Spec,
    b: Spec,
    tests: list[Test],
    scores: dict[tuple[Spec, str], np.ndarray],
    shown: dict[Spec, str],
    runs: dict[str, str],
) -> list[Paired]:
    """Return a − b for each target, and their mean over targets where there are several."""

    def pair(target: str, split: str, mean: float, ci95: float, episodes: int) -> Paired:
        test = tests[0]
        task = (test.n_way, test.k_shot, test.n_query, test.seed)
        return Paired(shown[a], shown[b], runs[a.run], runs[b.run], target, split, mean, ci95, episodes, *task)

    differences = [scores[a, test.source.name] - scores[b, test.source.name] for test in tests]
    pairs = [
        pair(test.source.name, test.split, *mean_ci95(d), len(d)) for test, d in zip(tests, differences, strict=True)
    ]
    if len(tests) > 1:
        splits = ", ".join(sorted({test.split for test in tests}))
        pairs.append(pair(f"mean of {len(tests)}", splits, *stratified(differences), sum(map(len, differences))))
    return pairs


def _command(runs: list[str], tests: list[Test], episodes: int, given: dict[str, list[str] | str | int | None]) -> str:
    """Return a command that gives the same rows, whatever the defaults of the runs are."""
    test = tests[0]
    asked = {name: getattr(test, name) for name in ("n_way", "k_shot", "n_query", "seed")} | {"episodes": episodes}
    return command("evaluate", runs, {"target": [test.source.name for test in tests]} | asked | given)
