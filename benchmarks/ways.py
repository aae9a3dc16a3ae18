"""Every way to take a step, by the name that a table gives it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from benchmarks.ours import Ours
from benchmarks.peers import Higher, Learn2Learn, PlainAnil, PlainAnilAgain, PlainImaml, PlainLoop, TorchOpt
from benchmarks.work import Work
from rotogbml.episodes import Episode


class Way(Protocol):
    """A step, ready to be taken again and again."""

    def step(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Take one step; return what there is to note."""
        ...

    def gradient(self) -> dict[str, Tensor]:
        """Return the meta-gradient of the last step, by name."""
        ...

    def to(self, device: torch.device) -> None:
        """Move what it has to a device, before its first step."""
        ...


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        make: builds the way.
        keeps: whether the process keeps the memory that it frees, as ``rotogbml train`` does.
        package: what must be installed for it.
        processes: so many processes share the tasks, each with one thread; 1: one process with its default threads.
        exact: whether it computes in the type that it is given, so that float64 can be held against the plain loop's.
    """

    make: Callable[[Work, torch.dtype], Way]
    keeps: bool = False
    package: str | None = None
    processes: int = 1
    exact: bool = True

    def missing(self) -> str:
        """Return why this row cannot be measured here; empty where it can."""
        absent = self.package is not None and importlib.util.find_spec(self.package) is None
        return f"{self.package} is not installed: pip install 'rotogbml[bench]'" if absent else ""


OURS, PAIR = "ours", "ours, 2 processes × 1 thread"
BF16, BF16_PAIR = "ours, bf16", "ours, bf16, 2 processes × 1 thread"
PLAIN, PLAIN_KEEPS = "plain loop", "plain loop + our allocator setting"


def rows(work: Work) -> dict[str, Row]:
    """Return the ways that can take this work's step, ours first."""
    ours = {OURS: Row(Ours, keeps=True), PAIR: Row(Ours, keeps=True, processes=2)}
    if work.learner == "maml":
        half = partial(Ours, precision="bf16-mixed")
        ours |= {
            BF16: Row(half, keeps=True, exact=False),
            BF16_PAIR: Row(half, keeps=True, processes=2, exact=False),
        }
    if work.learner == "anil":
        return ours | {
            PLAIN: Row(PlainAnil),
            PLAIN_KEEPS: Row(PlainAnil, keeps=True),
            "plain loop, body run in every step": Row(PlainAnilAgain),
        }
    if work.learner == "imaml":
        return ours | {PLAIN: Row(PlainImaml), PLAIN_KEEPS: Row(PlainImaml, keeps=True)}
    ways = ours | {
        PLAIN: Row(PlainLoop),
        PLAIN_KEEPS: Row(PlainLoop, keeps=True),
        "learn2learn's algorithm": Row(Learn2Learn),
    }
    if not work.first_order:  # neither has a first-order form
        ways |= {"higher": Row(Higher, package="higher"), "torchopt": Row(TorchOpt, package="torchopt")}
    return ways


def mean_gradient(work: Work, name: str, episodes: Sequence[Episode], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the meta-gradient of one step from the first weights, by name."""
    way = rows(work)[name].make(work, dtype)
    way.step(episodes)
    return way.gradient()
