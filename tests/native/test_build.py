"""The compiled passes are made when they can be, and done without when they cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rotogbml.native import available, build


@pytest.fixture(autouse=True)
def anew():
    build.library.cache_clear()
    yield
    build.library.cache_clear()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rotogbml"


def program(tmp_path: Path, name: str, body: str) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return folder


@pytest.mark.skipif(not available(), reason="no C compiler here")
def test_compiled_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.library() is not None
    (made,) = cache.iterdir()
    assert made.suffix == ".so"
    build.library.cache_clear()
    monkeypatch.setattr(build.subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
    assert build.library() is not None


def test_other_sources_have_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = build._digest("cc")
    assert build._digest("other") != before
    changed = tmp_path / "isi.c"
    changed.write_bytes(build.SOURCES[1].read_bytes() + b"\n")
    monkeypatch.setattr(build, "SOURCES", (build.SOURCES[0], changed))
    assert build._digest("cc") != before


def test_no_compiler(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not available()
    assert not cache.exists()


def test_a_compiler_that_fails_leaves_nothing(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(program(tmp_path, "cc", "echo no >&2; exit 1")))
    assert not available()
    assert list(cache.iterdir()) == []


def test_a_compiler_that_makes_rubbish(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(program(tmp_path, "cc", 'while [ "$1" != -o ]; do shift; done; echo no > "$2"')))
    assert not available()
    assert list(cache.iterdir()) == []


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert not available()


def test_switched_off_and_still_computing(tmp_path: Path) -> None:
    code = (
        "import torch; from rotogbml.native import available; from rotogbml.encoders import create_encoder; "
        "e = create_encoder('conv4', size=84); "
        "print(available(), e(torch.zeros(2, 3, 84, 84)).shape[1])"
    )
    environment = {**os.environ, "ROTOGBML_NATIVE": "0"}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "1600"]
