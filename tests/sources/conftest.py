"""Small image trees, drawn as they are needed."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Files = dict[str, bytes]


def image_bytes(seed: int, width: int = 24, height: int = 20, kind: str = "PNG", mode: str = "RGB") -> bytes:
    """Return a file of smooth random colours, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR).convert(mode)
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="session")
def draw() -> Callable[..., bytes]:
    """Return ``image_bytes``."""
    return image_bytes


@pytest.fixture(scope="session")
def some_files() -> Callable[[Iterable[str], int], Files]:
    """Return a maker of ``count`` different images in each of some folders."""

    def make(folders: Iterable[str], count: int) -> Files:
        names = [f"{folder}/{i:03}.png" for folder in folders for i in range(count)]
        return {name: image_bytes(seed) for seed, name in enumerate(names)}

    return make


@pytest.fixture(scope="session")
def write_as() -> Callable[[Path, Files, str], Path]:
    """Return a writer of files as a folder, or as one archive; it returns where it wrote."""

    def write(place: Path, files: Files, kind: str = "folder") -> Path:
        if kind == "folder":
            for name, data in files.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(data)
            return place
        place = place.with_name(f"{place.name}.{kind}")
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "zip":
            with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
            return place
        with tarfile.open(place, "w:gz") if kind == "tar.gz" else tarfile.open(place, "w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return place

    return write
