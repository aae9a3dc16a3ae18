"""Errors for people: what is wrong, the offending value or path, and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RotogbmlError(Exception):
    """Something failed that the user can understand. One line; the command exits with 1."""

    exit_code = 1
    silent = False
    """Whether another process of the same run says it, so that this one need not."""


class LostError(RotogbmlError):
    """Another process of the run ended, or cannot be reached any more."""


class UsageError(RotogbmlError):
    """The request itself is wrong (an option, a name, a path). The command exits with 2."""

    exit_code = 2


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest known name, or an empty string."""
    spelled = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), spelled, n=1, cutoff=0.5)
    return f" (did you mean '{spelled[near[0]]}'?)" if near else ""
