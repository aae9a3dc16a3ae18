"""Pieces of real releases, and a maker of others in their form."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rotogbml.releases.importing import tree_of
from rotogbml.sources.splits import split_classes

Files = dict[str, bytes]


def picture(seed: int, width: int = 24, height: int = 20, kind: str = "JPEG") -> bytes:
    """Return a file of smooth random colours, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="session")
def pictures() -> Callable[[Iterable[str]], Files]:
    """Return a maker of one different image for each name."""

    def make(names: Iterable[str]) -> Files:
        return {
            name: picture(seed, kind="PNG" if name.lower().endswith("png") else "JPEG")
            for seed, name in enumerate(names)
        }

    return make


@pytest.fixture
def lay(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of files into a folder."""

    def write(files: dict[str, bytes | str], name: str = "release") -> Path:
        root = tmp_path / name
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data.encode() if isinstance(data, str) else data)
        return root

    return write


@pytest.fixture(scope="session")
def split_of() -> Callable[..., dict[str, list[str]]]:
    """Return a function that splits the classes of what was read, as packing it would."""

    def split(read: Any) -> dict[str, list[str]]:
        source = tree_of(read).sources[0]
        return split_classes(source, source.classes, file=None, seed=0, n_way=1).splits

    return split


@pytest.fixture(scope="session")
def layouts(shared_data: Path) -> Path:
    """Return the folder of pieces of real releases; skip where it is absent."""
    root = shared_data / "layouts"
    if not root.is_dir():
        pytest.skip(f"no pieces of releases at {root}")
    return root


def of_release(path: Path) -> bool:
    """Return whether a file of a piece belongs to the release itself."""
    return path.is_file() and path.name != "README.md" and not path.name.startswith("expect")


@pytest.fixture(scope="session")
def piece(layouts: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Return a function that gives a piece as a folder, a tar or a zip, and what is to be found in it."""

    def get(name: str, kind: str = "folder", expected: str = "expect.json") -> tuple[Path, dict[str, Any]]:
        expect = json.loads((layouts / name / expected).read_text(encoding="utf-8"))
        root = layouts / name / expect["root"]
        files = [path for path in sorted(root.rglob("*")) if of_release(path)]
        place = tmp_path_factory.mktemp(name)
        if kind == "folder":
            for path in files:
                target = place / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            return place, expect
        archive = place / f"{name}.{kind}"
        if kind == "zip":
            with zipfile.ZipFile(archive, "w") as out:
                for path in files:
                    out.write(path, path.relative_to(root).as_posix())
        else:
            with tarfile.open(archive, "w:gz" if kind == "tar.gz" else "w") as out:
                for path in files:
                    out.add(path, f"./{path.relative_to(root).as_posix()}")
        return archive, expect

    return get
