"""Bad input: one line that names the value and the mend, the right exit code, and nothing lost or left behind."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rotogbml.cli import main
from rotogbml.training import checkpoint


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command, expects one line of complaint and returns it."""

    def call(*arguments: str, code: int = 2) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == code
        said = capsys.readouterr().err
        assert said.startswith("rotogbml: ")
        assert said.count("\n") == 1
        return said

    return call


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--episodes.n_way", "50"], ["n_way is 50", "'alpha' with 6", "lower n_way or add classes"]),
        (["--episodes.n_query", "50"], ["1 + 50 = 51 images a class", "12 or more", "lower n_query or k_shot"]),
        (["--episodes.k_shot", "[3, 1]"], ["k_shot is [3, 1]", "low ≤ high"]),
        (["--holdout", "HIDDEN"], ["no source 'HIDDEN' to hold out (did you mean 'hidden'?)"]),
        (["--holdout", "hiden"], ["no source 'hiden' to hold out", "did you mean 'hidden'?", "alpha, beta, gamma"]),
        (["--holdout", "alpha", "beta", "gamma", "hidden"], ["every source is held out", "leave at least one"]),
        (["--holdout", "alpha", "beta", "hidden"], ["needs two sources or more, here is only 'gamma'", "--shift weak"]),
        (["--learner", "anill"], ["no learner 'anill' (did you mean 'anil'?)", "anil, boil, imaml, maml, maml++"]),
        (["--encoder", "resnet"], ["no encoder 'resnet'", "conv4"]),
        (["--encoder.width", "0"], ["encoder.width is 0", "at least 1"]),
        (["--learner.inner_lr", "0"], ["inner_lr is 0.0", "above 0"]),
        (["--learner.inner_steps", "-1"], ["inner_steps is -1", "negative"]),
        (["--outer.meta_lr", "-1"], ["outer.meta_lr is -1.0", "above 0"]),
        (["--outer.log_every", "0"], ["outer.log_every is 0", "at least 1"]),
        (["--steps", "0"], ["steps is 0", "positive"]),
        (["--minutes", "-1"], ["minutes is -1.0", "positive"]),
        (["--threads", "0"], ["threads is 0", "at least 1"]),
        (["--isi.T", "0"], ["isi.T=0.0", "> 0"]),
        (["--homogenizer.rotate.rotation_dim", "99"], ["rotation_dim=99", "the encoder has 4 features"]),
        (["--homogenizer.reweight.update", "fixed"], ["needs reweight.fixed: 3 weights for alpha, beta, gamma"]),
        (
            ["--homogenizer.rotate.slots", "minibatch", "--homogenizer.rotate.rotate_support", "true"],
            ["rotate_support to false"],
        ),
        (["--resume", "true"], ["no checkpoint in", "leave --resume out to start"]),
    ],
)
def test_training_that_cannot_be_is_refused_before_anything_is_written(
    refused: Callable[..., str], tiny: list[str], tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    said = refused("train", *tiny, "--out", str(tmp_path / "run"), *arguments)
    for part in parts:
        assert part in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sources", "mix", "said"),
    [
        (["alpha"], "uniform", "with the one source 'alpha' all tasks of a minibatch share one slot"),
        (["alpha", "beta"], "single-source", "with mix single-source all tasks of a minibatch share one slot"),
        (["alpha", "beta"], "uniform", None),
    ],
)
def test_slots_that_cannot_act_are_told_once(
    pack: Path,
    tiny: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    sources: list[str],
    mix: str,
    said: str | None,
) -> None:
    given = ["--sources", *(str(pack / name) for name in sources), *tiny[4:], "--episodes.mix", mix, "--dry-run"]
    assert main(["train", *given, "--out", str(tmp_path / "run")]) == 0
    told = [record.getMessage() for record in caplog.records if "slot" in record.getMessage()]
    assert [message.split(",")[0] for message in told] == ([] if said is None else [said])


