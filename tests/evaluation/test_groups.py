"""Lesions, leaves and patients in evaluation: kept apart by default, and the row says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rotogbml.cli import main
from rotogbml.evaluation import work
from rotogbml.evaluation.results import Results
from rotogbml.sources.packed import open_pack

Evaluate = Callable[..., Results]


@pytest.fixture(scope="module")
def patients(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the pack with a patient for every three rows of the held-out source, some of two classes."""
    root = tmp_path_factory.mktemp("patients") / "pack"
    shutil.copytree(pack, root)
    file = root / "hidden/source.json"
    head = json.loads(file.read_text())
    head["groups"] = [f"patient {(row + 1) // 3}" for row in range(120)]
    file.write_text(json.dumps(head))
    return root


def test_rows_say_what_was_done_with_groups(
    runs: dict[str, str], patients: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = evaluate(runs["plain"], sources=[str(patients)], format="markdown")
    assert "hidden (groups apart)" in capsys.readouterr().out
    both = evaluate(runs["plain"], sources=[str(patients)], respect_groups=False, format="markdown")
    assert "hidden (groups ignored)" in capsys.readouterr().out
    assert "--respect_groups false" in both.command
    assert "--respect_groups" not in kept.command
    assert [row["groups"] for row in both.rows.values()] == ["apart"] * 3 + ["ignored"] * 3
    plain = evaluate(runs["plain"])
    assert {row["groups"] for row in plain.rows.values()} == {"", "ignored"}  # the same place; "apart" was replaced


def test_episodes_of_a_test(patients: Path, pack: Path) -> None:
    source = open_pack(patients)["hidden"]
    assert source.groups is not None
    kept = work.Test(source, "all", 3, 2, 3, 0)
    ignored = work.Test(source, "all", 3, 2, 3, 0, respect_groups=False)
    without = work.Test(open_pack(pack)["hidden"], "all", 3, 2, 3, 0)
    mixed = 0
    for index in range(12):
        support, query = (set(source.groups[rows].tolist()) for rows in kept.episode(index).indices)
        assert not support & query
        a, b = ignored.episode(index), without.episode(index)
        assert all((x == y).all() for x, y in zip(a.indices, b.indices, strict=True))
        mixed += bool(set(source.groups[a.indices[0]]) & set(source.groups[a.indices[1]]))
    assert mixed > 6
    assert (kept.groups, ignored.groups, without.groups) == ("apart", "ignored", "")


def test_training_keeps_them_apart_unless_told(tiny: list[str], patients: Path, tmp_path: Path) -> None:
    options = [*tiny, "--steps", "1"]
    options[options.index("--sources") + 1] = str(patients)
    for more, said in (([], "true"), (["--episodes.respect_groups", "false"], "false")):
        out = tmp_path / said
        assert main(["train", *options, *more, "--out", str(out)]) == 0
        assert f"respect_groups: {said}" in (out / "config.yaml").read_text()
