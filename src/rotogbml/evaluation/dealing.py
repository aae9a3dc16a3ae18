"""Pieces of an evaluation dealt out to processes, one at a time to whoever is free; this process takes its share."""

from __future__ import annotations

import contextlib
import json
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from subprocess import PIPE
from typing import Any

import numpy as np
import torch

from rotogbml.children import environment, python
from rotogbml.errors import RotogbmlError
from rotogbml.evaluation.calibration import Scored, from_text, to_text, unmarked
from rotogbml.evaluation.methods import Spec
from rotogbml.evaluation.work import Piece, Test, cut
from rotogbml.memory import keep_freed_memory

Take = Callable[[int, Sequence[Any]], None]
"""Called with a piece's number and what is kept of its episodes, [episodes, numbers] for each method."""


def accuracies(
    specs: Sequence[Spec], tests: Sequence[Test], episodes: int, workers: int, done: Callable[[int], None]
) -> dict[tuple[Spec, str], np.ndarray]:
    """Return the per-episode accuracies alone of what ``scored`` returns."""
    return {key: each.accuracy for key, each in scored(specs, tests, episodes, workers, done).items()}


def scored(
    specs: Sequence[Spec], tests: Sequence[Test], episodes: int, workers: int, done: Callable[[int], None]
) -> dict[tuple[Spec, str], Scored]:
    """Return accuracies, Brier scores and bins of every method's every episode, by method and target.

    Args:
        specs: the methods.
        tests: one for each target.
        episodes: how many of each.
        workers: processes, this one among them.
        done: called with the number of episodes that were just finished, once for each method.

    Raises:
        RotogbmlError: a process died, or memory ran out.
    """
    pieces = list(cut(specs, tests, episodes, workers))
    kept: dict[tuple[Spec, str], list[Any]] = {(s, t.source.name): [None] * episodes for s in specs for t in tests}

    def take(number: int, values: Sequence[Any]) -> None:
        piece = pieces[number]
        for spec, of_spec in zip(piece.specs, values, strict=True):
            kept[spec, piece.test.source.name][piece.start : piece.stop] = of_spec
            done(len(of_spec))

    _deal(pieces, min(workers, len(pieces)), take)
    return {key: unmarked(lines) for key, lines in kept.items()}


def _deal(pieces: list[Piece], workers: int, take: Take) -> None:
    """Run every piece, here and in ``workers − 1`` other processes; they start while this one is at work."""
    deck = _Deck(range(len(pieces)))
    children = [_Child(pieces, deck, take) for _ in range(workers - 1)]
    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(max(1, len(children))) as pool:
            elsewhere = [pool.submit(child.work) for child in children]
            try:
                while not any(future.done() and future.exception() for future in elsewhere):
                    number = deck.draw()
                    if number is None:
                        break
                    take(number, pieces[number].run())
                for child in children:
                    child.dismiss()
                for future in wait(elsewhere, return_when=FIRST_EXCEPTION).done:
                    future.result()
            finally:  # Ctrl-C, or one that failed: nobody goes on
                deck.clear()
                for child in children:
                    child.kill()
    finally:
        torch.set_num_threads(threads)


class _Deck(deque[int]):
    """Numbers of the pieces that nobody has begun."""

    def draw(self) -> int | None:
        """Return one, in order; None where none is left. Safe between threads."""
        try:
            return self.popleft()
        except IndexError:
            return None


class _Child:
    """A process of its own, which is told numbers of pieces and prints a line for each.

    A plain subprocess rather than multiprocessing: it needs no ``__main__`` guard in the caller's script.
    """

    def __init__(self, pieces: list[Piece], deck: _Deck, take: Take) -> None:
        self.pieces, self.deck, self.take = pieces, deck, take
        self.ready = False
        # Ctrl-C reaches the whole group: it ends at once and leaves the words to its parent.
        quiet = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        command = python("-c", f"{quiet}from rotogbml.evaluation.dealing import serve; serve()")
        self.process = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, env=environment())

    def work(self) -> None:
        """Draw pieces until none is left.

        Raises:
            RotogbmlError: the process died, or says why it cannot go on.
        """
        assert self.process.stdin is not None
        with self.process:
            try:
                number, line = None, self._ask(pickle.dumps(self.pieces))
                self.ready = bool(line)
                while line and (number := self.deck.draw()) is not None:
                    line = self._ask(f"{number}\n".encode())
                    answer: Any = json.loads(line or b"[]")
                    if isinstance(answer, str):
                        raise RotogbmlError(answer)
                    if line:
                        self.take(number, [from_text(of_spec) for of_spec in answer])
                # With nothing in hand and nothing left it was dismissed.
                if not line and (number is not None or self.deck):
                    raise RotogbmlError(
                        f"an evaluation process ended with {self.process.wait()}: run again with --workers 1 to see why"
                    )
            finally:
                self.kill()
                with contextlib.suppress(BrokenPipeError):  # what it did not read any more
                    self.process.stdin.close()

    def _ask(self, words: bytes) -> bytes:
        """Return the line that comes back; none from a process that is gone."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(words)
            self.process.stdin.flush()
        return self.process.stdout.readline()

    def dismiss(self) -> None:
        """Do not wait for it where it is still starting: there is nothing left to do."""
        if not self.ready:
            self.kill()

    def kill(self) -> None:
        """End it."""
        self.process.kill()


def serve() -> None:
    """Be the other process: pieces, then their numbers on standard input, a line each on output, of what is kept."""
    keep_freed_memory()
    torch.set_num_threads(1)
    pieces = pickle.load(sys.stdin.buffer)
    print(json.dumps([]), flush=True)
    try:
        for number in sys.stdin.buffer:
            print(json.dumps([to_text(of_spec) for of_spec in pieces[int(number)].run()]), flush=True)
    except RotogbmlError as error:
        print(json.dumps(str(error)), flush=True)
