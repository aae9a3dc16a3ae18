"""Many chunks on many cores.

Each worker is a plain Python process of this module: unlike a fork it cannot inherit a held lock, unlike
``multiprocessing``'s spawn it does not run the caller's script again. It ends with its parent, even a killed one.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from queue import SimpleQueue

from rotogbml.children import cores, environment, python
from rotogbml.errors import RotogbmlError
from rotogbml.sources.examine import Chunk, Examined, Examiner

AHEAD = 16
"""Chunks handed out for each worker: enough to keep all busy while the parent writes a finished source."""


def workers_for(chunks: Sequence[Chunk]) -> int:
    """Return how many processes the work is worth: starting one takes as long as a few chunks."""
    return min(cores(), max(1, len(chunks) // 4))


def examine_all(chunks: Iterable[Chunk], workers: int) -> Iterator[tuple[Chunk, Examined]]:
    """Yield each chunk with what was found in it, as they get ready; one worker is this process itself.

    Raises:
        RotogbmlError: A worker process died.
        OSError: The pixels could not be written.
    """
    if workers == 1 or not sys.executable:
        with Examiner() as examiner:
            for chunk in chunks:
                yield chunk, examiner.examine(chunk)
        return
    processes = [_Worker() for _ in range(workers)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for process in processes:
        idle.put(process)

    def ask(chunk: Chunk) -> Examined:
        process = idle.get()
        try:
            return process.examine(chunk)
        finally:
            idle.put(process)

    waiting = iter(chunks)
    running: dict[Future[Examined], Chunk] = {}
    threads = ThreadPoolExecutor(workers)
    try:
        while True:
            for chunk in islice(waiting, AHEAD * workers - len(running)):
                running[threads.submit(ask, chunk)] = chunk
            if not running:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(done), done.result()
    finally:
        for process in processes:
            process.kill()  # a thread that waits for its answer wakes up
        threads.shutdown(wait=True, cancel_futures=True)
        for process in processes:
            process.close()


class _Worker:
    """One process that examines one chunk at a time."""

    def __init__(self) -> None:
        # A session of its own: Ctrl-C is the parent's to handle.
        self._process = subprocess.Popen(
            python("-c", f"from {__name__} import serve; serve()"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )

    def examine(self, chunk: Chunk) -> Examined:
        """Have a chunk examined."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump(chunk, self._process.stdin)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            raise RotogbmlError(
                "a worker process died (killed, or out of memory): the same command goes on where this one stopped; "
                "workers=1 needs the least memory"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()

    def close(self) -> None:
        """Forget the ended process."""
        with suppress(OSError), self._process:  # what could not be sent to it any more is no loss
            pass


def serve() -> None:
    """Be a worker: read chunks from standard input and answer on standard output until the parent is gone."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a decoder prints must not get among the answers
    with Examiner() as examiner:
        while True:
            try:
                chunk = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            try:
                answer: Examined | Exception = examiner.examine(chunk)
            except Exception as error:
                answer = error
            pickle.dump(answer, answers)
            answers.flush()
