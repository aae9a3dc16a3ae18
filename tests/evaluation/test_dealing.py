"""Pieces of an evaluation: cut anyhow and dealt to anybody they give the same bits; nobody is left behind."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from rotogbml.cli import main
from rotogbml.errors import RotogbmlError
from rotogbml.evaluation import dealing
from rotogbml.evaluation.calibration import Scored, unmarked
from rotogbml.evaluation.dealing import accuracies, scored
from rotogbml.evaluation.methods import Spec
from rotogbml.evaluation.work import Piece, cut
from rotogbml.evaluation.work import Test as Fixed
from rotogbml.sources.packed import open_pack

EPISODES = 44
"""No multiple of a stack."""


@pytest.fixture(scope="module")
def specs(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Spec]:
    """Return methods that adapt side by side, whose features are kept, and that do neither."""
    root = tmp_path_factory.mktemp("runs")
    kinds = {
        "maml": [],
        "anil": ["--learner", "anil", "--encoder.norm", "group"],
        "meta-sgd": ["--learner", "meta-sgd", "--learner.first_order", "true"],
    }
    for name, more in kinds.items():
        assert main(["train", *tiny, *more, "--isi", "off", "--steps", "2", "--out", str(root / name)]) == 0
    return [*(Spec("run", str(root / name)) for name in kinds), Spec("pixels")]


@pytest.fixture(scope="module")
def tests(pack: Path) -> list[Fixed]:
    found = open_pack(pack)
    return [Fixed(found["hidden"], "all", 2, 1, 5, 0), Fixed(found["alpha"], "test", 2, 1, 5, 0)]


def bits(found: dict[tuple[Spec, str], Scored]) -> dict[tuple[Spec, str], bytes]:
    """Return accuracies, Brier scores and bins."""
    return {key: each.accuracy.tobytes() + each.brier.tobytes() + each.bins.tobytes() for key, each in found.items()}


def test_one_two_and_three_processes_give_the_same_bits(specs: list[Spec], tests: list[Fixed]) -> None:
    found = []
    for workers in (1, 2, 3):
        count: list[int] = []
        found.append(bits(scored(specs, tests, EPISODES, workers, count.append)))
        assert sum(count) == len(specs) * len(tests) * EPISODES
    assert found[0] == found[1] == found[2]
    assert len(set(found[0].values())) == len(specs) * len(tests)


def test_any_cut_and_any_order_give_the_same_bits(specs: list[Spec], tests: list[Fixed]) -> None:
    whole = scored(specs, tests, EPISODES, 1, lambda _: None)
    for test in tests:
        cuts = [(0, 3), (40, 44), (8, 40), (0, 8)]
        for start, stop in cuts:
            for group in (tuple(specs), tuple(reversed(specs)), (specs[1],)):
                values = Piece(group, test, start, stop).run()
                for spec, of_spec in zip(group, values, strict=True):
                    for name, array in vars(unmarked(of_spec)).items():
                        assert np.array_equal(array, getattr(whole[spec, test.source.name], name)[start:stop])


@pytest.mark.parametrize("episodes", [2, 8, 600, 601])
@pytest.mark.parametrize("workers", [1, 2, 64])
def test_pieces_cover_every_episode_once_and_shrink(tests: list[Fixed], episodes: int, workers: int) -> None:
    specs = [Spec("run", str(i)) for i in range(8)]
    pieces = list(cut(specs, tests, episodes, workers))
    covered = [(s, p.test.source.name, i) for p in pieces for s in p.specs for i in range(p.start, p.stop)]
    assert len(covered) == len(set(covered)) == len(specs) * len(tests) * episodes
    assert all(p.start % 8 == 0 for p in pieces)
    sizes = [p.stop - p.start for p in pieces if p.stop < episodes]
    assert sizes == sorted(sizes, reverse=True)


def test_when_one_stops_nobody_goes_on(specs: list[Spec], tests: list[Fixed]) -> None:
    """Ctrl-C in the middle: the threads end, and the processes with them."""
    before = threading.active_count()

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    started: list[dealing._Child] = []

    class Child(dealing._Child):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            started.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dealing, "_Child", Child)
        with pytest.raises(KeyboardInterrupt):
            accuracies(specs, tests, EPISODES, 3, stop)
    assert len(started) == 2
    for child in started:
        with pytest.raises(ProcessLookupError):
            os.kill(child.process.pid, 0)
    assert threading.active_count() == before


def test_a_process_that_dies_with_the_last_piece_is_reported(
    specs: list[Spec], tests: list[Fixed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It greets, takes a number, and is gone."""
    words = "import pickle, sys; pickle.load(sys.stdin.buffer); print([], flush=True); sys.stdin.readline(); exit(7)"
    python = dealing.python
    monkeypatch.setattr(dealing, "python", lambda *_: python("-c", words))
    waiting = threading.Event()
    draw = dealing._Deck.draw

    def last(deck: dealing._Deck) -> int | None:
        if threading.current_thread() is threading.main_thread():
            waiting.wait(60)
            return draw(deck)
        while len(deck) > 1:
            draw(deck)
        number = draw(deck)
        waiting.set()
        return number

    monkeypatch.setattr(dealing._Deck, "draw", last)
    with pytest.raises(RotogbmlError, match="an evaluation process ended with 7"):
        accuracies(specs, tests, EPISODES, 2, lambda _: None)
