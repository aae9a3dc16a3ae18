"""``rotogbml evaluate``: fixed test episodes on sources never seen, one honest row for each method."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rotogbml.config import RunConfig
from rotogbml.errors import UsageError, did_you_mean
from rotogbml.evaluation.examples import write_examples
from rotogbml.evaluation.methods import Adapted, Spec, check_head, load, run_names
from rotogbml.evaluation.results import Paired, Results, Row, stratified
from rotogbml.evaluation.tables import Format, render
from rotogbml.evaluation.work import Test, accuracies
from rotogbml.sources.packed import PackedSource
from rotogbml.training.assemble import open_sources
from rotogbml.training.run import RunFolder
from rotogbml.training.validation import mean_ci95

Split = Literal["auto", "train", "val", "test", "all"]


def evaluate(
    runs: list[str],
    target: list[str] | None = None,
    sources: list[str] | None = None,
    n_way: int | None = None,
    k_shot: int | None = None,
    n_query: int | None = None,
    episodes: int = 600,
    seed: int = 0,
    split: Split = "auto",
    checkpoint: Literal["best", "last"] = "best",
    test_steps: int | None = None,
    format: Format = "text",
    out: str | None = None,
    workers: int | None = None,
) -> Results:
    """Test runs on fixed episodes of sources they never saw.

    Beside the runs stand always the first run's encoder untrained, and the nearest prototype on pixels. Of two
    runs or more, the paired difference of the first to each other one is given with its 95 % interval.

    Args:
        runs: Run folders; the first is ours, the others are compared with it.
        target: Sources to test on; the first run's held-out sources where not given.
        sources: Packs to look for the targets in; the first run's own where not given.
        n_way: Classes in a test episode; as in training where not given.
        k_shot: Support images a class; as in training where not given.
        n_query: Query images a class; as in training where not given.
        episodes: Test episodes for each target.
        seed: Names the test episodes; independent of any training seed.
        split: Classes of the target; ``auto`` takes its test classes, or all of a source that was never trained on.
        checkpoint: ``best`` by validation, or ``last``.
        test_steps: Inner steps at test; as the run says where not given.
        format: How the table is printed.
        out: Folder for results.json, episodes.npz and examples.npz; RUN/evaluation of the first run where not given.
        workers: Processes; as many as cores where not given. The numbers do not depend on it.

    Returns:
        The rows, the paired differences and the accuracy of every episode.

    Raises:
        UsageError: a run, a target or a number cannot be used.
        RotogbmlError: a checkpoint is damaged, or a process died.
    """
    if episodes < 2:
        raise UsageError(f"episodes is {episodes}: an interval needs at least 2, the literature takes 600")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}: give at least 1, or leave it out to use all cores")
    load.cache_clear()  # a run may have been trained on since
    runs = list({Path(run).resolve(): run for run in runs}.values())
    specs = [Spec("run", run, checkpoint, test_steps) for run in runs]
    configs = [spec.config() for spec in specs]
    first = configs[0]
    way = first.episodes.n_way if n_way is None else n_way
    for spec, config in zip(specs, configs, strict=True):
        check_head(config, spec.run, way)
    trained_k = first.episodes.k_shot
    shot = k_shot if k_shot is not None else (trained_k if isinstance(trained_k, int) else trained_k[0])
    query = first.episodes.n_query if n_query is None else n_query
    specs += [Spec("untrained", specs[0].run, checkpoint, test_steps), Spec("pixels")]

    found = open_sources(first.sources if sources is None else sources)
    tests = [
        Test(found[name], _split(found[name], split, runs), way, shot, query, seed)
        for name in _targets(target, first, found)
    ]
    for test in tests:
        test.sampler()  # says now, not in another process, what a target lacks
    for spec in specs:
        load(spec, tests[0].source.size)

    scores = _score(specs, tests, episodes, workers or os.cpu_count() or 1)
    results = Results.read(Path(out) if out is not None else Path(specs[0].run) / "evaluation")
    given = {"sources": sources, "test_steps": test_steps, "out": out}
    given |= {"split": None if split == "auto" else split, "checkpoint": None if checkpoint == "best" else checkpoint}
    results.command = _command(runs, tests, episodes, given)
    names = run_names(runs)
    rows = [_row(spec, test, scores[spec, test.source.name], first, names) for spec in specs for test in tests]
    for row, (spec, test) in zip(rows, ((spec, test) for spec in specs for test in tests), strict=True):
        results.add(row, scores[spec, test.source.name])
    paired = [pair for other in specs[1 : len(configs)] for pair in _pairs(specs[0], other, tests, scores, names)]
    for pair in paired:
        results.add_paired(pair)
    results.write()
    write_examples(results.folder / "examples.npz", specs, tests)
    print(render([results.rows[row.key] for row in rows], [vars(pair) for pair in paired], format))
    return results


def _targets(target: list[str] | None, first: RunConfig, found: dict[str, PackedSource]) -> list[str]:
    names = list(dict.fromkeys(first.holdout if target is None else target))
    if not names:
        raise UsageError("no target: the run held nothing out, so name one with --target")
    for name in names:
        if name not in found:
            raise UsageError(f"no source '{name}'{did_you_mean(name, found)}: there are {', '.join(found)}")
    return names


def _split(source: PackedSource, split: Split, runs: list[str]) -> str:
    """Return which of the target's classes may be tested honestly."""
    trained_on = [run for run in runs if source.name in _trained_sources(run)]
    if split == "auto":
        if source.classes_of("test"):
            return "test"
        if trained_on:
            raise UsageError(
                f"'{source.name}' has no test classes and {trained_on[0]} was trained on it: "
                f"train with --holdout {source.name}, or name another --target"
            )
        return "all"
    if split in ("train", "all") and trained_on:
        raise UsageError(
            f"{trained_on[0]} was trained on classes of '{source.name}': --split {split} would test what it has seen"
        )
    return split


