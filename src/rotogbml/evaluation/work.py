"""Fixed test episodes, scored on all cores.

An episode is a pure function of (test seed, split, index) and every process computes with one thread, so that the
accuracies are the same to the bit for any number of processes.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rotogbml.children import environment, python
from rotogbml.episodes import Episode, EpisodeSampler
from rotogbml.errors import RotogbmlError
from rotogbml.evaluation.methods import Spec, load
from rotogbml.learners import accuracy
from rotogbml.memory import keep_freed_memory, saying_what_to_lower
from rotogbml.sources.packed import PackedSource

CHUNK = 50
"""Episodes in one piece of work."""

LOWER = " while testing: lower --n_query, --k_shot or --workers"
"""What to do where memory runs out."""


@dataclass(frozen=True)
class Test:
    """Fixed episodes of one target."""

    source: PackedSource
    split: str
    n_way: int
    k_shot: int
    n_query: int
    seed: int

    def sampler(self) -> EpisodeSampler:
        """Return the sampler of these episodes: unaugmented, one task at a time."""
        return EpisodeSampler(
            [self.source], self.n_way, self.k_shot, self.n_query, 1, "single-source", self.seed, self.split, "none"
        )

    def episode(self, index: int) -> Episode:
        """Return episode ``index``, the same for every method."""
        return self.sampler().batch(index)[0]


@dataclass(frozen=True)
class Piece:
    """Some episodes of one test for one method; ``start`` to ``stop``."""

    spec: Spec
    test: Test
    start: int
    stop: int

    def run(self) -> list[float]:
        """Return the accuracy of each episode, 0 … 1.

        Raises:
            RotogbmlError: memory ran out.
        """
        method, sampler = load(self.spec, self.test.source.size), self.test.sampler()
        episodes = (sampler.batch(i)[0] for i in range(self.start, self.stop))
        with saying_what_to_lower(LOWER):
            return [accuracy(method.scores(episode), episode.query.y) for episode in episodes]


def accuracies(
    specs: list[Spec], tests: list[Test], episodes: int, workers: int, done: Callable[[int], None]
) -> dict[tuple[Spec, str], np.ndarray]:
    """Return the per-episode accuracies of every method on every target.

    Args:
        specs: the methods.
        tests: one for each target.
        episodes: how many of each.
        workers: processes.
        done: called with the number of episodes that were just finished.

    Raises:
        RotogbmlError: a process died.
    """
    starts = range(0, episodes, CHUNK)
    pieces = [Piece(s, t, a, min(a + CHUNK, episodes)) for s in specs for t in tests for a in starts]
    out = {(s, t.source.name): np.zeros(episodes) for s in specs for t in tests}
    # Dealt round: each process gets some of every method.
    hands = [pieces[i::workers] for i in range(workers)]
    if workers == 1:
        for piece, values in zip(pieces, _here(pieces), strict=True):
            out[piece.spec, piece.test.source.name][piece.start : piece.stop] = values
            done(len(values))
        return out

    def play(hand: list[Piece]) -> None:
        for piece, values in zip(hand, _elsewhere(hand), strict=True):
            out[piece.spec, piece.test.source.name][piece.start : piece.stop] = values
            done(len(values))

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(play, hand) for hand in hands if hand]:
            future.result()
    return out


def _here(pieces: list[Piece]) -> Iterator[list[float]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for piece in pieces:
            yield piece.run()
    finally:
        torch.set_num_threads(threads)


def _elsewhere(pieces: list[Piece]) -> Iterator[list[float]]:
    """Run pieces in a process of their own, which prints a line for each.

    A plain subprocess rather than multiprocessing: it needs no ``__main__`` guard in the caller's script.
    """
    # Ctrl-C reaches the whole group: it ends at once and leaves the words to its parent.
    quiet = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    command = python("-c", f"{quiet}from rotogbml.evaluation.work import serve; serve()")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answered = 0
        try:
            with contextlib.suppress(BrokenPipeError):  # it is gone: too few answers say so below
                process.stdin.write(pickle.dumps(pieces))
                process.stdin.close()
            for line in process.stdout:
                answer: Any = json.loads(line)
                if isinstance(answer, str):
                    raise RotogbmlError(answer)
                answered += 1
                yield answer
            process.wait()
        finally:
            process.kill()
    if answered < len(pieces):
        raise RotogbmlError(
            f"an evaluation process ended with {process.returncode}: run again with --workers 1 to see why"
        )


def serve() -> None:
    """Be the other process: pieces on standard input, one line of accuracies each on standard output."""
    keep_freed_memory()
    torch.set_num_threads(1)
    try:
        for piece in pickle.loads(sys.stdin.buffer.read()):
            print(json.dumps(piece.run()), flush=True)
    except RotogbmlError as error:
        print(json.dumps(str(error)), flush=True)
