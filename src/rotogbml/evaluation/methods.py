"""What is put beside what: a run, the same network untrained, and no network at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from rotogbml import method_presets
from rotogbml.config import RunConfig
from rotogbml.episodes import Episode
from rotogbml.errors import UsageError
from rotogbml.evaluation import stacked
from rotogbml.evaluation.frozen import Frozen, Remembered, stands_still, still
from rotogbml.learners import HEADS, Learner, Psi
from rotogbml.methods import Compared
from rotogbml.training import checkpoint
from rotogbml.training.assemble import build
from rotogbml.training.naming import method_name
from rotogbml.training.run import RunFolder
from rotogbml.training.state import AVERAGED

PIXELS = "nearest prototype on pixels"
UNTRAINED = "untrained encoder"
ENSEMBLE = "ensemble"
"""As a checkpoint: the best few by validation together."""


Judge = Callable[[Tensor], Tensor]
"""Scores images: [q, 3, size, size] → [q, n_way]."""


class Method(Protocol):
    """Scores the queries of an episode after seeing its support."""

    def scores(self, episode: Episode) -> Tensor:
        """Return [q, n_way]; the largest of a row is the prediction, softmax of a row are the probabilities."""
        ...

    def ready(self, episode: Episode) -> Judge:
        """Adapt to the support as to one never met, nothing remembered, and return what then scores images."""
        ...

    def together(self, images: int, size: int) -> int:
        """Return how many episodes of so many support images of ``size`` it takes at once, of ``stacked.SIZES``."""
        ...

    def of_all(self, episodes: Sequence[Episode]) -> list[Tensor]:
        """Return the scores of each of so many episodes, of equal sizes; to rounding those of ``scores``."""
        ...


@dataclass(frozen=True)
class Adapted:
    """A learner and an initialisation: adapt on the support, predict. ISI, ω and γ have no part in it.

    Or a compared method and its weights: judge by the support.
    """

    learner: Learner | Compared
    psi: Psi
    step: int
    """Meta-training steps behind ψ."""

    def scores(self, episode: Episode) -> Tensor:
        """Return c_{φ^τ}(f_{θ^τ}(x^q))."""
        return self.learner.predict(self.psi, episode) if self.still is None else self.still.predict(episode)

    def ready(self, episode: Episode) -> Judge:
        """Return the adapted c_{φ^τ}(f_{θ^τ}(·))."""
        return self.learner.ready(self.psi, episode)

    @cached_property
    def still(self) -> Frozen | Remembered | None:
        """The same on features, where the encoder stands still."""
        return still(self.learner, self.psi) if stands_still(self.learner) else None

    @property
    def norm(self) -> str:
        """The norm policy as a row names it."""
        if isinstance(self.learner, Compared):
            return self.learner.norm
        return self.learner.network.encoder.norm + (
            ", each query beside the support" if self.learner.judges_alone else ""
        )

    def steps_on(self, images: int) -> int:
        """Return the gradient steps that a test takes on so many support images."""
        return self.learner.steps(images) if isinstance(self.learner, Compared) else self.learner.test_steps

    def together(self, images: int, size: int) -> int:
        """Return how many tasks adapt side by side."""
        return (
            1
            if isinstance(self.learner, Compared) or self.still is not None
            else stacked.stack_size(self.learner, images, size)
        )

    def of_all(self, episodes: Sequence[Episode]) -> list[Tensor]:
        """Return c_{φ^τ}(f_{θ^τ}(x^q)) of each."""
        if len(episodes) == 1 or isinstance(self.learner, Compared):
            return [self.scores(episode) for episode in episodes]
        return stacked.predict(self.learner, self.psi, episodes)


@dataclass(frozen=True)
class Ensemble(Adapted):
    """Several checkpoints of one run, each adapted by itself: the mean of their probabilities (MAML++).

    Its scores are the logarithms of that mean, in double (no two means become one), whose softmax it is again.
    """

    members: tuple[Adapted, ...] = ()

    def scores(self, episode: Episode) -> Tensor:
        """Return log of the mean over members of softmax c(f(x^q))."""
        return self.of_all([episode])[0]

    def ready(self, episode: Episode) -> Judge:
        """Adapt every member."""
        judges = [member.ready(episode) for member in self.members]
        return lambda x: _log_mean([judge(x) for judge in judges])

    def of_all(self, episodes: Sequence[Episode]) -> list[Tensor]:
        """Return log of the mean over members of softmax c(f(x^q)) of each."""
        of_members = zip(*(member.of_all(episodes) for member in self.members), strict=True)
        return [_log_mean(each) for each in of_members]


def _log_mean(scores: Sequence[Tensor]) -> Tensor:
    return torch.stack([each.softmax(1) for each in scores]).mean(0).double().log()


class PixelPrototypes:
    """The class whose mean support image is nearest, in normalised pixels."""

    def scores(self, episode: Episode) -> Tensor:
        """Return minus the squared distance to each class's mean."""
        return self.ready(episode)(episode.query.x)

    def ready(self, episode: Episode) -> Judge:
        """Take the means."""
        support = episode.support.x.flatten(1)
        means = torch.stack([support[episode.support.y == c].mean(0) for c in range(episode.n_way)])
        return lambda x: -torch.cdist(x.flatten(1), means).square()

    def together(self, images: int, size: int) -> int:
        """Return 1: nothing adapts."""
        return 1

    def of_all(self, episodes: Sequence[Episode]) -> list[Tensor]:
        """Return the scores of each."""
        return [self.scores(episode) for episode in episodes]