def test_a_name_that_is_too_long(refused: Callable[..., str], tiny: list[str]) -> None:
    long = "x" * 300
    assert "File name too long" in refused("train", *tiny, "--steps", "1", "--out", long, code=1)
    assert f"{long}: File name too long" in refused("report", long, code=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(refused: Callable[..., str], tiny: list[str], tmp_path: Path) -> None:
    said = refused("train", *tiny, "--out", str(tmp_path / "run"), "--accelerator", "cuda")
    assert "accelerator is cuda, but torch sees no such GPU here" in said


def test_sources_that_are_none(refused: Callable[..., str], write_pack: Callable[..., Path], tmp_path: Path) -> None:
    def of(*sources: Path) -> str:
        return refused("train", "--sources", *map(str, sources), "--out", str(tmp_path / "run"))

    (tmp_path / "empty").mkdir()
    assert f"{tmp_path}/empty is no pack (no <source>/source.json in it): make one with" in of(tmp_path / "empty")
    assert f"no pack at {tmp_path}/nowhere: make one with 'rotogbml data pack ROOT" in of(tmp_path / "nowhere")
    a, b = write_pack(tmp_path / "a", ["alpha"]), write_pack(tmp_path / "b", ["alpha"])
    assert f"source 'alpha' stands in {a}/alpha and in {b}/alpha: leave one out" in of(a, b)
    small = write_pack(tmp_path / "small", ["beta"], size=17)
    assert "differ in image size ('alpha' 16 px, 'beta' 17 px): pack them with one --size" in of(a, small)
    tiniest = write_pack(tmp_path / "tiniest", ["one", "two"], images=[17] * 10, size=8, side=9)
    assert "8 px is too small, pack with --size 16 or more" in of(tiniest)
    head = a / "alpha/source.json"
    head.write_text(json.dumps({**json.loads(head.read_text()), "version": 9}))
    assert "has version 9 of the format, this rotogbml reads up to 1: upgrade rotogbml" in of(a)
    (b / "alpha/images.npy").write_bytes(b"")
    assert f"{b}/alpha/images.npy is damaged" in of(b)
    assert not (tmp_path / "run").exists()


def test_a_place_that_is_taken(refused: Callable[..., str], tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    train = ["train", *tiny, "--steps", "1", "--out"]
    assert f"{tmp_path} holds files but no run: choose another --out" in refused(*train, str(tmp_path))
    assert "is a file: choose another --out" in refused(*train, str(tmp_path / "thesis.tex"))
    assert "cannot write" in refused(*train, str(tmp_path / "thesis.tex/run"), code=1)
    run = str(tmp_path / "run")
    assert main([*train, run]) == 0
    assert f"{run} holds another run (seed is 0 there, 1 here): choose another --out" in refused(
        *train, run, "--seed", "1"
    )
    assert "--resume false was given" in refused(*train, run, "--resume", "false")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "thesis.tex"]


def test_a_loss_that_is_not_finite(refused: Callable[..., str], tiny: list[str], tmp_path: Path) -> None:
    said = refused("train", *tiny, "--out", str(tmp_path), "--steps", "3", "--learner.inner_lr", "1e30", code=1)
    assert "the loss of source '" in said
    assert "at step 0 is" in said
    assert "lower --learner.inner_lr or --outer.meta_lr; the last checkpoint is kept" in said
    assert all(p.isfinite().all() for p in checkpoint.load(tmp_path / "checkpoints/last.pt")["theta"].values())


def test_out_of_memory(
    refused: Callable[..., str], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in ("trainer", "dry_run"):  # training itself, and its dry run
        monkeypatch.setattr(f"rotogbml.training.{where}.meta_step", lambda *_: torch.empty(10**15))
    for more in ([], ["--dry-run"]):
        said = refused("train", *tiny, "--out", str(tmp_path / "run"), *more, code=1)
        assert "out of memory: lower --learner.inner_steps, --episodes.n_query or --encoder.width" in said


def test_a_full_disk(
    refused: Callable[..., str], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ["train", *tiny, "--out", str(tmp_path / "run"), "--steps"]
    assert main([*train, "2"]) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "run/checkpoints").iterdir()}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        said = refused(*train, "4", code=1)
    assert f"disk full while writing {tmp_path}/run/" in said
    assert "free some space and run the same command again" in said
    assert {p: p.read_bytes() for p in (tmp_path / "run/checkpoints").iterdir()} == before
    assert main([*train, "4"]) == 0


def test_damaged_checkpoints(
    refused: Callable[..., str], tiny: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = ["train", *tiny, "--out", str(tmp_path), "--steps", "2"]
    assert main(train) == 0
    (tmp_path / "checkpoints/last.pt").write_bytes(b"")
    assert main([*train[:-1], "3"]) == 0  # the one before serves
    assert [r.getMessage() for r in caplog.records] == [
        f"checkpoint {tmp_path}/checkpoints/last.pt is damaged (File is not a zip file): the one before is used"
    ]
    (tmp_path / "checkpoints/best.pt").write_bytes(b"PK")
    said = refused("evaluate", str(tmp_path), "--episodes", "2", "--workers", "1", code=1)
    assert f"checkpoint {tmp_path}/checkpoints/best.pt is damaged" in said
    assert "test the other one with --checkpoint last" in said
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"")
    said = refused(*train[:-1], "4", code=1)
    assert "no older one is left: start again in another --out" in said


def test_a_changed_pack(refused: Callable[..., str], write_pack: Callable[..., Path], tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "pack", ["alpha", "beta"], images=[8] * 10)
    small = [
        "--episodes.n_way",
        "2",
        "--episodes.n_query",
        "3",
        "--episodes.tasks_per_batch",
        "2",
        "--encoder.width",
        "4",
    ]
    train = ["train", "--sources", str(pack), *small, "--threads", "1", "--steps", "1", "--out", str(tmp_path / "run")]
    assert main(train) == 0
    write_pack(pack, ["beta"], images=[9] * 10)
    said = refused(*train)
    assert "the images or classes of 'beta' are not those" in said
    assert "put that pack back, or choose another --out" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data", "scan", "NOWHERE"], "no folder or archive at NOWHERE"),
        (["data", "scan", "EMPTY"], "no images under EMPTY"),
        (["data", "pack", "NOWHERE", "OUT"], "no folder or archive at NOWHERE"),
        (["evaluate", "NOWHERE"], "NOWHERE is no run folder"),
        (["evaluate", "EMPTY"], "EMPTY is no run folder (no config.yaml in it): make one with 'rotogbml train'"),
        (["report", "NOWHERE"], "no run folder 'NOWHERE'"),
        (["report", "EMPTY"], "'EMPTY' is no run folder"),
    ],
)
def test_places_where_there_is_nothing(
    refused: Callable[..., str], arguments: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "EMPTY").mkdir()

    def placed(text: Any) -> str:
        for name in ("NOWHERE", "EMPTY", "OUT"):
            text = text.replace(name, str(tmp_path / name))
        return text

    assert placed(said) in refused(*map(placed, arguments))
    assert [p.name for p in tmp_path.iterdir()] == ["EMPTY"]
