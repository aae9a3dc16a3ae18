"""What training asks of whatever it trains: a learner, or a compared method (``rotogbml.methods``)."""

from __future__ import annotations

from typing import Any, Protocol, Self

import torch
from torch import Tensor

from rotogbml.encoders.isi import Masks
from rotogbml.episodes import Episode
from rotogbml.learners.learner import Outcome
from rotogbml.learners.network import Network, Params, Psi
from rotogbml.learners.problem import Rotation


class Trainable(Protocol):
    """Takes a minibatch, gives gradients at ψ and α; judges an episode.

    What ``prepare`` is given is what the run's sampler draws, and what it returns is its own affair.
    """

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def network(self) -> Network:
        """Encoder and head, which hold ψ."""
        ...

    @property
    def alpha(self) -> Params:
        """What is learned beside ψ, by name."""
        ...

    @property
    def outer_scale(self) -> float:
        """What the outer step size is multiplied by."""
        ...

    def at(self, progress: float) -> Self:
        """Return it as it is when that share of training, 0 … 1, is done."""
        ...

    def learned(self) -> dict[str, Params]:
        """Return all that training changes, by group."""
        ...

    def to(self, device: torch.device) -> None:
        """Move everything that is learned."""
        ...

    def prepare(self, psi: Psi, episode: Any, drop: Masks | None = None, rotate_support: Rotation | None = None) -> Any:
        """Take a minibatch; its graph is alive."""
        ...

    def meta_gradient(self, psi: Psi, task: Any, rotate: Rotation | None = None) -> Outcome:
        """Return its loss and gradients; the graph is gone."""
        ...

    def head_gradient(self, task: Any) -> Tensor:
        """Return what γ compares at γ = I."""
        ...

    def where_it_explodes(
        self, psi: Psi, episode: Any, drop: Masks | None = None, rotate: Rotation | None = None
    ) -> str:
        """Return in words where numbers leave the finite ones; empty where that is not known."""
        ...

    def predict(self, psi: Psi, episode: Episode) -> Tensor:
        """Return query scores [q, n_way] of a test episode."""
        ...
