"""Rivals that look at losses alone and remember: FAMO, DWA and uncertainty weighting, worked out by torchjd.

Each is a scalar made of the losses of all slots; a task's weight is that scalar's derivative with respect to its loss,
scaled to Σw = N over the minibatch. A slot that is not drawn stands there with its last loss, one that never was with
log n, the loss of chance.

FAMO compares each loss before and after the step on the very same batch, which would cost a second adaptation of every
task. Here the "after" is the slot's loss when it is drawn next, on other images. DWA compares epochs; an epoch here is
``EPOCH`` steps. Tasks that share a slot stand there with their mean loss.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rotogbml.homogenizer.rivals.method import Minibatch, torchjd
from rotogbml.homogenizer.slots import average_by_slot

EPOCH = 100
"""Steps that DWA averages a loss over."""
UNCERTAINTY_LR = 0.025
"""Step size of the log-variances, by plain SGD: a slot that is not drawn does not move. FAMO's own rate."""
LEAST = 1e-3
"""Losses are held above this: FAMO takes their logarithm, and DWA divides by them."""


class Losses(ABC):
    """What the three share: the slots' last losses, and weights as derivatives.

    Args:
        scalarizer: of torchjd, a function of the losses of all slots [S].
        slots: S.
        n_way: classes in a task.
    """

    needs_gram = False

    def __init__(self, scalarizer: Any, slots: int, n_way: int) -> None:
        self.scalarizer = scalarizer.double()
        self.last = torch.full((slots,), math.log(n_way), dtype=torch.float64)

    def weights(self, minibatch: Minibatch) -> Tensor:
        """Return the weights, [N], > 0, Σw = N."""
        values = self._with(minibatch)[0].requires_grad_()
        # On a copy: torchjd's own counts the losses that it is shown.
        (slope,) = torch.autograd.grad(copy.deepcopy(self.scalarizer)(values), values)
        w = slope[minibatch.index]
        return w * (len(w) / w.sum())

    def learn(self, minibatch: Minibatch) -> None:
        """Show the scalarizer this minibatch's losses."""
        values, drawn = self._with(minibatch)
        self._learn(values, drawn)
        self.last = values

    def state_dict(self) -> dict[str, Any]:
        """Return the last losses and what the scalarizer remembers."""
        return {"last": self.last.clone(), **self._memory()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a saved state."""
        self.last = state["last"].clone()
        self._remember(state)

    def _with(self, minibatch: Minibatch) -> tuple[Tensor, Tensor]:
        """Return the losses of all slots, those of the minibatch new, and which slots were drawn."""
        drawn, new, _ = average_by_slot(minibatch.losses, minibatch.index)
        values = self.last.clone()
        values[drawn] = torch.where(new.isfinite(), new, values[drawn]).clamp_min(LEAST)
        return values, drawn

    @abstractmethod
    def _learn(self, values: Tensor, drawn: Tensor) -> None:
        """Show the scalarizer the losses of all slots, and which of them are of this minibatch."""

    @abstractmethod
    def _memory(self) -> dict[str, Any]:
        """Return what the scalarizer remembers."""

    @abstractmethod
    def _remember(self, state: dict[str, Any]) -> None:
        """Take what it remembered."""


class Famo(Losses):
    """FAMO: weights by softmax of logits, which rise where a loss falls slower than the others."""

    def _learn(self, values: Tensor, drawn: Tensor) -> None:
        if self.scalarizer._prev_losses is not None:
            self.scalarizer.update(values)
        self.scalarizer(values)

    def _memory(self) -> dict[str, Any]:
        s = self.scalarizer
        adam = {} if s._optimizer is None else s._optimizer.state_dict()
        return {"logits": s._w.detach().clone(), "before": s._prev_losses, "adam": copy.deepcopy(adam)}

    def _remember(self, state: dict[str, Any]) -> None:
        s = self.scalarizer
        s.reset()
        with torch.no_grad():
            s._w.copy_(state["logits"])
        s._prev_losses = state["before"]
        if state["adam"]:
            s._optimizer = torch.optim.Adam([s._w], lr=s.lr, weight_decay=s.weight_decay)
            s._optimizer.load_state_dict(copy.deepcopy(state["adam"]))


class Dwa(Losses):
    """Dynamic weight average: softmax of how slowly each loss fell from one epoch to the next."""

    def _learn(self, values: Tensor, drawn: Tensor) -> None:
        self.scalarizer(values)
        if self.scalarizer._n_batches == EPOCH:
            self.scalarizer.step()

    def _memory(self) -> dict[str, Any]:
        s = self.scalarizer
        return {"sum": s._loss_sum, "steps": s._n_batches, "epochs": list(s._previous_averages)}

    def _remember(self, state: dict[str, Any]) -> None:
        s = self.scalarizer
        s._loss_sum, s._n_batches, s._previous_averages = state["sum"], state["steps"], list(state["epochs"])


class Uncertainty(Losses):
    """Uncertainty weighting: ½ e^{−s} L + ½ s, with s learned by SGD; at rest e^s = L."""

    def _learn(self, values: Tensor, drawn: Tensor) -> None:
        s = self.scalarizer.log_var
        (gradient,) = torch.autograd.grad(self.scalarizer(values), s)
        with torch.no_grad():
            s[drawn] -= UNCERTAINTY_LR * gradient[drawn]

    def _memory(self) -> dict[str, Any]:
        return {"log_var": self.scalarizer.log_var.detach().clone()}

    def _remember(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self.scalarizer.log_var.copy_(state["log_var"])


SPECS: dict[str, Callable[[int, int], Losses]] = {
    "famo": lambda slots, n_way: Famo(torchjd("scalarization", "famo").FAMO(slots), slots, n_way),
    "dwa": lambda slots, n_way: Dwa(torchjd("scalarization", "dwa").DWA(), slots, n_way),
    "uncertainty": lambda slots, n_way: Uncertainty(torchjd("scalarization", "uncertainty").UW(slots), slots, n_way),
}
