"""The state of a run, and the checkpoints that hold it.

It is ψ, Adam, ω and γ, the step, the best validation so far, the unfinished line of metrics, and what hard tasks are
drawn from, if there are any (``episodes/hard.py``). All other episodes, augmentation and masks are pure functions of
(seed, step), so nothing else is needed to go on to the bit.

Of several processes each holds the whole state; the first alone reads and writes files. Nothing that is saved knows how
many there are.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from rotogbml.episodes import HardSampler
from rotogbml.errors import UsageError
from rotogbml.learners import Psi
from rotogbml.training import checkpoint
from rotogbml.training.assemble import Parts
from rotogbml.training.average import Average
from rotogbml.training.outer import create_optimizer
from rotogbml.training.recorder import Recorder
from rotogbml.training.run import RunFolder

log = logging.getLogger(__name__)

LAST, AVERAGED = "last", "averaged"
"""What validation judges: ψ, and the running mean of it."""


class State:
    """All that a run goes on from.

    Args:
        parts: sampler, learner, homogenizer, validation, processes.
        folder: where metrics and checkpoints go; a state found there is taken up.

    Raises:
        UsageError: what is found there was begun by an earlier version.
        RotogbmlError: it was made by another configuration.
    """

    def __init__(self, parts: Parts, folder: RunFolder) -> None:
        self.parts, self.folder, self.ranks = parts, folder, parts.ranks
        outer = parts.config.outer
        self.psi: Psi = parts.learner.network.psi()
        self.optimizer = create_optimizer(outer, parts.learner, self.psi)
        self.average = Average(outer.average or 0.0, parts.learner.learned())
        self.recorder = Recorder(folder.path, self.ranks)
        self.hard = parts.sampler if isinstance(parts.sampler, HardSampler) else None
        self.step = 0
        self.best = -math.inf
        self.kept: list[tuple[float, int]] = []
        """Validation accuracy and step of the checkpoints that are kept for an ensemble, the best first."""
        self.seconds = 0.0
        self._told_apart = False
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
            **self.moved(),
            "recorder": self.recorder.state_dict(),
            **({} if self.hard is None else {"hard": self.hard.state_dict()}),
        }

    def moved(self) -> dict[str, Any]:
        """Return all that a step moves."""
        return {
            **self._learned(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "homogenizer": self.parts.homogenizer.state_dict(),
        }

    def _learned(self) -> dict[str, dict[str, torch.Tensor]]:
        learned = self.parts.learner.learned()
        return {room: {name: p.detach() for name, p in group.items()} for room, group in learned.items()}

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
            checkpoint.fill(group, state.get(room, {}), self.folder.checkpoints)
        self.average.load_state_dict(state.get("average", {}), self.parts.learner.learned())
        self.optimizer.load_state_dict(state["optimizer"])
        self.parts.homogenizer.load_state_dict(state["homogenizer"])

    def digest(self) -> str:
        """Return a digest of weights, Adam, ω, γ and metrics: what two equal runs share, and no clock."""
        state = {k: v for k, v in self.state_dict().items() if k != "seconds"}
        metrics = self.recorder.metrics
        return checkpoint.digest([state, metrics.read_text(encoding="utf-8") if metrics.exists() else ""])

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
        digests = self.ranks.gather(lambda: [checkpoint.digest(self.moved())], self.ranks.world)
        if len(set(digests)) > 1:
            if self.ranks.first and not self._told_apart:
                log.warning(
                    "step %d: process %d rounds otherwise than process 0; at each checkpoint process 0's numbers are "
                    "taken, so that this run depends on when it is saved",
                    *(self.step, next(i for i, digest in enumerate(digests) if digest != digests[0])),
                )
            self._told_apart = True
            self._take(self.ranks.agree(self.moved))

    def judged(self, accuracy: Mapping[str, float]) -> str | None:
        """Keep what validation likes best as ``best.pt`` if it found none better, and ψ among the few for an ensemble.

        Args:
            accuracy: of validation, mean, 0 … 1: of ψ, ``last``, and of its running mean, ``averaged``, if there is
                one. Of equals ψ is taken.

        Returns:
            Which of them is the best yet; None: neither.
        """
        weights = max(accuracy, key=lambda kind: (accuracy[kind], kind == LAST))
        better = accuracy[weights] > self.best
        if better:
            self.best = accuracy[weights]
            self._save_best(weights)
        self._keep(accuracy[LAST])
        return weights if better else None

    def _save_best(self, weights: str = LAST) -> None:
        kept = self.average.state_dict() if weights == AVERAGED else self._learned()
        checkpoint.save(self.folder.checkpoints / "best.pt", {"step": self.step, "weights": weights, **kept})

    def _keep(self, accuracy: float) -> None:
        """Keep this state among the best few, for an ensemble at test."""
        most = self.parts.config.outer.keep_best or 1
        if most == 1:
            return
        self.kept = sorted([*self.kept, (accuracy, self.step)], key=lambda pair: (-pair[0], pair[1]))[:most]
        if (accuracy, self.step) in self.kept:
            checkpoint.save(self.folder.kept(self.step), {"step": self.step, **self._learned()})
        steps = {step for _, step in self.kept}
        for path in self.folder.checkpoints.glob("kept-*.pt"):
            if path not in {self.folder.kept(step) for step in steps}:
                path.unlink()
