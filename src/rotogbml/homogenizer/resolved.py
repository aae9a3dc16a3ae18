"""The homogenizer takes configurations whose choices have been made."""

from __future__ import annotations

from typing import Any

from rotogbml.errors import UsageError


def resolved(config: Any, name: str) -> Any:
    """Return a field of a configuration that the presets must have filled in.

    Raises:
        UsageError: it is None.
    """
    value = getattr(config, name)
    if value is None:
        raise UsageError(
            f"{type(config).__name__}.{name} is not set: give it, or fill the configuration by presets.fill"
        )
    return value