@dataclass(frozen=True)
class Spec:
    """A method by name, small enough to hand to another process."""

    kind: Literal["run", "untrained", "pixels"]
    run: str = ""
    checkpoint: str = "best"
    test_steps: int | None = None

    def config(self) -> RunConfig:
        """Return the run's configuration."""
        return RunFolder(Path(self.run)).read_config()

    @property
    def name(self) -> str:
        """What a result row calls it."""
        if self.kind != "run":
            return {"pixels": PIXELS, "untrained": UNTRAINED}[self.kind]
        name = method_name(self.config())
        if self.checkpoint == AVERAGED:
            return f"{name}, averaged"
        return f"{name}, ensemble of {len(self.paths())} checkpoints" if self.checkpoint == ENSEMBLE else name

    def paths(self) -> list[Path]:
        """Return the checkpoints behind it: one, or several of an ensemble.

        Raises:
            UsageError: an ensemble of a run that kept no checkpoints for one.
        """
        folder = RunFolder(Path(self.run))
        if self.checkpoint == AVERAGED and not self.config().outer.average:
            raise UsageError(f"{self.run} keeps no running mean of its weights: train with --outer.average 0.998")
        if self.checkpoint != ENSEMBLE:
            return [folder.checkpoints / f"{self.checkpoint}.pt"]
        kept = sorted(folder.checkpoints.glob("kept-*.pt"))
        if len(kept) < 2:
            raise UsageError(
                f"{self.run} keeps {len(kept)} checkpoints, an ensemble needs at least 2: train with "
                "--outer.keep_best 5 and sources that have validation classes"
            )
        return kept


@lru_cache(maxsize=8)
def load(spec: Spec, size: int) -> Method:
    """Return the method for images of ``size`` pixels.

    Raises:
        UsageError: the run was trained on another image size.
        RotogbmlError: its checkpoint is absent, damaged, or of another configuration.
    """
    if spec.kind == "pixels":
        return PixelPrototypes()
    folder = RunFolder(Path(spec.run))
    trained_size = folder.read_record().get("size", size)
    if trained_size != size:
        raise UsageError(
            f"{spec.run} was trained on images of {trained_size} px, the target has {size} px: "
            f"pack the target with --size {trained_size}"
        )
    if spec.kind == "untrained":
        learner = build(spec.config(), size, spec.test_steps, folder.read_record().get("classes"))
        return Adapted(learner, learner.network.psi(), 0)
    members = [_from_checkpoint(spec, size, path) for path in spec.paths()]
    last = max(members, key=lambda member: member.step)
    return last if len(members) == 1 else Ensemble(last.learner, last.psi, last.step, tuple(members))


def _from_checkpoint(spec: Spec, size: int, path: Path) -> Adapted:
    classes = RunFolder(Path(spec.run)).read_record().get("classes")
    learner = build(spec.config(), size, spec.test_steps, classes)
    state = checkpoint.load(path)
    for room, group in learner.learned().items():
        checkpoint.fill(group, state.get(room, {}), path)
    return Adapted(learner, learner.network.psi(), state["step"])


def run_names(runs: Sequence[str]) -> dict[str, str]:
    """Return what to call each run: its folder's name, behind as many folders above it as tell the runs apart."""
    parts = {run: Path(run).resolve().parts for run in runs}
    depth = 1
    while len({each[-depth:] for each in parts.values()}) < len(set(parts.values())):
        depth += 1
    return {run: "/".join(each[-depth:]) for run, each in parts.items()}


def shown_names(specs: Sequence[Spec], runs: Mapping[str, str]) -> dict[Spec, str]:
    """Return what tables call each method: its name, and its run where two runs' methods have the same.

    Args:
        specs: the methods that stand side by side.
        runs: what to call each run.
    """
    names = {spec: spec.name for spec in specs}
    count = Counter(names.values())
    return {spec: name if count[name] == 1 else f"{name} ({runs[spec.run]})" for spec, name in names.items()}


def check_head(config: RunConfig, run: str, n_way: int) -> None:
    """Raise UsageError where the head cannot serve ``n_way`` classes."""
    name = config.method.name
    if name is not None and name not in method_presets.BOUND:
        return
    head = config.head or "linear"
    if n_way != config.episodes.n_way and not HEADS[head].any_way:
        free = ", ".join(name for name in sorted(HEADS) if HEADS[name].any_way)
        other = "" if name is not None else f", or with a --head that serves any n_way ({free})"
        raise UsageError(
            f"{run} was trained {config.episodes.n_way}-way and its {head} head has one row for each of those classes: "
            f"it cannot be tested {n_way}-way. Train with --episodes.n_way {n_way}{other}; or test "
            f"{config.episodes.n_way}-way (without --n_way)"
        )
