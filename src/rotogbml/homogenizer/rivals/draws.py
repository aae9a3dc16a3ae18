"""torchjd draws from torch's global stream: lend it one of ours, and put the global one back."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import torch

_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def drawing_from(seed: int) -> Generator[None]:
    """Make torch's global CPU stream a named one of ours, and leave it as it was."""
    with _ONE_AT_A_TIME:
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            torch.default_generator.set_state(before)
