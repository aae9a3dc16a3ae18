"""The mean of the weights over training, which costs next to nothing and is tested beside the weights themselves.

An exponential moving average (Polyak & Juditsky 1992; of neural networks Tarvainen & Valpola 2017, eq. 3)

    ψ̄ ← δ_t ψ̄ + (1 − δ_t) ψ,   δ_t = min(δ, (1 + t) / (10 + t)),

so that the first steps, when ψ moves most, are soon forgotten.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

Rooms = Mapping[str, Mapping[str, Tensor]]
"""What a learner learns: θ, φ and the like, by name."""


class Average:
    """ψ̄, room by room.

    Args:
        decay: δ, from 0 (off) to below 1.
        learned: ψ as training begins; it is copied.
    """

    def __init__(self, decay: float, learned: Rooms) -> None:
        self.decay = decay
        self.mean = _cloned(learned)

    def __bool__(self) -> bool:
        """Whether there is an average."""
        return self.decay > 0

    @torch.no_grad()
    def add(self, learned: Rooms, step: int) -> None:
        """Take in ψ after step ``step``, counted from 1."""
        if not self:
            return
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for room, group in learned.items():
            for name, p in group.items():
                mean = self.mean[room][name]
                if mean.is_floating_point():
                    mean.lerp_(p.detach(), share)
                else:  # a count, say: there is no mean of it
                    mean.copy_(p.detach())

    @contextmanager
    def in_place_of(self, learned: Rooms) -> Generator[None]:
        """Let ψ̄ stand where ψ stands, to be judged; ψ is back afterwards, to the bit."""
        own = _cloned(learned)
        _copy(self.mean, learned)
        try:
            yield
        finally:
            _copy(own, learned)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return ψ̄."""
        return {room: dict(group) for room, group in self.mean.items()} if self else {}

    def load_state_dict(self, state: Rooms, learned: Rooms) -> None:
        """Take up a saved ψ̄; a run of an earlier version has none, and begins with the ψ that it is at."""
        _copy(state or learned, self.mean)


def _cloned(rooms: Rooms) -> dict[str, dict[str, Tensor]]:
    return {room: {name: p.detach().clone() for name, p in group.items()} for room, group in rooms.items()}


@torch.no_grad()
def _copy(source: Rooms, to: Rooms) -> None:
    for room, group in source.items():
        for name, p in group.items():
            to[room][name].copy_(p.detach())
