"""One process's part of a run: meet the others, build, claim the folder, train, say what came of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from rotogbml.config import RunConfig
from rotogbml.errors import UsageError
from rotogbml.memory import keep_freed_memory, saying_what_to_lower
from rotogbml.sources.packed import pack_digest
from rotogbml.training import checkpoint
from rotogbml.training.assemble import Parts, assemble
from rotogbml.training.compared import trains
from rotogbml.training.dry_run import dry_run as measure
from rotogbml.training.naming import method_name
from rotogbml.training.place import Place, met, threads_of
from rotogbml.training.profile import NO_PROFILE, Profile
from rotogbml.training.progress import clock
from rotogbml.training.protocol import announcement
from rotogbml.training.ranks import Ranks
from rotogbml.training.run import RunFolder, flat
from rotogbml.training.state import State
from rotogbml.training.trainer import LOWER, Trainer


@dataclass(frozen=True)
class TrainReport:
    """What came of a run."""

    out: str
    steps: int
    seconds: float
    best_validation: float | None
    """Mean accuracy, 0 … 1, or None without validation classes."""
    digest: str
    """SHA-256 of weights, optimizer, ω, γ and metrics; empty for a dry run."""


@dataclass(frozen=True)
class Job:
    """What all processes of a run are told."""

    config: RunConfig
    """Resolved."""
    out: str
    resume: str
    dry_run: bool
    profile: bool
    threads: int | None
    accelerator: Literal["cpu", "cuda"]


def carry_out(job: Job, place: Place) -> TrainReport:
    """Meet the other processes, where there are any, and train with them.

    Raises:
        UsageError: a number or a combination cannot be used, or the processes were told different things.
        RotogbmlError: as for ``train``.
    """
    folder = RunFolder(Path(job.out))
    keep_freed_memory()
    with met(place, job.accelerator) as (ranks, device), saying_what_to_lower(LOWER):
        record = ranks.agree(folder.read_record)
        ranks.together(lambda: _set_threads(job.threads, record, place))
        begin = not checkpoint.there(folder.checkpoints)
        parts = _in_turn(ranks, lambda: assemble(job.config, device, ranks, begin))
        _check_alike(parts)
        if job.dry_run and not trains(job.config):
            raise UsageError(
                f"{job.config.method.name} trains nothing, so there is nothing to try: leave --dry_run out"
            )
        if job.dry_run:
            return TrainReport("", 0, measure(parts), None, "")
        with ExitStack() as held:
            ranks.agree(lambda: _check_there(folder, job.resume))
            ranks.agree(lambda: held.enter_context(folder.held()))
            return _run(parts, folder, job, place)


def _set_threads(given: int | None, record: dict[str, Any], place: Place) -> None:
    """Settle the threads of this process: as given, else as the run has them, else its share of the cores.

    Raises:
        UsageError: there is no such number.
    """
    threads = record.get("threads") if given is None else given
    threads = threads_of(place) if threads is None else threads
    if threads is not None:
        if threads < 1:
            raise UsageError(f"threads is {threads}: give at least 1, or leave it out to use all cores")
        torch.set_num_threads(threads)


def _in_turn(ranks: Ranks, make: Callable[[], Parts]) -> Parts:
    """Build in one process of each machine first: what is made on first use is made once."""
    made: list[Parts] = []
    for turn in (True, False):
        ranks.together(lambda turn=turn: made.append(make()) if (ranks.local == 0) is turn else None)
    return made[0]


def _check_alike(parts: Parts) -> None:
    """Check that all processes were told the same, and see the same images.

    Raises:
        UsageError: they were not.
    """
    ranks = parts.ranks
    if ranks.world == 1:
        return
    options = {name: value for name, value in flat(asdict(parts.config)).items() if name != "sources"}
    packs = {name: pack_digest({name: source}) for name, source in sorted(parts.sources.items())}
    said = {"options": repr(options), "images": repr(packs), "threads": repr(torch.get_num_threads())}
    mine = {what: hashlib.sha256(text.encode()).hexdigest() for what, text in said.items()}
    for rank, other in enumerate(told := ranks.gather(lambda: [mine], ranks.world)):
        for what, digest in other.items():
            if digest != told[0][what]:
                raise ranks.shared(
                    UsageError(f"process {rank} has other {what} than process 0: give every process the same command")
                )


def _check_there(folder: RunFolder, resume: str) -> None:
    if resume == "true" and not any(folder.checkpoints.glob("*.pt")):
        raise UsageError(
            f"--resume true, but there is no checkpoint in {folder.checkpoints}: leave --resume out to start"
        )


def _run(parts: Parts, folder: RunFolder, job: Job, place: Place) -> TrainReport:
    """Claim the folder, train, say what came of it."""
    ranks = parts.ranks
    ranks.agree(lambda: _claim(parts, folder, job.resume, place))
    trainer = Trainer(parts, folder)
    if ranks.first:
        _announce(parts, trainer.state.step)
    # All processes take the same steps: one of them is enough to look at.
    trainer.fit(Profile(folder.path / "profile") if job.profile and ranks.first else NO_PROFILE)
    return ranks.agree(lambda: _report(trainer.state, folder))


def _claim(parts: Parts, folder: RunFolder, resume: str, place: Place) -> None:
    check_length(folder, parts.config)
    learned = [*parts.learner.network.psi().tensors(), *parts.learner.alpha.values()]
    parameters = sum(p.numel() for p in learned)
    processes = (place.devices, place.nodes)
    folder.claim(parts.config, parts.sources, parameters, resume != "false", parts.device.type, processes, parts.size)


def check_length(folder: RunFolder, config: RunConfig) -> None:
    """Check that a run has not gone further already than it is to go.

    Raises:
        UsageError: it has.
        RotogbmlError: its checkpoints are damaged.
    """
    saved = checkpoint.newest(folder.checkpoints, tell=False)  # the trainer tells
    if saved is not None and config.steps is not None and config.steps < saved["step"]:
        raise UsageError(
            f"{folder.path} is at step {saved['step']} already, --steps {config.steps} is less: "
            "give more, or choose another --out"
        )


def _report(state: State, folder: RunFolder) -> TrainReport:
    best = state.best if math.isfinite(state.best) else None
    digest = state.digest()
    said = "no validation classes" if best is None else f"best validation {best:.1%}"
    print(f"{state.step} steps in {clock(state.seconds)}, {said}, digest {digest[:16]}: {folder.path}")
    return TrainReport(str(folder.path), state.step, state.seconds, best, digest)


def _announce(parts: Parts, start: int) -> None:
    """Say what is trained on what, before it starts."""
    c = parts.config
    classes = sum(len(s.classes_of("train")) for s in parts.sources.values())
    length = f"{c.steps} steps" if c.steps is not None else f"{c.minutes:g} minutes"
    k = c.episodes.k_shot
    shots = k if isinstance(k, int) else f"{k[0]} to {k[1]}"
    encoder = c.encoder.name if ":" in c.encoder.name else f"{c.encoder.name}-{c.encoder.width}"
    if not trains(c):
        print(
            f"{method_name(c)}, {encoder}, norm {parts.learner.network.encoder.norm}, seed {c.seed}: nothing to train"
        )
        return
    print(
        f"{method_name(c)}, {encoder}, {c.episodes.n_way}-way {shots}-shot, "
        f"N = {c.episodes.tasks_per_batch}, norm {parts.learner.network.encoder.norm}, seed {c.seed}: {length}"
        + (f" from step {start}" if start else "")
    )
    for line in announcement(c, parts.sources):
        print(line)
    print(f"training sources ({classes} classes): {', '.join(parts.sources)}")
    print(_said_of_validation(parts), end="")
    if c.holdout:
        print(f"held out: {', '.join(c.holdout)}", flush=True)


def _said_of_validation(parts: Parts) -> str:
    """Return a line on what chooses the checkpoint; empty where all training sources do."""
    named, judging = parts.config.validate_on, list(parts.validation.samplers)
    without = [name for name in (parts.sources if named is None else named) if name not in judging]
    if named == []:
        return "no validation is wanted: the latest state counts as the best\n"
    if not judging:
        return "no validation: no source has enough validation classes, so the latest state counts as the best\n"
    lacking = f" but {', '.join(without)}: too few validation classes there" if without else ""
    if named is not None:
        return f"validated on {', '.join(judging)}{f' (all{lacking})' if without else ''}\n"
    return f"validated on all of them{lacking}\n" if without else ""
