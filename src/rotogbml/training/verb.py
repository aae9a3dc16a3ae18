"""``rotogbml train``: from packs to a run folder."""

from __future__ import annotations

import dataclasses
import math
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table

from rotogbml import presets
from rotogbml.config import (
    EncoderConfig,
    EpisodeConfig,
    HomogenizerConfig,
    IsiConfig,
    LearnerConfig,
    OuterConfig,
    RunConfig,
)
from rotogbml.errors import UsageError
from rotogbml.memory import keep_freed_memory
from rotogbml.training import checkpoint
from rotogbml.training.assemble import GLYPHS, Parts, assemble, default_holdout
from rotogbml.training.progress import clock
from rotogbml.training.run import RunFolder, method_name
from rotogbml.training.step import meta_step
from rotogbml.training.trainer import Trainer, saying_what_to_lower

DEFAULT_STEPS = 10_000


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


def train(
    sources: list[str],
    out: str,
    holdout: list[str] | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    preset: presets.Preset = "default",
    shift: presets.Shift = "strong",
    resume: Literal["auto", "true", "false"] = "auto",
    dry_run: bool = False,
    threads: int | None = None,
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    episodes: EpisodeConfig = EpisodeConfig(),  # noqa: B008 (a frozen default would lose its type on the command line)
    encoder: EncoderConfig = EncoderConfig(),  # noqa: B008
    learner: LearnerConfig = LearnerConfig(),  # noqa: B008
    homogenizer: HomogenizerConfig | None = HomogenizerConfig(),  # noqa: B008
    isi: IsiConfig | None = IsiConfig(),  # noqa: B008
    outer: OuterConfig = OuterConfig(),  # noqa: B008
) -> TrainReport:
    """Learn an initialisation from several sources (Algorithm 1 of RotoGBML).

    Args:
        sources: Packs made by ``rotogbml data pack``, or ``glyphs`` for the embedded data.
        out: Run folder. If it holds this run already, training goes on where it stopped.
        holdout: Sources that are never trained or validated on.
        steps: Meta-training steps in all; 10000 where neither this nor minutes is given.
        minutes: Stop after so many minutes of training, over all resumptions.
        seed: Weights, episodes, augmentation and masks all derive from it.
        preset: ``default`` is ours, ``paper`` the letter of the paper; an option given here wins over both.
        shift: How unlike the tasks of a minibatch are: sets mix, beta and slots.
        resume: ``auto`` goes on if there is something to go on from, ``true`` insists, ``false`` refuses.
        dry_run: Build everything, try two steps, print parameters, peak memory and time, write nothing.
        threads: Processor threads; all cores where not given.
        accelerator: Where it computes; ``auto`` takes a GPU if there is one.
        episodes: What a task is and how minibatches are mixed.
        encoder: theta.
        learner: The inner loop.
        homogenizer: omega and gamma; null (or none) turns both off.
        isi: Invariant self-information; null (or off) turns it off.
        outer: The outer loop.

    Returns:
        Steps, seconds, best validation accuracy and the digest of the run's state.

    Raises:
        UsageError: a name, a number or a combination cannot be used.
        RotogbmlError: the loss is not finite, memory or disk ran out; what was saved is kept.
        Interrupted: stopped from outside, state saved.
    """
    keep_freed_memory()
    if threads is not None:
        if threads < 1:
            raise UsageError(f"threads is {threads}: give at least 1, or leave it out to use all cores")
        torch.set_num_threads(threads)
    config = resolve(
        RunConfig(
            sources=list(sources),
            holdout=default_holdout(list(sources)) if holdout is None else list(holdout),
            steps=steps,
            minutes=minutes,
            seed=seed,
            preset=preset,
            shift=shift,
            episodes=episodes,
            encoder=encoder,
            learner=learner,
            homogenizer=homogenizer,
            isi=isi,
            outer=outer,
        )
    )
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise UsageError("accelerator is cuda, but torch sees no such GPU here: leave --accelerator out, or take cpu")
    fabric = Fabric(accelerator=accelerator, devices=1)
    fabric.launch()
    parts = assemble(config, fabric.device)
    if dry_run:
        return _dry_run(parts)
    folder = RunFolder(Path(out))
    if resume == "true" and checkpoint.newest(folder.checkpoints) is None:
        raise UsageError(
            f"--resume true, but there is no checkpoint in {folder.checkpoints}: leave --resume out to start"
        )
    parameters = sum(p.numel() for p in parts.learner.network.psi().tensors())
    folder.claim(config, parts.sources, parameters, resume != "false")
    trainer = Trainer(parts, folder)
    _announce(parts, trainer.step)
    trainer.fit()
    best = trainer.best if math.isfinite(trainer.best) else None
    digest = trainer.digest()
    said = "no validation classes" if best is None else f"best validation {best:.1%}"
    print(f"{trainer.step} steps in {clock(trainer.seconds)}, {said}, digest {digest[:16]}: {out}")
    return TrainReport(out, trainer.step, trainer.seconds, best, digest)


