"""``rotogbml train``: from packs to a run folder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric

from rotogbml import presets
from rotogbml.config import (
    EncoderConfig,
    EpisodeConfig,
    HomogenizerConfig,
    IsiConfig,
    LearnerConfig,
    OuterConfig,
    RunConfig,
    names,
)
from rotogbml.encoders import give_encoder
from rotogbml.errors import UsageError
from rotogbml.memory import keep_freed_memory, saying_what_to_lower
from rotogbml.training import checkpoint
from rotogbml.training.assemble import Parts, assemble, default_holdout
from rotogbml.training.dry_run import dry_run as measure
from rotogbml.training.profile import NO_PROFILE, Profile
from rotogbml.training.progress import clock
from rotogbml.training.resolve import resolve
from rotogbml.training.run import RunFolder, method_name
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
    profile: bool = False,
    threads: int | None = None,
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    episodes: EpisodeConfig = EpisodeConfig(),  # noqa: B008 (a frozen default would lose its type on the command line)
    encoder: EncoderConfig = EncoderConfig(),  # noqa: B008
    head: Literal["linear", "linear-tied", "zero", "prototype", "cosine"] | None = None,
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
        dry_run: Build everything, try three steps, print parameters, peak memory and time, write nothing.
        profile: Record three steps after two: a trace and a table of where their time went, in RUN/profile.
        threads: Processor threads; those of the run that goes on, else all cores, where not given.
        accelerator: Where it computes; ``auto`` takes a CUDA GPU if there is one, else the CPU. Resuming to the bit
            is tested on the CPU.
        episodes: What a task is and how minibatches are mixed.
        encoder: theta; from Python also a torch module that maps images [b, 3, size, size] to features [b, m].
        head: phi: from where its rows start in a task (protomaml: prototype, else linear, where not given).
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
    if isinstance(encoder, torch.nn.Module):
        encoder = EncoderConfig(name=give_encoder(encoder))
    packs = names(sources)
    config = resolve(
        RunConfig(
            sources=packs,
            holdout=default_holdout(packs) if holdout is None else names(holdout),
            steps=steps,
            minutes=minutes,
            seed=seed,
            preset=preset,
            shift=shift,
            episodes=episodes,
            encoder=encoder,
            head=head,
            learner=learner,
            homogenizer=homogenizer,
            isi=isi,
            outer=outer,
        )
    )
    go_on = {"auto": "auto", "true": "true", "false": "false"}.get(str(resume).lower())
    if go_on is None:
        raise UsageError(f"resume cannot be '{resume}': there are auto, true, false")
    folder = RunFolder(Path(out))
    keep_freed_memory()
    device = computing(threads, accelerator, folder)
    with saying_what_to_lower(LOWER):
        parts = assemble(config, device)
        if dry_run:
            return TrainReport("", 0, measure(parts), None, "")
        if go_on == "true" and not any(folder.checkpoints.glob("*.pt")):
            raise UsageError(
                f"--resume true, but there is no checkpoint in {folder.checkpoints}: leave --resume out to start"
            )
        with folder.held():
            return _run(parts, folder, go_on, profile)


def computing(threads: int | None, accelerator: str, folder: RunFolder) -> torch.device:
    """Settle threads and device, and return the device.

    Raises:
        UsageError: there is no such device, or no such number of threads.
    """
    threads = folder.read_record().get("threads") if threads is None else threads
    if threads is not None:
        if threads < 1:
            raise UsageError(f"threads is {threads}: give at least 1, or leave it out to use all cores")
        torch.set_num_threads(threads)
    if accelerator == "auto":  # named, since fabric's own choice may be a device without float64
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(
                "accelerator is cuda, but torch sees no such GPU here: leave --accelerator out, or take cpu"
            )
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    fabric = Fabric(accelerator=accelerator, devices=1)
    fabric.launch()
    return fabric.device


def _run(parts: Parts, folder: RunFolder, resume: str, profile: bool) -> TrainReport:
    """Claim the folder, train, say what came of it."""
    config = parts.config
    saved = checkpoint.newest(folder.checkpoints, tell=False)  # the trainer tells
    if saved is not None and config.steps is not None and config.steps < saved["step"]:
        raise UsageError(
            f"{folder.path} is at step {saved['step']} already, --steps {config.steps} is less: "
            "give more, or choose another --out"
        )
    learned = [*parts.learner.network.psi().tensors(), *parts.learner.alpha.values()]
    parameters = sum(p.numel() for p in learned)
    folder.claim(config, parts.sources, parameters, resume != "false", parts.device.type)
    trainer = Trainer(parts, folder)
    _announce(parts, trainer.step)
    trainer.fit(Profile(folder.path / "profile") if profile else NO_PROFILE)
    best = trainer.best if math.isfinite(trainer.best) else None
    digest = trainer.digest()
    said = "no validation classes" if best is None else f"best validation {best:.1%}"
    print(f"{trainer.step} steps in {clock(trainer.seconds)}, {said}, digest {digest[:16]}: {folder.path}")
    return TrainReport(str(folder.path), trainer.step, trainer.seconds, best, digest)


def _announce(parts: Parts, start: int) -> None:
    """Say what is trained on what, before it starts."""
    c = parts.config
    classes = sum(len(s.classes_of("train")) for s in parts.sources.values())
    length = f"{c.steps} steps" if c.steps is not None else f"{c.minutes:g} minutes"
    k = c.episodes.k_shot
    shots = k if isinstance(k, int) else f"{k[0]} to {k[1]}"
    encoder = c.encoder.name if ":" in c.encoder.name else f"{c.encoder.name}-{c.encoder.width}"
    print(
        f"{method_name(c)}, {encoder}, {c.episodes.n_way}-way {shots}-shot, "
        f"N = {c.episodes.tasks_per_batch}, norm {parts.learner.network.encoder.norm}, seed {c.seed}: {length}"
        + (f" from step {start}" if start else "")
    )
    print(f"training sources ({classes} classes): {', '.join(parts.sources)}")
    without = [name for name in parts.sources if name not in parts.validation.samplers]
    if parts.validation and without:
        print(f"validated on all of them but {', '.join(without)}: too few validation classes there")
    if not parts.validation:
        print("no validation: no source has enough validation classes, so the latest state counts as the best")
    if c.holdout:
        print(f"held out: {', '.join(c.holdout)}", flush=True)
