"""Room 3: f_θ, image → feature vector, and what is dropped on the way in training (ISI)."""

from __future__ import annotations

import copy
from functools import partial
from typing import Protocol

from torch import nn

from rotogbml.encoders.conv4 import Conv4, Conv4NP
from rotogbml.encoders.convolution import PRECISIONS, Convolution, set_precision
from rotogbml.encoders.given import Given, give_encoder, held
from rotogbml.encoders.imported import import_module
from rotogbml.encoders.norm import MOVING, NORMS, Norm, NormPass, Seen, update_running
from rotogbml.encoders.pooling import pooled
from rotogbml.encoders.protocol import Drop, Encoder
from rotogbml.encoders.resnet import ResNet
from rotogbml.encoders.resnet12 import ResNet12
from rotogbml.errors import UsageError, did_you_mean


class Factory(Protocol):
    """Builds an encoder of a known name."""

    def __call__(self, size: int, width: int, norm: str, sets: int) -> Encoder:
        """Arguments as those of ``create_encoder``."""
        ...


ENCODERS: dict[str, Factory] = {
    "conv4": Conv4,
    "conv4-np": Conv4NP,
    "resnet10": partial(ResNet, blocks=1),
    "resnet10-small": partial(ResNet, blocks=1, small=True),
    "resnet12": ResNet12,
    "resnet18": partial(ResNet, blocks=2),
    "resnet18-small": partial(ResNet, blocks=2, small=True),
}


def list_encoders() -> list[str]:
    """Return the names that ``create_encoder`` knows."""
    return sorted(ENCODERS)


def create_encoder(
    name: str | nn.Module, size: int, width: int = 64, norm: str = "batch", sets: int = 1, precision: str = "32"
) -> Encoder:
    """Return a new encoder for square images of ``size`` pixels.

    Weights come from torch's global generator; ``Network.initialise`` draws them from a named seed instead, except
    those of a module of the user's, which are kept.

    Args:
        name: one of ``list_encoders()``, an import path ``package.module:factory``, or a module.
        size: side of the images, pixels.
        width: filters of the first layer; the others are multiples of it. 64 is as published.
        norm: a policy of ``NORMS``.
        sets: sets of statistics, scale and shift under ``per-step``: one for each inner step.
        precision: of its convolutions, one of ``PRECISIONS``.

    Raises:
        UsageError: the name, the norm or the precision is unknown, the images are too small, or a module of the user's
            cannot serve.
    """
    if isinstance(name, nn.Module) or ":" in name:
        for option, value, default in (("norm", norm, "batch"), ("width", width, 64), ("precision", precision, "32")):
            if value != default:
                raise UsageError(
                    f"{option}={value} with an encoder of your own ({name if isinstance(name, str) else _kind(name)}), "
                    f"which keeps what it was built with: leave {option} out"
                )
        if isinstance(name, str):
            # A copy: a path may lead to one module that others train too.
            module = held(name) if name.startswith("given:") else copy.deepcopy(import_module(name, size))
        else:
            module = name
        return Given(module.module if isinstance(module, Given) else module, size)
    if name not in ENCODERS:
        raise UsageError(
            f"no encoder '{name}'{did_you_mean(name, ENCODERS)}: there are {', '.join(list_encoders())}, or give one "
            "of your own as package.module:factory"
        )
    if width < 1:
        raise UsageError(f"width={width}: an encoder has 1 filter or more")
    encoder = ENCODERS[name](size=size, width=width, norm=norm, sets=sets)
    set_precision(encoder, precision)
    return encoder


def _kind(module: nn.Module) -> str:
    return type(module).__name__


__all__ = [
    "ENCODERS",
    "MOVING",
    "NORMS",
    "PRECISIONS",
    "Conv4",
    "Conv4NP",
    "Convolution",
    "Drop",
    "Encoder",
    "Factory",
    "Given",
    "Norm",
    "NormPass",
    "ResNet",
    "ResNet12",
    "Seen",
    "create_encoder",
    "give_encoder",
    "list_encoders",
    "pooled",
    "set_precision",
    "update_running",
]
