"""Room 3: f_θ, image → feature vector, and what is dropped on the way in training (ISI)."""

from __future__ import annotations

from rotogbml.encoders.conv4 import Conv4
from rotogbml.encoders.norm import NORMS, Norm, NormPass, Seen, update_running
from rotogbml.encoders.protocol import Drop, Encoder
from rotogbml.errors import UsageError, did_you_mean

ENCODERS = {"conv4": Conv4}


def list_encoders() -> list[str]:
    """Return the names that ``create_encoder`` knows."""
    return sorted(ENCODERS)


def create_encoder(name: str, size: int, width: int = 64, norm: str = "batch", sets: int = 1) -> Encoder:
    """Return a new encoder for square images of ``size`` pixels.

    Its weights come from torch's global generator; ``Network.initialise`` draws them from a named seed instead.

    Args:
        name: one of ``list_encoders()``.
        size: side of the images, pixels.
        width: filters of the first layer; the others are multiples of it.
        norm: a policy of ``NORMS``.
        sets: sets of statistics, scale and shift under ``per-step``: one for each inner step.

    Raises:
        UsageError: the name or the norm is unknown, or the images are too small.
    """
    if name not in ENCODERS:
        raise UsageError(f"no encoder '{name}'{did_you_mean(name, ENCODERS)}: there are {', '.join(list_encoders())}")
    return ENCODERS[name](size=size, width=width, norm=norm, sets=sets)


__all__ = [
    "ENCODERS",
    "NORMS",
    "Conv4",
    "Drop",
    "Encoder",
    "Norm",
    "NormPass",
    "Seen",
    "create_encoder",
    "list_encoders",
    "update_running",
]
