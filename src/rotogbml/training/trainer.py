"""The outer loop around Algorithm 1's iteration: log, validate, save, stop, go on.

The state of a run is ψ, Adam, ω and γ, the step, the best validation so far, the unfinished line of metrics, and what
hard tasks are drawn from, if there are any (``episodes/hard.py``). All other episodes, augmentation and masks are pure
functions of (seed, step), so nothing else is needed to go on to the bit.

Of several processes each holds the whole state and takes the same steps; the first alone reads and writes files, looks
at the clock and speaks. Nothing that is saved knows how many there are.
"""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from typing import Any

import torch

from rotogbml.episodes import HardSampler
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.learners import Psi
from rotogbml.memory import saying_what_to_lower
from rotogbml.training import checkpoint
from rotogbml.training.assemble import Parts
from rotogbml.training.average import Average
from rotogbml.training.interrupt import Interrupted, Watch
from rotogbml.training.outer import create_optimizer, set_rate
from rotogbml.training.prefetch import Prefetch, idle_core
from rotogbml.training.profile import NO_PROFILE, NoProfile, span
from rotogbml.training.progress import TrainingProgress
from rotogbml.training.recorder import Recorder
from rotogbml.training.run import RunFolder
from rotogbml.training.step import meta_step

log = logging.getLogger(__name__)

LOWER = (
    ": lower --learner.inner_steps, --episodes.n_query or --encoder.width, take --learner.first_order true or "
    "--learner.checkpoint true where the learner has them, or pack smaller images; the last checkpoint is kept"
)
"""What to do where memory runs out."""