def resolve(config: RunConfig) -> RunConfig:
    """Return the configuration with every choice made: presets filled in, budget and augmentation settled.

    Raises:
        UsageError: numbers that cannot be.
    """
    c = config
    if c.steps is None and c.minutes is None:
        c = dataclasses.replace(c, steps=DEFAULT_STEPS)
    if (c.steps is not None and c.steps < 1) or (c.minutes is not None and not c.minutes > 0):
        raise UsageError(f"steps is {c.steps}, minutes is {c.minutes}: give a positive number of one of them")
    episodes = c.episodes
    if episodes.augment is None and c.sources == [GLYPHS]:
        episodes = dataclasses.replace(episodes, augment="shape-safe")
    for name in ("log_every", "validate_every", "validation_episodes"):
        if getattr(c.outer, name) < 1:
            raise UsageError(f"outer.{name} is {getattr(c.outer, name)}: it must be at least 1")

    if c.encoder.width < 1:
        raise UsageError(f"encoder.width is {c.encoder.width}: it must be at least 1")

    def fill(part: Any, group: str) -> Any:
        return None if part is None else presets.fill(part, group, c.preset, c.shift)

    outer = fill(c.outer, "outer")
    if not 0 < outer.meta_lr < math.inf:
        raise UsageError(f"outer.meta_lr is {outer.meta_lr}: it must be above 0 and finite")
    return dataclasses.replace(
        c,
        episodes=fill(episodes, "episodes"),
        learner=fill(c.learner, "learner"),
        homogenizer=fill(c.homogenizer, "homogenizer"),
        isi=fill(c.isi, "isi"),
        outer=outer,
    )


def _announce(parts: Parts, start: int) -> None:
    """Say what is trained on what, before it starts."""
    c = parts.config
    classes = sum(len(s.classes_of("train")) for s in parts.sources.values())
    length = f"{c.steps} steps" if c.steps is not None else f"{c.minutes:g} minutes"
    k = c.episodes.k_shot
    shots = k if isinstance(k, int) else f"{k[0]} to {k[1]}"
    print(
        f"{method_name(c)}, {c.encoder.name}-{c.encoder.width}, {c.episodes.n_way}-way {shots}-shot, "
        f"N = {c.episodes.tasks_per_batch}, norm {c.encoder.norm}, seed {c.seed}: {length}"
        + (f" from step {start}" if start else "")
    )
    print(f"training sources ({classes} classes): {', '.join(parts.sources)}")
    if c.holdout:
        print(f"held out: {', '.join(c.holdout)}", flush=True)


def _dry_run(parts: Parts) -> TrainReport:
    """Try two steps and say what a run would take; nothing is written."""
    c = parts.config
    psi = parts.learner.network.psi()
    optimizer = torch.optim.Adam(psi.tensors(), lr=0.0)
    seconds = []
    with saying_what_to_lower():
        for step in range(3):  # the first one also loads libraries and reserves memory
            began = time.perf_counter()
            meta_step(parts, psi, optimizer, tuple(e.to(parts.device) for e in parts.sampler.batch(step)), step)
            seconds.append(time.perf_counter() - began)
    each = min(seconds[1:])
    steps = c.steps if c.steps is not None else max(1, int(60 * (c.minutes or 0) / each))
    table = Table(title="dry run: nothing was written", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    rows = {
        "method": method_name(c),
        "parameters (encoder)": f"{sum(p.numel() for p in psi.theta.values()):,}",
        "parameters (head)": f"{sum(p.numel() for p in psi.phi.values()):,}",
        "features m": f"{parts.learner.network.feature_dim:,}",
        "peak memory so far": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB",
        "one step": f"{each:.3f} s",
        "steps": f"{steps:,}",
        "estimated time, without validation": clock(steps * each),
    }
    for name, shown in rows.items():
        table.add_row(name, shown)
    Console().print(table)
    return TrainReport("", 0, sum(seconds), None, "")
