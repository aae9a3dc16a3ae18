"""What a method takes of the clock: to be ready for a new task, and for one image more.

One task at a time, in this process, on one thread, nothing remembered of other episodes: not the throughput of a whole
evaluation, in which tasks stand side by side and images are met again. With R seconds until the method is ready and
Q(q) until q queries of it are scored,

    predict_seconds = (Q(33) − Q(1)) / 32      what each further image of a batch takes
    adapt_seconds   = R + Q(1) − that          all else until the first answer

medians over some episodes. Q is the least of a few readings: what else runs on the machine only adds to one. Several
compared methods do all their work when the first query comes: Q(1) has it then. These numbers are the machine's, so
they are kept apart from rows that are the same everywhere.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from rotogbml.episodes import Episode
from rotogbml.evaluation.methods import Judge, Method
from rotogbml.evaluation.work import Test

QUERIES = 33
"""Queries of the larger batch."""

_MOST = 5
"""Episodes that are timed at most."""

_ENOUGH = 1.0
"""Seconds after which no other episode is begun."""

_READINGS = 3
"""Of one batch of queries, of which the least counts; fewer where it takes longer than ``_QUICK``."""

_QUICK = 0.1
"""Seconds up to which something is done again, for a better reading."""


@dataclass(frozen=True)
class Cost:
    """Seconds of a method, and where they were measured."""

    adapt_seconds: float
    predict_seconds: float
    timed_episodes: int
    """Episodes behind the medians."""
    machine: str


def cost(method: Method, test: Test, tested: int) -> Cost:
    """Time a method on the first episodes of a test.

    Args:
        method: loaded.
        test: where its episodes come from.
        tested: episodes that the evaluation scored: at most one for each hundred of them is timed, and at least one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: list[tuple[float, float]] = []
    try:
        began = time.perf_counter()
        for i in range(min(max(tested // 100, 1), _MOST)):
            found.append(_timed(method, test, i))
            if time.perf_counter() - began > _ENOUGH:
                break
    finally:
        torch.set_num_threads(threads)
    adapt, predict = (float(f"{median(values):.4g}") for values in zip(*found, strict=True))
    return Cost(adapt, predict, len(found), f"{platform.machine()}, one thread, torch {torch.__version__}")


def _timed(method: Method, test: Test, index: int) -> tuple[float, float]:
    episode = test.episode(index)
    many = episode.query.x[torch.arange(QUERIES) % len(episode.query.x)]
    judge, ready = _ready(method, episode)
    if index == 0:  # shapes that were not met yet
        if ready < _QUICK:
            judge, ready = _ready(method, episode)
        judge(many[:1])
        judge(many)
    one, all_of_them = _seconds(judge, many[:1]), _seconds(judge, many)
    for _ in range(_READINGS):
        if all_of_them < QUERIES * one:
            break  # else another image would cost as much as the first with all that comes before it: a busy machine
        one, all_of_them = min(one, _seconds(judge, many[:1])), min(all_of_them, _seconds(judge, many))
    # Where an image costs next to nothing, the noise of two readings may exceed it.
    predict = min(max(all_of_them - one, 0) / (QUERIES - 1), one)
    return ready + one - predict, predict


def _ready(method: Method, episode: Episode) -> tuple[Judge, float]:
    began = time.perf_counter()
    judge = method.ready(episode)
    return judge, time.perf_counter() - began


def _seconds(judge: Judge, x: Tensor) -> float:
    """Return the least of the readings."""
    found: list[float] = []
    while len(found) < _READINGS and sum(found) < _QUICK:
        began = time.perf_counter()
        judge(x)
        found.append(time.perf_counter() - began)
    return min(found)
