"""Rivals that look at the angles between the tasks' encoder gradients: weights from ⟨g_i, g_j⟩, worked out by torchjd.

Their weights depend on ratios alone, so the Gramian is first divided by its mean diagonal: torchjd's small constants
then mean the same in the first step and the last. Those that torchjd words as a *sum* of altered gradients (PCGrad,
GradVac, ConFIG) are divided by N here, so that gradients that do not conflict give the plain mean.

Nash-MTL knows its own scale (it caps the length of the step at 1) and sees the Gramian as it is. Its solver is warm-
started from the last minibatch in torchjd; here every minibatch is other tasks, and a game of its own.
"""

from __future__ import annotations

import copy
import itertools
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rotogbml.errors import UsageError
from rotogbml.homogenizer.rivals.draws import drawing_from
from rotogbml.homogenizer.rivals.method import Memoryless, Minibatch, torchjd

CAGRAD_C = 0.5
"""CAGrad's radius: in the middle of its range, 0 being the mean and 1 nearly MGDA."""


class Spec(NamedTuple):
    """A weighting of torchjd and how its weights are to be read."""

    make: Callable[[Any], Callable[[Tensor], Tensor]]
    """From ``torchjd.aggregation`` to a function of the Gramian."""
    sums: bool
    """Σ_i c_i g_i stands for a sum over tasks, not for a mean."""
    scaled: bool = True
    """Sees the Gramian divided by its mean diagonal."""


SPECS: dict[str, Spec] = {
    "pcgrad": Spec(lambda jd: jd.PCGradWeighting(), sums=True),
    "mgda": Spec(lambda jd: jd.MGDAWeighting(), sums=False),
    "cagrad": Spec(lambda jd: jd.CAGradWeighting(c=CAGRAD_C), sums=False),
    "upgrad": Spec(lambda jd: jd.UPGradWeighting(), sums=False),
    "dualproj": Spec(lambda jd: jd.DualProjWeighting(), sums=False),
    "aligned-mtl": Spec(lambda jd: jd.AlignedMTLWeighting(), sums=False),
    "imtl-g": Spec(lambda jd: jd.IMTLGWeighting(), sums=False),
    "config": Spec(lambda jd: _through_root(jd.ConFIG()), sums=True),
    "nash-mtl": Spec(lambda jd: _nash(jd), sums=False, scaled=False),
}


class Gramian(Memoryless):
    """A weighting that has no memory.

    Args:
        name: one of ``SPECS``.

    Raises:
        UsageError: torchjd, or the solver that it takes, is not installed.
    """

    needs_gram = True

    def __init__(self, name: str) -> None:
        self.spec = SPECS[name]
        self.weighting = made(name, self.spec.make)

    def weights(self, minibatch: Minibatch) -> Tensor:
        """Return the weights, [N]."""
        gram = usable(minibatch, self.spec.scaled)
        n = len(gram)
        if n == 1 or not gram.diagonal().sum() > 0:  # nothing to settle; some solvers refuse both
            return torch.ones(n, dtype=gram.dtype)
        with drawing_from(minibatch.seed):
            c = self.weighting(gram).detach().double()
        return c if self.spec.sums else n * c


class GradVac:
    """Gradient Vaccine: cosines below their running target are raised to it. The target belongs to pairs of slots.

    Args:
        slots: S.

    Raises:
        UsageError: torchjd is not installed.
    """

    needs_gram = True

    def __init__(self, slots: int) -> None:
        self.weighting = made("gradvac", lambda jd: jd.GradVacWeighting())
        self.targets = torch.zeros(slots, slots, dtype=torch.float64)
        """φ̂ of every pair of slots."""

    def weights(self, minibatch: Minibatch) -> Tensor:
        """Return the weights, [N]; the targets stay as they are."""
        return self._run(minibatch)[0]

    def learn(self, minibatch: Minibatch) -> None:
        """Move the targets of the drawn pairs; of a pair of slots that is drawn twice the later tasks' counts."""
        targets, moved, drawn = self.targets.clone(), self._run(minibatch)[1], minibatch.index.tolist()
        for (i, a), (j, b) in itertools.product(enumerate(drawn), repeat=2):
            targets[a, b] = moved[i, j]
        self.targets = targets

    def _run(self, minibatch: Minibatch) -> tuple[Tensor, Tensor]:
        gram = usable(minibatch, scaled=True)
        n, weighting = len(gram), copy.deepcopy(self.weighting)
        # torchjd keeps targets by position and has no way to set them: two attributes of its own, of version 0.18.
        weighting._phi_t = self.targets[minibatch.index][:, minibatch.index].clone()
        weighting._state_key = (n, gram.dtype)
        if not gram.diagonal().sum() > 0:
            return torch.ones(n, dtype=gram.dtype), weighting._phi_t
        with drawing_from(minibatch.seed):
            c = weighting(gram)
        return c, weighting._phi_t

    def state_dict(self) -> dict[str, Any]:
        """Return the targets."""
        return {"targets": self.targets.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the targets."""
        self.targets = state["targets"].clone()


def made(name: str, make: Callable[[Any], Any]) -> Any:
    """Return a weighting of torchjd.

    Raises:
        UsageError: torchjd or a solver is not installed; the line that installs it is in the message.
    """
    try:
        return make(torchjd("aggregation", name))
    except ImportError as error:
        # torchjd spells its extras with underscores, which pip before 24 does not find.
        said = re.sub(r"\[\w+\]", lambda extra: extra[0].replace("_", "-"), str(error))
        raise UsageError(f"homogenizer.combine={name}: {said}") from error


def usable(minibatch: Minibatch, scaled: bool) -> Tensor:
    """Return the Gramian, of mean diagonal 1 where it is to be scaled."""
    gram = minibatch.gram
    if gram is None:
        raise ValueError("this rival needs the Gramian of the tasks' encoder gradients in TaskStatistics.gram")
    mean = gram.diagonal().mean()
    return gram / mean if scaled and mean > 0 else gram


def _root(gram: Tensor) -> Tensor:
    """Return a symmetric matrix S with S Sᵀ the Gramian: N gradients of length N with the same angles and lengths."""
    λ, V = torch.linalg.eigh(gram)
    return (V * λ.clamp_min(0).sqrt()) @ V.T


def _through_root(aggregator: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the weights of an aggregator that wants gradients and gives one in their span."""

    def weights(gram: Tensor) -> Tensor:
        S = _root(gram)
        return torch.linalg.pinv(S.T, rtol=1e-7) @ aggregator(S)

    return weights


def _nash(jd: Any) -> Callable[[Tensor], Tensor]:
    """Return Nash-MTL's weights as a function of the Gramian."""
    jd.NashMTL(n_tasks=2)  # its solver is looked for here

    def weights(gram: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You are solving a parameterized problem that is not DPP")
            return jd.NashMTL(n_tasks=len(gram)).weighting(_root(gram))

    return weights