class Trainer:
    """A run in progress.

    Args:
        parts: sources, sampler, learner, homogenizer, ISI, validation.
        folder: where metrics and checkpoints go; a state found there is taken up.
    """

    def __init__(self, parts: Parts, folder: RunFolder) -> None:
        self.parts, self.folder, self.config = parts, folder, parts.config
        self.psi: Psi = parts.learner.network.psi()
        self.ranks = parts.ranks
        self.optimizer = create_optimizer(self.config.outer, parts.learner, self.psi)
        self.average = Average(self.config.outer.average or 0.0, parts.learner.learned())
        self.recorder = Recorder(folder.path, self.ranks)
        self.hard = parts.sampler if isinstance(parts.sampler, HardSampler) else None
        self.told: set[str] = set()
        self.step = 0
        self.best = -math.inf
        self.kept: list[tuple[float, int]] = []
        """Validation accuracy and step of the checkpoints that are kept for an ensemble, the best first."""
        self.seconds = 0.0
        saved = self.ranks.agree(self._newest)
        self.ranks.together(self.recorder.rewind if saved is None else partial(self.load_state_dict, saved))

    def _newest(self) -> dict[str, Any] | None:
        saved = checkpoint.newest(self.folder.checkpoints)
        if saved is not None and saved["format"] < checkpoint.FORMAT:
            raise UsageError(
                f"the run in {self.folder.path} was begun by an earlier version, whose masks were drawn otherwise: it "
                "can be evaluated, but not gone on with. Start in another --out"
            )
        return saved

    def state_dict(self) -> dict[str, Any]:
        """Return all that going on needs."""
        return {
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
            "kept": [list(pair) for pair in self.kept],
            **self._moved(),
            "recorder": self.recorder.state_dict(),
            **({} if self.hard is None else {"hard": self.hard.state_dict()}),
        }

    def _moved(self) -> dict[str, Any]:
        """Return all that a step moves."""
        return {
            **self._learned(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "homogenizer": self.parts.homogenizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state.

        Raises:
            RotogbmlError: it was made by another configuration.
        """
        self._take(state)
        self.recorder.load_state_dict(state["recorder"])
        if self.hard is not None:
            self.hard.load_state_dict(state["hard"])
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]
        self.kept = [(accuracy, step) for accuracy, step in state["kept"]]

    def _take(self, state: dict[str, Any]) -> None:
        for room, group in self.parts.learner.learned().items():
            fill(group, state.get(room, {}), self.folder.checkpoints)
        self.average.load_state_dict(state.get("average", {}), self.parts.learner.learned())
        self.optimizer.load_state_dict(state["optimizer"])
        self.parts.homogenizer.load_state_dict(state["homogenizer"])

    def digest(self) -> str:
        """Return a digest of weights, Adam, ω, γ and metrics: what two equal runs share, and no clock."""
        state = {k: v for k, v in self.state_dict().items() if k != "seconds"}
        metrics = self.recorder.metrics
        return checkpoint.digest([state, metrics.read_text(encoding="utf-8") if metrics.exists() else ""])

    def fit(self, profile: NoProfile = NO_PROFILE) -> None:
        """Train to the configured number of steps or minutes; ``profile`` is told of every step.

        Raises:
            Interrupted: a signal came; the state is saved.
            RotogbmlError: a loss is not finite, or memory or disk are full; the last checkpoint is kept.
        """
        c, outer, ranks = self.config, self.config.outer, self.ranks
        began, saved_at, logged_at = time.monotonic() - self.seconds, time.monotonic(), (self.step, time.monotonic())
        shown = TrainingProgress(c.steps, c.minutes, self.step, silent=not ranks.first)
        draw = partial(self.parts.sampler.batch, tasks=ranks.share(c.episodes.tasks_per_batch))
        ahead = Prefetch(draw, idle_core(self.parts.device, ranks.world), c.steps)
        with Watch() as watch, shown, saying_what_to_lower(LOWER), ahead, profile:
            if self.step == 0:  # whatever happens from here on, there is a checkpoint
                self.save()
            while not self._done():
                with span("data"):
                    episodes = tuple(e.to(self.parts.device) for e in ahead(self.step))
                progress = self._progress()
                set_rate(self.optimizer, outer, self.parts.learner, progress)
                record = meta_step(self.parts.at(progress), self.psi, self.optimizer, episodes, self.step)
                if self.hard is not None:
                    self.hard.collect(self.step, record.sources, record.failures)
                self._tell_solver(record.notes)
                self.step += 1
                self.average.add(self.parts.learner.learned(), self.step)
                self.recorder.add(record)
                profile.step()
                now = time.monotonic()
                heard = ranks.each([watch.stop, now - began, now - saved_at > outer.checkpoint_seconds])
                stop, self.seconds, due = any(asked for asked, *_ in heard), heard[0][1], heard[0][2]

                rate = (self.step - logged_at[0]) * c.episodes.tasks_per_batch / max(now - logged_at[1], 1e-9)
                loss, accuracy = (sum(values) / len(values) for values in (record.losses, record.accuracies))
                if self.step % outer.log_every == 0 or self._done():
                    loss, accuracy = ranks.agree(partial(self._log, rate))
                    logged_at = (self.step, now)
                shown.update(self.step, loss, accuracy, rate, self.seconds, self._left(rate))

                if self.parts.validation and (self.step % outer.validate_every == 0 or self._done()):
                    shown.validation(*self.validate())
                    self.save()
                    saved_at = time.monotonic()
                elif due:
                    self.save()
                    saved_at = time.monotonic()

                if stop and not self._done():
                    self.save()
                    raise ranks.shared(
                        Interrupted(f"stopped at step {self.step}, saved: run the same command again to go on")
                    )
        self.save()

    def _log(self, rate: float) -> tuple[float, float]:
        """Write a line of metrics and one of timing; return the interval's mean loss and accuracy."""
        line = self.recorder.line(self.step, self.parts.homogenizer.omega())
        self.recorder.write(line)
        self.recorder.time(self.step, self.seconds, rate)
        return line["loss"], line["accuracy"]

    def validate(self) -> tuple[float, float]:
        """Validate, write the line, keep ψ as ``best.pt`` if it is the best yet; return mean and 95 % half width."""
        found = self.parts.validation(self.parts.learner, self.psi, self.ranks)
        return self.ranks.agree(partial(self._validated, *found))

    def _validated(self, mean: float, ci95: float, by_source: dict[str, float]) -> tuple[float, float]:
        better = mean > self.best
        if better:
            self.best = mean
            self._save_best()
        self._keep(mean)
        self.recorder.write(
            {
                "kind": "val",
                "step": self.step,
                "accuracy": mean,
                "ci95": ci95,
                "episodes": self.parts.validation.episodes,
                "best": better,
                "sources": by_source,
            }
        )
        return mean, ci95

    def save(self) -> None:
        """Write ``last.pt``; the one before becomes ``previous.pt``. What it says of the metrics is on disk by then."""
        self._align()
        self.ranks.agree(self._save)

    def _save(self) -> None:
        self.recorder.sync()
        checkpoint.save(self.folder.checkpoints / "last.pt", self.state_dict(), keep_previous=True)
        if self.average:
            checkpoint.save(self.folder.checkpoints / "averaged.pt", {"step": self.step, **self.average.state_dict()})
        if not self.parts.validation:  # without validation the latest is the best there is
            self._save_best()

    def _align(self) -> None:
        """Take process 0's numbers where those of another one have come to differ: processors of other kinds do that.

        Of processors of one kind they are equal to the bit.
        """
        if self.ranks.world == 1:
            return
        digests = self.ranks.gather(lambda: [checkpoint.digest(self._moved())], self.ranks.world)
        if len(set(digests)) > 1:
            if self.ranks.first and "apart" not in self.told:
                log.warning(
                    "step %d: process %d rounds otherwise than process 0; at each checkpoint process 0's numbers are "
                    "taken, so that this run depends on when it is saved",
                    *(self.step, next(i for i, digest in enumerate(digests) if digest != digests[0])),
                )
            self.told.add("apart")
            self._take(self.ranks.agree(self._moved))

    def _save_best(self) -> None:
        checkpoint.save(self.folder.checkpoints / "best.pt", {"step": self.step, **self._learned()})

    def _keep(self, accuracy: float) -> None:
        """Keep this state among the best few, for an ensemble at test."""
        most = self.config.outer.keep_best or 1
        if most == 1:
            return
        self.kept = sorted([*self.kept, (accuracy, self.step)], key=lambda pair: (-pair[0], pair[1]))[:most]
        if (accuracy, self.step) in self.kept:
            checkpoint.save(self.folder.kept(self.step), {"step": self.step, **self._learned()})
        steps = {step for _, step in self.kept}
        for path in self.folder.checkpoints.glob("kept-*.pt"):
            if path not in {self.folder.kept(step) for step in steps}:
                path.unlink()

    def _learned(self) -> dict[str, dict[str, torch.Tensor]]:
        learned = self.parts.learner.learned()
        return {room: {name: p.detach() for name, p in group.items()} for room, group in learned.items()}

    def _progress(self) -> float:
        """Return the share of training that is done, 0 … 1, by steps or by the clock, whichever is further."""
        c = self.config
        by_steps = 0.0 if c.steps is None else self.step / max(1, c.steps)
        return max(by_steps, 0.0 if c.minutes is None else self.seconds / (60 * c.minutes))

    def _tell_solver(self, notes: dict[str, float]) -> None:
        """Say once that conjugate gradient does not converge, or meets negative curvature."""
        if not self.ranks.first:
            return
        if notes.get("cg_negative_curvature") and "curvature" not in self.told:
            self.told.add("curvature")
            log.warning(
                "step %d: the inner problem is not convex at its solution (negative curvature), so conjugate gradient "
                "stopped early: raise --learner.lam or --learner.cg_damping",
                self.step,
            )
        if notes.get("cg_unconverged") and "residual" not in self.told:
            self.told.add("residual")
            log.warning(
                "step %d: conjugate gradient stopped at a relative residual of %.2g, above --learner.cg_tolerance: "
                "raise --learner.cg_steps or --learner.lam; metrics.jsonl keeps the residuals",
                *(self.step, notes["cg_residual"]),
            )

    def _done(self) -> bool:
        c = self.config
        by_steps = c.steps is not None and self.step >= c.steps
        return by_steps or (c.minutes is not None and self.seconds >= 60 * c.minutes)

    def _left(self, rate: float) -> float:
        """Return the seconds that are left, by steps or by the clock, whichever ends first."""
        c = self.config
        by_clock = math.inf if c.minutes is None else 60 * c.minutes - self.seconds
        by_steps = math.inf if c.steps is None else (c.steps - self.step) * c.episodes.tasks_per_batch / rate
        return max(0.0, min(by_clock, by_steps))


@torch.no_grad()
def fill(group: dict[str, torch.Tensor], saved: dict[str, torch.Tensor], where: object) -> None:
    """Copy saved tensors into parameters.

    Raises:
        RotogbmlError: names or shapes differ.
    """
    there = {name: tuple(p.shape) for name, p in saved.items()}
    here = {name: tuple(p.shape) for name, p in group.items()}
    if there != here:
        name = next(name for name in [*here, *there] if there.get(name) != here.get(name))
        raise RotogbmlError(
            f"the checkpoint in {where} is of another configuration ({name} is {there.get(name)} there, "
            f"{here.get(name)} here): use the configuration beside it"
        )
    for name, p in group.items():
        p.copy_(saved[name])
