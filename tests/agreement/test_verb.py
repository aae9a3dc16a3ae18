"""``rotogbml gradients`` as a command, on runs of a few steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rotogbml import gradients
from rotogbml.agreement import verb
from rotogbml.agreement.measure import ROOMS, Asked, measure
from rotogbml.cli import main
from rotogbml.sources.packed import open_pack
from rotogbml.training.run import RunFolder


@pytest.fixture(scope="session")
def run(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with every part of RotoGBML."""
    out = tmp_path_factory.mktemp("agreement") / "run"
    assert main(["train", *tiny, "--steps", "3", "--out", str(out)]) == 0
    return out


def test_a_run_has_its_numbers_written_and_printed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gradients", str(run), "--tasks", "16"]) == 0
    said = capsys.readouterr().out
    assert "all together" in said
    assert "hidden" in said
    written = json.loads((run / "gradients" / "last.json").read_text(encoding="utf-8"))
    assert (written["step"], written["tasks"], written["training"]) == (3, 16, ["alpha", "beta", "gamma"])
    assert set(written["rooms"]) == set(ROOMS)
    for room in written["rooms"].values():
        assert list(room["sources"]) == ["alpha", "beta", "gamma", "hidden"]
        assert [pair["sources"] for pair in room["pairs"]] == [["alpha", "beta"], ["alpha", "gamma"], ["beta", "gamma"]]
        assert all(of["length"] > 0 and of["signal"][0] <= 1 for of in room["sources"].values())
        assert list(room["targets"]) == ["hidden"]
        assert list(room["targets"]["hidden"]["omega"]) == ["alpha", "beta", "gamma"]


def test_the_same_command_finds_the_same_and_another_seed_does_not(run: Path) -> None:
    first, again, other = (gradients([str(run)], tasks=16, seed=seed)[0] for seed in (0, 0, 1))
    assert repr(first.rooms) == repr(again.rooms)
    assert first.rooms["encoder"].sources["alpha"].length != other.rooms["encoder"].sources["alpha"].length


def test_sources_share_no_draw(run: Path, pack: Path) -> None:
    """Of equal sizes, equal streams would draw equal rows: the i-th tasks of two sources would go together."""
    config, found = RunFolder(run).read_config(), open_pack(pack)
    alpha, beta = (Asked(found[name], "train").sampler(config, 0) for name in ("alpha", "beta"))
    assert not any(np.array_equal(alpha.batch(i)[0].indices[1], beta.batch(i)[0].indices[1]) for i in range(8))


def test_a_source_too_small_for_the_most_shots_takes_part(
    write_pack: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in training: of a range of shots it has what it can fill."""
    small = write_pack(tmp_path / "pack", ["small"], images=(5,) * 10)
    write_pack(small, ["big", "large"])
    options = ["--sources", str(small), "--encoder.width", "4", "--episodes.n_way", "2", "--episodes.n_query", "3"]
    options += ["--episodes.k_shot", "[1, 4]", "--threads", "1", "--steps", "1", "--out", str(tmp_path / "run")]
    assert main(["train", *options, "--outer.validation_episodes", "2", "--isi", "off"]) == 0
    (report,) = gradients([str(tmp_path / "run")], tasks=16)
    assert list(report.rooms["encoder"].sources) == ["big", "large", "small"]
    assert "2-way 1 to 4-shot, 16 tasks" in " ".join(capsys.readouterr().out.split())


def test_it_can_be_measured_where_training_began(run: Path) -> None:
    (report,) = gradients([str(run)], tasks=16, checkpoint="untrained")
    assert report.step == 0
    assert (run / "gradients" / "untrained.json").is_file()


def test_another_target(run: Path) -> None:
    """Classes of a training source that were not trained on may be the target; what was trained on stands beside it."""
    (report,) = gradients([str(run)], target=["alpha"], tasks=16)
    for room in report.rooms.values():
        assert list(room.sources) == ["alpha", "beta", "gamma", "alpha, test classes"]
        assert room.sources["alpha"].length != room.sources["alpha, test classes"].length
        assert list(room.targets) == ["alpha, test classes"]


def test_the_learner_is_as_it_was_at_that_step(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MAML++ anneals: where training began it is first order, at its end it is not."""
    out, met = tmp_path / "run", []
    options = ["--learner.name", "maml++", "--learner.first_order_share", "0.5", "--steps", "2", "--out", str(out)]
    assert main(["train", *tiny, *options]) == 0
    monkeypatch.setattr(verb, "measure", lambda learner, *rest: (met.append(learner), measure(learner, *rest))[1])
    for checkpoint in ("untrained", "last"):
        gradients([str(out)], tasks=16, checkpoint=checkpoint)
    assert [learner.method.progress for learner in met] == [0.0, 1.0]


def test_only_what_was_trained_on_is_a_training_source(
    run: Path, pack: Path, write_pack: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = write_pack(tmp_path / "extra", ["extra"])
    (report,) = gradients([str(run)], sources=[str(pack), str(extra)], tasks=16)
    assert report.training == ["alpha", "beta", "gamma"]
    other = write_pack(tmp_path / "other", ["beta"], images=(13,) * 10)
    asked = ["gradients", str(run), "--tasks", "16", "--sources", *(str(pack / name) for name in ("alpha", "hidden"))]
    assert main([*asked, str(pack / "beta")]) == 2
    assert "was trained on 'gamma', which is not among alpha, hidden, beta" in capsys.readouterr().err
    assert main([*asked, str(pack / "gamma"), str(other)]) == 2
    assert "images or classes of 'beta'" in capsys.readouterr().err


def test_a_target_may_be_named_where_the_protocols_own_is_not_there(
    write_pack: Callable[..., Path], tmp_path: Path
) -> None:
    split = {"train": range(9), "val": range(9, 10), "test": range(10, 16)}
    pack = write_pack(
        tmp_path / "pack", ["imagenet", "birds", "cars", "scenes", "plants"], images=(7,) * 16, splits=split
    )
    options = ["--protocol", "strong", "--suite", "core", "--target", "cars", "--allow_missing", "--encoder.width", "4"]
    options += ["--episodes.n_query", "2", "--threads", "1", "--steps", "1", "--outer.validation_episodes", "2"]
    assert main(["train", "--sources", str(pack), *options, "--out", str(tmp_path / "run")]) == 0
    sources = [str(pack / name) for name in ("imagenet", "birds", "scenes", "plants")]
    (report,) = gradients([str(tmp_path / "run")], sources=sources, target=["birds"], tasks=16)
    assert list(report.rooms["encoder"].targets) == ["birds, test classes"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--tasks", "12"], "tasks is 12: give a multiple of 8, from 16 on"),
        (["--tasks", "8"], "tasks is 8: give a multiple of 8, from 16 on"),
        (["--tasks", "16", "--target", "hiden"], "no source 'hiden' (did you mean 'hidden'?)"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    run: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gradients", str(run), *more]) == 2
    assert said in capsys.readouterr().err


def test_methods_without_an_inner_loop_are_refused(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--sources", str(pack), "--holdout", "hidden", "--method", "protonet", "--encoder.width", "4"]
    options += ["--episodes.n_way", "2", "--episodes.n_query", "2", "--steps", "1", "--out", str(tmp_path / "run")]
    assert main(["train", *options]) == 0
    assert main(["gradients", str(tmp_path / "run"), "--tasks", "16"]) == 2
    assert "protonet, which has no inner loop" in capsys.readouterr().err
