"""Fixtures that every area shares."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import numpy as np

    from rotogbml.studies.ledger import Ledger
    from rotogbml.studies.plan import Budget, Cell, Plan

# Before torch is imported, here and in every process that a test starts: two workers share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent

PackWriter = Callable[..., Path]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images beside the checkout; skip where it is absent."""
    root = Path(os.environ.get("ROTOGBML_SHARED", ROOT.parent / "shared")) / "data"
    if not root.is_dir():
        pytest.skip(f"no real images at {root}; set ROTOGBML_SHARED to the folder that holds data/")
    return root


@pytest.fixture(scope="session")
def write_pack() -> PackWriter:
    """Return a function that writes a pack of made-up sources, quicker than drawing or decoding one."""
    import numpy as np

    from rotogbml.sources.writer import write_source

    def write(
        root: Path,
        names: Sequence[str],
        *,
        images: Sequence[int] = (12,) * 10,
        splits: Mapping[str, Sequence[int]] | None = None,
        size: int = 16,
        side: int = 18,
    ) -> Path:
        """Write one source a name: class c has ``images[c]`` rows, a coarse pattern of its own in changing light."""
        classes = [f"class{c:02}" for c in range(len(images))]
        splits = {"train": range(6), "val": range(6, 8), "test": range(8, 10)} if splits is None else splits
        for name in names:
            rng = np.random.default_rng(list(name.encode()))
            coarse = rng.integers(40, 216, (len(images), 3, 3, 3))
            patterns = coarse.repeat(-(-side // 3), axis=1).repeat(-(-side // 3), axis=2)[:, :side, :side]
            rows = [
                patterns[c] + rng.integers(-40, 40, (n, side, side, 3)) + rng.integers(-90, 90, (n, 1, 1, 3))
                for c, n in enumerate(images)
            ]
            write_source(
                root / name,
                name=name,
                size=size,
                images=np.concatenate(rows).clip(0, 255).astype(np.uint8),
                classes=classes,
                offsets=np.concatenate([[0], np.cumsum(images)]),
                splits={split: [classes[c] for c in members] for split, members in splits.items()},
                split_rule="as the test says",
                inputs=[],
                made={},
            )
        return root

    return write


@pytest.fixture(scope="session")
def pack(write_pack: PackWriter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pack of 16 px: alpha, beta, gamma with 6 + 2 + 2 classes, and hidden, which is not split."""
    root = write_pack(tmp_path_factory.mktemp("packs") / "pack", ["alpha", "beta", "gamma"])
    return write_pack(root, ["hidden"], splits={"all": range(10)})


@pytest.fixture(scope="session")
def tiny(pack: Path) -> list[str]:
    """Return options of ``rotogbml train`` under which a step takes milliseconds."""
    return [
        *("--sources", str(pack), "--holdout", "hidden", "--threads", "1", "--encoder.width", "4"),
        *("--episodes.n_way", "2", "--episodes.n_query", "3", "--episodes.tasks_per_batch", "3"),
        *("--learner.inner_steps", "2", "--learner.inner_lr", "0.2"),
        *("--outer.log_every", "2", "--outer.validate_every", "4", "--outer.validation_episodes", "6"),
    ]


@pytest.fixture(scope="session")
def outcome() -> Callable[..., dict[str, Any]]:
    """Return a function that makes up what a cell of a study leaves (``studies/cell.py``); nothing is trained."""
    from rotogbml.studies.cell import packed

    def make(plan: Plan, cell: Cell, correct: Mapping[str, np.ndarray], **more: Any) -> dict[str, Any]:
        """Return the outcome in which each checkpoint has these accuracies of its 5-way episodes, 0 … 1.

        ``more`` is added or stands in place of what is usual; ``budget`` is the first one where it does not say.
        """
        budget: Budget = more.pop("budget", plan.rungs[0].budget)
        return {
            **asdict(cell),
            "budget": list(budget),
            "steps": budget.amount,
            "plan": plan.digest(cell, budget),
            "method": cell.setting,
            "n_way": 5,
            "n_query": plan.test.n_query,
            "norm": "batch",
            "correct": {kind: packed(right, 5 * plan.test.n_query) for kind, right in correct.items()},
            "conflict": {},
            "seconds": 1.0,
            **more,
        }

    return make


@pytest.fixture(scope="session")
def ledger_of() -> Callable[[Plan, Path, Iterable[dict[str, Any]]], Ledger]:
    """Return a function that writes a plan's outcomes to a file and reads it as a study does."""
    from rotogbml.studies.ledger import Ledger

    def make(plan: Plan, path: Path, outcomes: Iterable[dict[str, Any]]) -> Ledger:
        path.write_text("".join(json.dumps(outcome) + "\n" for outcome in outcomes), encoding="utf-8")
        return Ledger(plan, path)

    return make


@dataclass(frozen=True)
class Started:
    """A command in a process of its own."""

    pid: int
    out: Path
    err: Path
    wait: Callable[[], int]
    """Return the exit code, or minus the signal that ended it."""

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, unless it has ended by itself."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Started]]:
    """Return a function that starts ``rotogbml ARGUMENTS`` as a process, which a test may kill.

    Processes are forked from one that has imported everything: each would spend seconds on that otherwise.
    """
    folder = tmp_path_factory.mktemp("commands")
    command = [sys.executable, str(ROOT / "tests" / "forking.py")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        ask, answer = parent.stdin, parent.stdout
        assert answer.readline() == "ready\n"
        count = 0

        def begin(arguments: Sequence[str], **variables: str) -> Started:
            nonlocal count
            count += 1
            out, err = folder / f"{count}.out", folder / f"{count}.err"
            wanted = {"arguments": list(arguments), "variables": variables, "out": str(out), "err": str(err)}
            print(json.dumps(wanted), file=ask, flush=True)
            return Started(int(answer.readline()), out, err, lambda: int(answer.readline()))

        yield begin
        ask.close()
