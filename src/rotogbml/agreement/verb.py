"""``rotogbml gradients``: do the sources of a run pull one way, and could any weighting of them do better?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rotogbml.agreement.lines import AgreementReport, room_of, show
from rotogbml.agreement.measure import Asked, measure
from rotogbml.config import RunConfig
from rotogbml.config import names as listed
from rotogbml.errors import UsageError
from rotogbml.evaluation.asked import default_targets, named_sources
from rotogbml.evaluation.methods import Adapted, Spec, load
from rotogbml.evaluation.repeat import command, counting
from rotogbml.evaluation.seen import Seen, honest_split
from rotogbml.files import make_folder, write_atomic
from rotogbml.learners import Learner, Psi
from rotogbml.memory import keep_freed_memory
from rotogbml.numbers import defined
from rotogbml.sources.packed import PackedSource
from rotogbml.training import checkpoint as checkpoints
from rotogbml.training.draws import create_sampler
from rotogbml.training.run import RunFolder
from rotogbml.training.sources import hold_out, open_sources, training_sources, whole, without_held_out

BLOCKS = 8
"""In which a source's tasks are kept: eight give an error to everything, and hold eight gradients a source."""


def gradients(
    runs: list[str],
    target: list[str] | None = None,
    sources: list[str] | None = None,
    tasks: int = 64,
    seed: int = 0,
    checkpoint: Literal["best", "last", "averaged", "untrained"] = "last",
) -> list[AgreementReport]:
    """Measure what of a task's gradient is its source's own, and whether sources agree once noise is taken out.

    The cosine of two tasks in a minibatch is mostly noise: which classes and images were drawn. From many tasks of each
    source, products of different tasks give the cosine of what sources ask for on average, and how near the best
    weights of training sources could come to what a held-out one asks for.

    Args:
        runs: Run folders of learners.
        target: Held-out sources; the run's own where not given.
        sources: Packs to look for the sources in; the run's own where not given.
        tasks: Tasks of each source, a multiple of 8.
        seed: Names tasks and masks.
        checkpoint: ``best`` by validation, ``last``, ``averaged``: the running mean of the weights, or ``untrained``.

    Returns:
        The measures of each run, as written to RUN/gradients/CHECKPOINT.json.

    Raises:
        UsageError: a run, a source or a number cannot be used.
        RotogbmlError: a checkpoint is damaged.
    """
    if tasks < 2 * BLOCKS or tasks % BLOCKS:
        raise UsageError(f"tasks is {tasks}: give a multiple of {BLOCKS}, from {2 * BLOCKS} on")
    keep_freed_memory()
    load.cache_clear()  # a run may have been trained on since
    target, sources = (None if given is None else listed(given) for given in (target, sources))
    options = {"target": target, "sources": sources, "tasks": tasks, "seed": seed, "checkpoint": checkpoint}
    unique = list({Path(run).resolve(): run for run in listed(runs)}.values())
    reports = []
    for of in [_prepare(run, target, sources, checkpoint) for run in unique]:  # all refusals before any work
        e, names = of.config.episodes, _names(of.asked, of.training)
        with counting(f"tasks of {of.spec.run}", len(of.asked) * tasks) as advance:
            products = measure(of.learner, of.psi, of.config, of.asked, tasks, BLOCKS, seed, advance)
        report = AgreementReport(
            run=of.spec.run,
            method=of.spec.name,
            checkpoint=checkpoint,
            step=of.step,
            n_way=e.n_way,
            k_shot=e.k_shot,
            n_query=e.n_query,
            tasks=tasks,
            seed=seed,
            training=names[: of.training],
            command=command("gradients", [of.spec.run], options),
            rooms={room: room_of(each, names, of.training) for room, each in products.items()},
        )
        folder = Path(of.spec.run) / "gradients"
        make_folder(folder)
        path = folder / f"{checkpoint}.json"
        write_atomic(path, json.dumps(defined(asdict(report)), indent=1, ensure_ascii=False) + "\n")
        show(report)
        print(f"written: {path}")
        reports.append(report)
    return reports


@dataclass(frozen=True)
class _Begun:
    """A run at its checkpoint, and what is asked of it."""

    spec: Spec
    config: RunConfig
    learner: Learner
    psi: Psi
    step: int
    asked: list[Asked]
    training: int
    """So many of them, the first, are sources that it was trained on."""


def _prepare(run: str, target: list[str] | None, sources: list[str] | None, checkpoint: str) -> _Begun:
    """Return a run at its checkpoint, and the sources whose tasks are asked for.

    Raises:
        UsageError: it is no learner's, or a source is missing.
    """
    spec = Spec("untrained", run) if checkpoint == "untrained" else Spec("run", run, checkpoint)
    config = spec.config()
    if config.method.name is not None:
        raise UsageError(f"{run} is of {config.method.name}, which has no inner loop: name runs of a learner")
    found = open_sources(config.sources if sources is None else sources)
    training = _training(run, config, found)
    wanted = default_targets(config, found) if target is None else target
    held = named_sources(wanted, found, run) if wanted else []
    seen = [Seen.by(run)]
    asked = [Asked(source, "train") for source in training]
    asked += [Asked(source, honest_split(source, "auto", seen)) for source in held]
    for one in asked:
        one.sampler(config, 0)  # says now what a target lacks
    adapted = load(spec, asked[0].source.size)
    assert isinstance(adapted, Adapted)
    assert isinstance(adapted.learner, Learner)
    learner = adapted.learner.at(_done(run, config, adapted.step))
    return _Begun(spec, config, learner, adapted.psi, adapted.step, asked, len(training))


def _training(run: str, config: RunConfig, found: dict[str, PackedSource]) -> list[PackedSource]:
    """Return the sources that a run was trained on, with the images it was trained on.

    Raises:
        UsageError: one of them is not there, or is another one.
    """
    folder = RunFolder(Path(run))
    packs = folder.read_record().get("packs")
    if packs is None:  # a kill fell before it was written
        return create_sampler(config, training_sources(config, found)).serving()
    for name in packs:
        if name not in found:
            raise UsageError(
                f"{run} was trained on '{name}', which is not among {', '.join(found)}: name packs that have it with "
                "--sources"
            )
    training = {name: whole(found[name], config.whole) for name in packs}
    if config.drop_overlap:
        hold_out(found, config.holdout)  # says what is not there
        training = without_held_out(training, [found[name] for name in config.holdout])
    for name in folder.others(training):
        raise UsageError(
            f"the images or classes of '{name}' in {found[name].path} are not those {run} was trained on: put that "
            "pack back, or name another with --sources"
        )
    return create_sampler(config, training).serving()


def _names(asked: Sequence[Asked], training: int) -> list[str]:
    """Return what to call the sources; the other classes of a training source are not that source."""
    own = [one.source.name for one in asked[:training]]
    others = [(one.source.name, one.split) for one in asked[training:]]
    return own + [f"{name}, {split} classes" if name in own else name for name, split in others]


def _done(run: str, config: RunConfig, step: int) -> float:
    """Return the share of training, 0 … 1, that was done at a step: some learners anneal."""
    by_steps = step / max(1, config.steps) if config.steps is not None else 0.0
    last = checkpoints.newest(RunFolder(Path(run)).checkpoints, tell=False) if config.minutes is not None else None
    if config.minutes is None or last is None or not last["step"]:
        return by_steps
    return max(by_steps, step / last["step"] * last["seconds"] / (60 * config.minutes))
