"""The other processes of this machine, where this program starts them: plain children of their own program.

A child gets its work on standard input and needs no ``__main__`` guard in the caller's script. When its parent ends,
however it ends, that pipe closes and the child ends too.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rotogbml.children import environment, python
from rotogbml.errors import LostError, RotogbmlError

LOST = 3
"""Exit code of a child that could not reach another process: never the cause."""

INTERRUPTED = 130

_PATIENCE = 5.0
"""Seconds in which a child that has nothing more to do ends by itself."""


class Crew:
    """Children, each with the work ``function(work, place)``.

    Args:
        function: where it is defined, ``module:name``.
        work: what all of them get; it can be pickled.
        places: one for each child.
        world: how many processes there are in all.

    Within ``with Crew(…):`` they have started and are about to meet. At its end they are gone.

    Raises:
        RotogbmlError: a child could not start.
        LostError: a child ended too early; it says how.
    """

    def __init__(self, function: str, work: Any, places: list[Any], world: int) -> None:
        self.function, self.work, self.places, self.world = function, work, places, world
        self.children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Start them and wait until each has imported what it needs."""
        # Ctrl-C reaches the whole group: until the work begins, and takes over, a child ends without a word.
        quiet = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        command = python("-c", f"{quiet}from rotogbml.training.crew import serve; serve()")
        try:
            for place in self.places:
                pipe = subprocess.PIPE
                child = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment())
                self.children.append(child)
                assert child.stdin is not None
                child.stdin.write(pickle.dumps((self.function, self.work, place)))
                child.stdin.flush()
            for child in self.children:
                assert child.stdout is not None
                if child.stdout.readline() != b"ready\n":
                    raise RotogbmlError(f"{self._who(child)}: it could not start")
        except BrokenPipeError:
            self._end(0.0)
            raise RotogbmlError("a process could not start: run with --devices 1 to see why") from None
        except BaseException:
            self._end(0.0)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait for them, or end them."""
        said = self._why() if isinstance(error, LostError) else ""
        self._end(60.0 if error is None else 0.5)
        if said:
            raise LostError(said) from error

    def _why(self) -> str:
        """Return in words which child ended, and how; empty where none did.

        Raises:
            KeyboardInterrupt: a second Ctrl-C ended it.
        """
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and all(child.poll() in (None, LOST) for child in self.children):
            time.sleep(0.02)
        ended = [child for child in self.children if child.returncode not in (None, 0, LOST)]
        if not ended:
            return ""
        if all(child.returncode in (INTERRUPTED, -signal.SIGINT) for child in ended):
            self._end(0.0)
            raise KeyboardInterrupt
        child = min(ended, key=lambda child: child.returncode)  # a signal before an exit code
        return f"{self._who(child)}; run the same command again to go on from the last checkpoint"

    def _who(self, child: subprocess.Popen[bytes]) -> str:
        code = child.wait()
        name = f"process {self.places[self.children.index(child)].rank} of {self.world}"
        if code < 0:
            killed = signal.Signals(-code).name
            return f"{name} was killed ({killed}{', perhaps for want of memory' if killed == 'SIGKILL' else ''})"
        return f"{name} ended with exit code {code}, its words stand above"

    def _end(self, patience: float) -> None:
        """Give the children a moment to end by themselves, then end them."""
        until = time.monotonic() + patience
        for child in self.children:
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()


def serve() -> None:
    """Be a child: take the work from standard input, do it, and leave the words to the first process."""
    warnings.simplefilter("ignore")
    function, work, place = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = 0
    try:
        call = _find(function)
        os.write(1, b"ready\n")
        os.dup2(2, 1)  # what it may print from here on is none of the parent's results
        call(work, place)
    except LostError:
        code = LOST
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        code = error.exit_code if isinstance(error, RotogbmlError) else 1
        if not getattr(error, "silent", False):
            said = str(error) if isinstance(error, RotogbmlError) else traceback.format_exc()
            print(f"rotogbml: process {place.rank}: {said}", file=sys.stderr, flush=True)
    os._exit(code)  # threads of the wire may still wait for a process that is gone


def _find(where: str) -> Callable[[Any, Any], object]:
    import importlib

    module, name = where.split(":")
    return getattr(importlib.import_module(module), name)


def _end_with_parent() -> None:
    """Wait until standard input is closed, which is when the parent has ended."""
    sys.stdin.buffer.read()
    os._exit(LOST)
