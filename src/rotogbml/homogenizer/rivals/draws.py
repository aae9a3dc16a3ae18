"""torchjd draws from torch's global stream: lend it one of ours, and put the global one back."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def drawing_from(seed: int) -> Generator[None]:
    """Make torch's global CPU stream a named one of ours, and leave it as it was."""
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)
