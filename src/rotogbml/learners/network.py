"""ψ = (θ, φ) as named tensors, and the network that is called with them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from rotogbml.encoders import Drop, Encoder, Given, NormPass
from rotogbml.learners.heads import LinearHead
from rotogbml.seeds import torch_generator

Params = dict[str, Tensor]


class Psi(NamedTuple):
    """The initialisation that is learned, or what became of it after adaptation."""

    theta: Params
    """θ: the encoder's parameters by name."""
    phi: Params
    """φ: the head's parameters by name."""

    def tensors(self) -> list[Tensor]:
        """Return θ's tensors, then φ's."""
        return [*self.theta.values(), *self.phi.values()]


class Network:
    """Encoder f_θ and head c_φ, both called with explicit parameters: the modules hold only the initial ones."""

    def __init__(self, encoder: Encoder, head: LinearHead) -> None:
        self.encoder, self.head = encoder, head

    @property
    def feature_dim(self) -> int:
        """The length m of a feature vector."""
        return self.encoder.feature_dim

    def to(self, device: torch.device) -> None:
        """Move the initialisation."""
        self.encoder.to(device)
        self.head.to(device)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """L: mean cross-entropy of scores [b, n_way] and labels [b]."""
        return F.cross_entropy(logits, y)

    def psi(self) -> Psi:
        """Return the initialisation itself: the tensors the outer loop updates in place."""
        return Psi(dict(self.encoder.named_parameters()), dict(self.head.named_parameters()))

    def modules(self) -> Iterator[nn.Module]:
        """Every module of encoder and head."""
        yield from self.encoder.modules()
        yield from self.head.modules()

    def statistics(self) -> Params:
        """Return what belongs to the network and is not learned: running statistics."""
        return dict(self.encoder.named_buffers())

    def features(self, theta: Params, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
        """Z = f_θ(x): [b, 3, size, size] → [b, m].

        ``drop`` is ISI in training, None elsewhere; ``at`` is what the encoder's norms are told of this pass.
        """
        return called(self.encoder, theta, x, drop, at)

    def logits(self, phi: Params, z: Tensor) -> Tensor:
        """c_φ(z): [b, m] → [b, n_way]."""
        return self.head.scores(phi, z)

    def initialise(self, seed: int) -> None:
        """Draw every weight from a stream of its own name: He's normal for filters, ±1/√fan_in for the head.

        A module of the user's keeps the weights it came with. A head may draw more by an ``initialise`` of its own.
        """
        for room, module in (("encoder", self.encoder), ("head", self.head)):
            if isinstance(module, Given):
                continue
            for name, parameter in module.named_parameters():
                _initialise(parameter, torch_generator(seed, "weights", room, name), linear=room == "head")
        more = getattr(self.head, "initialise", None)
        if more is not None:
            more(torch_generator(seed, "weights", "head"))


def called(encoder: Encoder, theta: Params, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
    """Return features [b, m] of images by an encoder whose tensors are ``theta``'s; it may name buffers too."""
    return functional_call(cast(nn.Module, encoder), theta, (x, drop, at))


@torch.no_grad()
def drawn(parameter: Tensor, inputs: int, generator: torch.Generator) -> None:
    """Fill with numbers uniform in ±1/√inputs."""
    bound = 1 / math.sqrt(inputs)
    parameter.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def _initialise(parameter: nn.Parameter, generator: torch.Generator, linear: bool) -> None:
    # Scales stay 1, shifts and biases 0; in the encoder only filters are drawn, since a norm's [sets, c] has two axes.
    # Heads with filters are those of compared methods.
    if linear and parameter.ndim == 2:
        drawn(parameter, parameter.shape[1], generator)
    elif parameter.ndim == 4:
        nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
