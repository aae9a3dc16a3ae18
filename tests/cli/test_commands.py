"""Every verb once as people use it, on drawn characters and on files: from nothing to the report."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import rotogbml
from rotogbml import demonstration
from rotogbml.cli import main
from rotogbml.errors import RotogbmlError
from rotogbml.training.run import RunFolder

SCRIPTS = ("arrows", "greek", "lao")


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pack of three writing systems, 16 px, 6 images a character."""
    out = tmp_path_factory.mktemp("characters") / "pack"
    return rotogbml.glyphs(out, size=16, images_per_class=6, scripts=SCRIPTS, workers=1)


@pytest.fixture(scope="module")
def recipe(characters: Path) -> list[str]:
    return [
        *("--sources", str(characters), "--holdout", "lao", "--threads", "1", "--encoder.width", "4"),
        *("--episodes.n_way", "3", "--episodes.n_query", "3", "--episodes.tasks_per_batch", "2"),
        *("--episodes.augment", "shape-safe", "--learner.inner_steps", "2", "--outer.validation_episodes", "4"),
    ]


def test_from_characters_to_the_report(recipe: list[str], start: Callable[..., Any], tmp_path: Path) -> None:
    def done(*arguments: str) -> str:
        run = start(arguments)
        code = run.wait()
        assert code == 0, run.err.read_text()
        assert "Traceback" not in run.err.read_text()
        return run.out.read_text()

    roto, plain = str(tmp_path / "roto"), str(tmp_path / "plain")
    dry = done("train", *recipe, "--steps", "4", "--out", roto, "--dry-run")
    assert "parameters (encoder)" in dry
    assert "peak memory" in dry
    assert "estimated time" in dry
    assert not Path(roto).exists()
    said = done("train", *recipe, "--steps", "4", "--out", roto)
    assert "maml + RotoGBML, conv4-4, 3-way 1-shot, N = 2, norm batch, seed 0: 4 steps" in said
    assert "training sources (96 classes): arrows, greek" in said
    assert "held out: lao" in said
    assert "4 steps in 0:0" in said
    done("train", *recipe, "--steps", "4", "--out", plain, "--homogenizer", "none", "--isi", "off")
    table = done("evaluate", roto, plain, "--episodes", "4", "--workers", "1", "--format", "csv")
    assert "untrained encoder" in table
    assert "lao" in table
    assert f"{tmp_path}/report.html" in done("report", roto, plain, "--out", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert "lao" in page
    assert "maml + RotoGBML" in page


def test_from_files_to_a_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("forest", "town"):
        for c in range(6):
            folder = tmp_path / "images" / name / f"kind{c}"
            folder.mkdir(parents=True)
            for i in range(5):
                Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    assert main(["data", "scan", str(tmp_path / "images")]) == 0
    said = capsys.readouterr().out
    assert "forest" in said
    assert "town" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images"]
    out = tmp_path / "pack"
    assert (
        main(["data", "pack", str(tmp_path / "images"), str(out), "--size", "16", "--n_way", "2", "--workers", "1"])
        == 0
    )
    sources = rotogbml.open_pack(out)
    assert {name: len(source.images) for name, source in sources.items()} == {"forest": 30, "town": 30}
    small = [
        "--episodes.n_way",
        "2",
        "--episodes.n_query",
        "2",
        "--episodes.tasks_per_batch",
        "2",
        "--encoder.width",
        "4",
    ]
    train = ["train", "--sources", str(out), *small, "--threads", "1", "--steps", "1", "--out", str(tmp_path / "run")]
    assert main(train) == 0


def test_the_python_function_does_the_same_as_the_command(tiny: list[str], pack: Path, tmp_path: Path) -> None:
    from rotogbml.config import EncoderConfig, EpisodeConfig, LearnerConfig, OuterConfig

    assert main(["train", *tiny, "--steps", "3", "--out", str(tmp_path / "command")]) == 0
    report = rotogbml.train(
        sources=[str(pack)],
        holdout=["hidden"],
        out=str(tmp_path / "function"),
        steps=3,
        threads=1,
        episodes=EpisodeConfig(n_way=2, n_query=3, tasks_per_batch=3),
        encoder=EncoderConfig(width=4),
        learner=LearnerConfig(inner_steps=2, inner_lr=0.2),
        outer=OuterConfig(log_every=2, validate_every=4, validation_episodes=6),
    )
    assert report.steps == 3
    assert report.best_validation is not None
    assert len(report.digest) == 64
    configs = [RunFolder(tmp_path / name).read_config() for name in ("command", "function")]
    assert configs[0] == configs[1]
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("command", "function")]
    assert metrics[0] == metrics[1]


def test_minutes_end_a_run_by_the_clock(tiny: list[str], tmp_path: Path) -> None:
    assert main(["train", *tiny, "--minutes", "0.02", "--out", str(tmp_path)]) == 0
    timing = [json.loads(line) for line in (tmp_path / "timing.jsonl").read_text().splitlines()]
    assert 1.2 <= timing[-1]["seconds"] < 10
    assert timing[-1]["step"] > 1


def test_the_demo_trains_twice_tests_and_reports(
    recipe: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demonstration, "RECIPE", recipe)
    monkeypatch.setattr(demonstration, "QUERIES", 3)
    monkeypatch.setattr("rotogbml.sources.glyphs.glyphs", lambda: None)  # the small ones are drawn already
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy.py").write_text("raise SystemExit(3)")  # the trainings do not import it
    assert main(["demo", "--out", "demo[/bold]", "--steps", "3", "--episodes", "4"]) == 0
    said = capsys.readouterr().out
    (tmp_path / "demo[/bold]").rename(tmp_path / "demo")
    assert "--out 'demo[/bold]/rotogbml'" in said
    assert "--out 'demo[/bold]/report.html'" in said
    assert "$ rotogbml train" in said
    assert f"--seed 0 --out {shlex.quote('demo[/bold]/plain')}\n" in said  # in one line, however wide the terminal
    assert re.search(r"accuracy on lao: maml \+ RotoGBML [0-9.]+ ± [0-9.]+ %; maml [0-9.]+ ±", " ".join(said.split()))
    assert (tmp_path / "demo/report.html").stat().st_size < 5_000_000
    tree = json.loads((tmp_path / "demo/rotogbml/evaluation/results.json").read_text())
    assert {row["method"] for row in tree["rows"]} >= {"maml + RotoGBML", "maml", "nearest prototype on pixels"}
    assert [pair["target"] for pair in tree["paired"]] == ["lao"]


def test_a_training_that_fails_in_the_demo_is_told_in_its_own_words(tmp_path: Path) -> None:
    commands, runs = {"ours": ["trian"], "plain": ["--version"]}, {name: tmp_path / name for name in ("ours", "plain")}
    with pytest.raises(RotogbmlError, match=r"training 'ours' failed \(rotogbml: no verb 'trian' .*see .*ours\.log"):
        demonstration._train(commands, runs, 3, Console())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--steps", "0"], "steps is 0: give at least 1"), (["--episodes", "1"], "episodes is 1: give at least 2")],
)
def test_a_demo_of_nothing_is_refused_before_anything_is_done(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
