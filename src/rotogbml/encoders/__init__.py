"""Room 3: f_θ, image → feature vector, and what is dropped on the way in training (ISI)."""

from __future__ import annotations

from rotogbml.encoders.conv4 import Conv4, Drop
from rotogbml.errors import UsageError, did_you_mean

ENCODERS = {"conv4": Conv4}


def list_encoders() -> list[str]:
    """Return the names that ``create_encoder`` knows."""
    return sorted(ENCODERS)


def create_encoder(name: str, size: int, width: int = 64) -> Conv4:
    """Return a new encoder for square images of ``size`` pixels.

    Its weights come from torch's global generator; ``Network.initialise`` draws them from a named seed instead.

    Raises:
        UsageError: the name is unknown, or the images are too small.
    """
    if name not in ENCODERS:
        raise UsageError(f"no encoder '{name}'{did_you_mean(name, ENCODERS)}: there are {', '.join(list_encoders())}")
    return ENCODERS[name](size=size, width=width)


__all__ = ["ENCODERS", "Conv4", "Drop", "create_encoder", "list_encoders"]
