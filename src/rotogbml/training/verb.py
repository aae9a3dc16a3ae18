"""``rotogbml train``: from packs to a run folder, in one process or in several."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from rotogbml import presets
from rotogbml.config import (
    EncoderConfig,
    EpisodeConfig,
    HomogenizerConfig,
    IsiConfig,
    LearnerConfig,
    MethodConfig,
    OuterConfig,
    RunConfig,
    names,
)
from rotogbml.encoders import give_encoder
from rotogbml.errors import UsageError
from rotogbml.protocols import ReadingsConfig, Suite
from rotogbml.training.crew import Crew
from rotogbml.training.place import beside, find, on_this_machine
from rotogbml.training.protocol import apply
from rotogbml.training.resolve import resolve
from rotogbml.training.run import RunFolder
from rotogbml.training.sources import default_holdout
from rotogbml.training.work import Job, TrainReport, carry_out


def train(
    sources: list[str],
    out: str,
    holdout: list[str] | None = None,
    drop_overlap: bool = False,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    preset: presets.Preset = "default",
    shift: presets.Shift = "strong",
    protocol: str | None = None,
    target: str | None = None,
    suite: Suite = "paper",
    readings: ReadingsConfig = ReadingsConfig(),  # noqa: B008 (a frozen default would lose its type on the command line)
    allow_missing: bool = False,
    whole: list[str] | None = None,
    validate_on: list[str] | None = None,
    resume: Literal["auto", "true", "false"] = "auto",
    dry_run: bool = False,
    profile: bool = False,
    threads: int | None = None,
    devices: int | Literal["auto"] | None = None,
    num_nodes: int = 1,
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    episodes: EpisodeConfig = EpisodeConfig(),  # noqa: B008
    encoder: EncoderConfig = EncoderConfig(),  # noqa: B008
    head: Literal["linear", "linear-tied", "zero", "prototype", "cosine"] | None = None,
    learner: LearnerConfig = LearnerConfig(),  # noqa: B008
    homogenizer: HomogenizerConfig | None = HomogenizerConfig(),  # noqa: B008
    isi: IsiConfig | None = IsiConfig(),  # noqa: B008
    outer: OuterConfig = OuterConfig(),  # noqa: B008
    method: MethodConfig = MethodConfig(),  # noqa: B008
    insist: list[str] | None = None,
) -> TrainReport:
    """Learn an initialisation from several sources (Algorithm 1 of RotoGBML).

    Args:
        sources: Packs made by ``rotogbml data pack``, or ``glyphs`` for the embedded data.
        out: Run folder. If it holds this run already, training goes on where it stopped.
        holdout: Sources that are never trained on, nor validated on unless validate_on names them.
        drop_overlap: Leave images out of training that stand in a held-out source too, by bytes or by what they show.
        steps: Meta-training steps in all; 10000 where neither this nor minutes is given.
        minutes: Stop after so many minutes of training, over all resumptions.
        seed: Weights, episodes, augmentation and masks all derive from it.
        preset: ``default`` is ours, ``paper`` the letter of the paper; an option given here wins over both.
        shift: How unlike the tasks of a minibatch are: sets mix, beta and slots.
        protocol: A published setting (weak, strong, closer-look, bscd-fsl, cdfsl): it chooses sources, classes, steps,
            encoder and what is held out; an option given here wins over it, and it wins over the preset.
        target: The protocol's test dataset, such as cars.
        suite: The paper's datasets, or core: small stand-ins, labelled as such.
        readings: Answers to what the protocol's paper leaves open (rotogbml protocol show NAME); --pool is short for
            --readings.pool.
        allow_missing: Go on with those datasets of the protocol that are there, and mark the rows.
        whole: Sources of which every class is trained on, however they are split.
        validate_on: Sources whose validation classes choose the checkpoint; the training sources where not given.
        resume: ``auto`` goes on if there is something to go on from, ``true`` insists, ``false`` refuses.
        dry_run: Build everything, try three steps, print parameters, peak memory and time, write nothing.
        profile: Record three steps after two: a trace and a table of where their time went, in RUN/profile.
        threads: Processor threads of each process; those of the run that goes on, else all cores, shared out among the
            processes of a machine, where not given.
        devices: Processes on this machine that share the tasks of a minibatch (GPUs, with cuda); auto is one for each
            task, as far as cores (or GPUs) go. Where not given: those of the run that goes on; else auto for 300
            steps or 2 minutes and more of conv4 on the CPU (faster, more memory), and 1 otherwise and where threads
            are given. Under torchrun and Slurm leave it out.
        num_nodes: Machines; under torchrun and Slurm leave it out.
        accelerator: Where it computes; ``auto`` takes a CUDA GPU if there is one, else the CPU. Resuming to the bit
            is tested on the CPU.
        episodes: What a task is and how minibatches are mixed.
        encoder: theta; from Python also a torch module that maps images [b, 3, size, size] to features [b, m].
        head: phi: from where its rows start in a task (protomaml: prototype, else linear, where not given).
        learner: The inner loop.
        homogenizer: omega and gamma; null (or none) turns both off.
        isi: Invariant self-information; null (or off) turns it off.
        outer: The outer loop.
        method: A compared method in place of learner, head and homogenizer.
        insist: From Python, dotted names of options (such as "encoder.name") that win over the protocol although they
            are as the default; the command line knows by itself what was typed.

    Returns:
        Steps, seconds, best validation accuracy and the digest of the run's state.

    Raises:
        UsageError: a name, a number or a combination cannot be used.
        RotogbmlError: the loss is not finite, memory or disk ran out; what was saved is kept.
        Interrupted: stopped from outside, state saved.
    """
    if isinstance(encoder, torch.nn.Module):
        encoder = EncoderConfig(name=give_encoder(encoder))
    given = apply(
        as_given(
            sources=sources,
            holdout=holdout,
            steps=steps,
            minutes=minutes,
            seed=seed,
            preset=preset,
            shift=shift,
            episodes=episodes,
            encoder=encoder,
            head=head,
            drop_overlap=drop_overlap,
            learner=learner,
            homogenizer=homogenizer,
            isi=isi,
            outer=outer,
            protocol=protocol,
            target=target,
            suite=suite,
            readings=readings,
            allow_missing=allow_missing,
            whole=whole,
            validate_on=validate_on,
            method=method,
        ),
        insist or (),
    )
    config = resolve(given)
    go_on = {"auto": "auto", "true": "true", "false": "false"}.get(str(resume).lower())
    if go_on is None:
        raise UsageError(f"resume cannot be '{resume}': there are auto, true, false")
    job = Job(config, str(out), go_on, dry_run, profile, threads, _accelerator(accelerator))
    if devices is None:
        devices = RunFolder(Path(out)).read_record().get("devices") or _usual(job)
    place = find(devices, num_nodes, config.episodes.tasks_per_batch, job.accelerator)
    if place.started_by != "rotogbml":
        return carry_out(job, place)
    if config.encoder.name.startswith("given:"):
        raise UsageError(
            "an encoder that is given as a module stays in the process that it was given to: take --devices 1, or name "
            "what builds it (encoder package.module:factory)"
        )
    with on_this_machine(place), Crew("rotogbml.training.work:carry_out", job, beside(place), place.world):
        return carry_out(job, place)


def as_given(
    *,
    sources: str | list[str],
    holdout: str | list[str] | None,
    whole: str | list[str] | None,
    validate_on: str | list[str] | None,
    **others: Any,
) -> RunConfig:
    """Return what ``train`` is given as a configuration in which nothing is chosen yet.

    Args:
        sources: as ``train`` takes them.
        holdout: likewise.
        whole: likewise.
        validate_on: likewise.
        others: the other fields of ``RunConfig``.
    """
    packs = names(sources)
    return RunConfig(
        sources=packs,
        holdout=default_holdout(packs) if holdout is None else names(holdout),
        whole=[] if whole is None else names(whole),
        validate_on=None if validate_on is None else names(validate_on),
        **others,
    )


LONG_STEPS, LONG_MINUTES = 300, 2.0
"""From here on processes pay: of conv4 they take 0.76 to 0.89 of a step (docs/speed.md), and seconds to start."""


def _usual(job: Job) -> Literal["auto"] | None:
    """Return what devices are where nobody says: a process for each task of a long run of conv4 on the CPU, else one.

    Deeper encoders gain a twentieth, and a process of theirs takes gigabytes in second order.
    """
    config, combine = job.config, job.config.homogenizer and job.config.homogenizer.combine
    long = (config.steps or 0) >= LONG_STEPS or (config.minutes or 0.0) >= LONG_MINUTES
    alone = config.encoder.name != "conv4" or combine == "graddrop" or job.profile or job.dry_run
    return "auto" if long and not alone and job.threads is None and job.accelerator == "cpu" else None


def _accelerator(wanted: str) -> Literal["cpu", "cuda"]:
    """Return what computes.

    Raises:
        UsageError: there is no such device.
    """
    if wanted == "auto":  # named, since fabric's own choice may be a device without float64
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(
                "accelerator is cuda, but torch sees no such GPU here: leave --accelerator out, or take cpu"
            )
        return "cuda"
    return "cpu"
