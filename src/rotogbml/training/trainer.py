"""The outer loop around Algorithm 1's iteration: log, validate, save, stop, go on.

Of several processes each takes the same steps; the first alone looks at the clock and speaks. What a run goes on from
is its state (``state.py``).
"""

from __future__ import annotations

import logging
import math
import time
from functools import partial

from rotogbml.memory import saying_what_to_lower
from rotogbml.training.assemble import Parts
from rotogbml.training.interrupt import Interrupted, Watch
from rotogbml.training.outer import set_rate
from rotogbml.training.prefetch import Prefetch, idle_core
from rotogbml.training.profile import NO_PROFILE, NoProfile, span
from rotogbml.training.progress import TrainingProgress
from rotogbml.training.run import RunFolder
from rotogbml.training.state import AVERAGED, LAST, State
from rotogbml.training.step import meta_step
from rotogbml.training.validation import Judged

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
        self.parts, self.config, self.ranks = parts, parts.config, parts.ranks
        self.state = State(parts, folder)
        self.told: set[str] = set()

    def fit(self, profile: NoProfile = NO_PROFILE) -> None:
        """Train to the configured number of steps or minutes; ``profile`` is told of every step.

        Raises:
            Interrupted: a signal came; the state is saved.
            RotogbmlError: a loss is not finite, or memory or disk are full; the last checkpoint is kept.
        """
        c, outer, ranks, state = self.config, self.config.outer, self.ranks, self.state
        began, saved_at, logged_at = time.monotonic() - state.seconds, time.monotonic(), (state.step, time.monotonic())
        shown = TrainingProgress(c.steps, c.minutes, state.step, silent=not ranks.first)
        draw = partial(self.parts.sampler.batch, tasks=ranks.share(c.episodes.tasks_per_batch))
        ahead = Prefetch(draw, idle_core(self.parts.device, ranks.world), c.steps)
        with Watch() as watch, shown, saying_what_to_lower(LOWER), ahead, profile:
            if state.step == 0:  # whatever happens from here on, there is a checkpoint
                state.save()
            while not self._done():
                with span("data"):
                    episodes = tuple(e.to(self.parts.device) for e in ahead(state.step))
                progress = self._progress()
                set_rate(state.optimizer, outer, self.parts.learner, progress)
                record = meta_step(self.parts.at(progress), state.psi, state.optimizer, episodes, state.step)
                if state.hard is not None:
                    state.hard.collect(state.step, record.sources, record.failures)
                self._tell_solver(record.notes)
                state.step += 1
                state.average.add(self.parts.learner.learned(), state.step)
                state.recorder.add(record)
                profile.step()
                now = time.monotonic()
                heard = ranks.each([watch.stop, now - began, now - saved_at > outer.checkpoint_seconds])
                stop, state.seconds, due = any(asked for asked, *_ in heard), heard[0][1], heard[0][2]

                rate = (state.step - logged_at[0]) * c.episodes.tasks_per_batch / max(now - logged_at[1], 1e-9)
                loss, accuracy = (sum(values) / len(values) for values in (record.losses, record.accuracies))
                if state.step % outer.log_every == 0 or self._done():
                    loss, accuracy = ranks.agree(partial(self._log, rate))
                    logged_at = (state.step, now)
                shown.update(state.step, loss, accuracy, rate, state.seconds, self._left(rate))

                if self.parts.validation and (state.step % outer.validate_every == 0 or self._done()):
                    judged = self.validate()
                    shown.validation(judged.mean, judged.ci95)
                    state.save()
                    saved_at = time.monotonic()
                elif due:
                    state.save()
                    saved_at = time.monotonic()

                if stop and not self._done():
                    state.save()
                    raise ranks.shared(
                        Interrupted(f"stopped at step {state.step}, saved: run the same command again to go on")
                    )
        state.save()

    def _log(self, rate: float) -> tuple[float, float]:
        """Write a line of metrics and one of timing; return the interval's mean loss and accuracy."""
        state = self.state
        homogenizer = self.parts.homogenizer
        line = state.recorder.line(state.step, homogenizer.omega(), homogenizer.gamma())
        state.recorder.write(line)
        state.recorder.time(state.step, state.seconds, rate)
        return line["loss"], line["accuracy"]

    def validate(self) -> Judged:
        """Validate ψ and its running mean ψ̄, write the line, keep the better as ``best.pt`` if it is the best yet.

        Returns:
            Of ψ: mean, 95 % half width, the mean of each source.
        """
        validation, learner, state = self.parts.validation, self.parts.learner, self.state
        found = {LAST: validation(learner, state.psi, self.ranks)}
        if state.average:
            with state.average.in_place_of(learner.learned()):
                found[AVERAGED] = validation(learner, state.psi, self.ranks)
        return self.ranks.agree(partial(self._validated, found))

    def _validated(self, found: dict[str, Judged]) -> Judged:
        state = self.state
        better = state.judged({weights: judged.mean for weights, judged in found.items()})
        line = {"kind": "val", "step": state.step, **found[LAST].line(), "episodes": self.parts.validation.episodes}
        if AVERAGED in found:
            line[AVERAGED] = found[AVERAGED].line()
        state.recorder.write(line | {"best": better})
        return found[LAST]

    def _progress(self) -> float:
        """Return the share of training that is done, 0 … 1, by steps or by the clock, whichever is further."""
        c = self.config
        by_steps = 0.0 if c.steps is None else self.state.step / max(1, c.steps)
        return max(by_steps, 0.0 if c.minutes is None else self.state.seconds / (60 * c.minutes))

    def _done(self) -> bool:
        c = self.config
        by_steps = c.steps is not None and self.state.step >= c.steps
        return by_steps or (c.minutes is not None and self.state.seconds >= 60 * c.minutes)

    def _left(self, rate: float) -> float:
        """Return the seconds that are left, by steps or by the clock, whichever ends first."""
        c = self.config
        by_clock = math.inf if c.minutes is None else 60 * c.minutes - self.state.seconds
        by_steps = math.inf if c.steps is None else (c.steps - self.state.step) * c.episodes.tasks_per_batch / rate
        return max(0.0, min(by_clock, by_steps))

    def _tell_solver(self, notes: dict[str, float]) -> None:
        """Say once that conjugate gradient does not converge, or meets negative curvature."""
        if not self.ranks.first:
            return
        if notes.get("cg_negative_curvature") and "curvature" not in self.told:
            self.told.add("curvature")
            log.warning(
                "step %d: the inner problem is not convex at its solution (negative curvature), so conjugate gradient "
                "stopped early: raise --learner.lam or --learner.cg_damping",
                self.state.step,
            )
        if notes.get("cg_unconverged") and "residual" not in self.told:
            self.told.add("residual")
            log.warning(
                "step %d: conjugate gradient stopped at a relative residual of %.2g, above --learner.cg_tolerance: "
                "raise --learner.cg_steps or --learner.lam; metrics.jsonl keeps the residuals",
                *(self.state.step, notes["cg_residual"]),
            )
