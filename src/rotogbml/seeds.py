"""Named seeds: every random draw of the program comes from ``(seed, *names)``, none from global state.

Two draws with different names are independent; the same name gives the same draw in any process, in any
order, on any number of workers. That is what makes resume and fixed test episodes exact.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that is a pure function of ``seed`` and the names."""
    text = "/".join([str(int(seed)), *(f"{type(name).__name__}:{name}" for name in names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a NumPy generator of its own stream, seeded by ``derive``."""
    return np.random.Generator(np.random.PCG64(derive(seed, *names)))


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU torch generator of its own stream, seeded by ``derive``."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *names))