def _score(specs: list[Spec], tests: list[Test], episodes: int, workers: int) -> dict[tuple[Spec, str], np.ndarray]:
    columns = (TextColumn("testing"), BarColumn(), MofNCompleteColumn(), TextColumn("episodes"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not Console(stderr=True).is_terminal) as bar:
        task = bar.add_task("", total=len(specs) * len(tests) * episodes)
        return accuracies(specs, tests, episodes, workers, lambda n: bar.advance(task, n))


def _row(spec: Spec, test: Test, values: np.ndarray, first: RunConfig, names: dict[str, str]) -> Row:
    mean, ci95 = mean_ci95(values)
    config = first if spec.kind == "pixels" else spec.config()
    method = load(spec, test.source.size)
    adapted = isinstance(method, Adapted)
    trained = spec.kind == "run"
    return Row(
        method=spec.name,
        run=names[spec.run] if trained else "",
        target=test.source.name,
        split=test.split,
        classes=len(test.source.classes_of(test.split)),
        n_way=test.n_way,
        k_shot=test.k_shot,
        n_query=test.n_query,
        episodes=len(values),
        norm=config.encoder.norm if adapted else "none",
        inner_steps=method.learner.test_steps if isinstance(method, Adapted) else 0,
        mean=mean,
        ci95=ci95,
        training_seed=config.seed,
        test_seed=test.seed,
        sources=_trained_sources(spec.run) if trained else [],
        steps=method.step if isinstance(method, Adapted) else 0,
        checkpoint=spec.checkpoint if trained else "",
    )


def _trained_sources(run: str) -> list[str]:
    folder = RunFolder(Path(run))
    listed = folder.read_record().get("sources")
    if listed is None:
        config = folder.read_config()
        listed = [name for name in open_sources(config.sources) if name not in config.holdout]
    return list(listed)


def _pairs(
    a: Spec, b: Spec, tests: list[Test], scores: dict[tuple[Spec, str], np.ndarray], runs: dict[str, str]
) -> list[Paired]:
    """Return a − b for each target, and their mean over targets where there are several."""
    names = [a.name, b.name]
    if names[0] == names[1]:
        names = [f"{spec.name} ({runs[spec.run]})" for spec in (a, b)]
    differences = {t.source.name: scores[a, t.source.name] - scores[b, t.source.name] for t in tests}
    where = {"n_way": tests[0].n_way, "k_shot": tests[0].k_shot}
    pairs = [Paired(*names, target, *mean_ci95(d), episodes=len(d), **where) for target, d in differences.items()]
    if len(tests) > 1:
        mean, ci95 = stratified(list(differences.values()))
        total = sum(map(len, differences.values()))
        pairs.append(Paired(*names, f"mean of {len(tests)}", mean, ci95, episodes=total, **where))
    return pairs


def _command(runs: list[str], tests: list[Test], episodes: int, given: dict[str, list[str] | str | int | None]) -> str:
    """Return a command that gives the same rows, whatever the defaults of the runs are."""
    said = ["rotogbml", "evaluate", *runs, "--target", *(test.source.name for test in tests)]
    for name in ("k_shot", "n_query", "seed"):
        said += [f"--{name}", str(getattr(tests[0], name))]
    said += ["--episodes", str(episodes)]
    for name, value in given.items():
        if value is not None:
            said += [f"--{name}", *(value if isinstance(value, list) else [str(value)])]
    return shlex.join(said)
