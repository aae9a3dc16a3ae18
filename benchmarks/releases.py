"""Large imports and overlaps: rate, peak memory, kill and go on; recall and false alarms of planted copies.

    python -m benchmarks.releases import [--images 100000] [--pixels 96] [--size 84]
    python -m benchmarks.releases pieces --archive LAYOUTS
    python -m benchmarks.releases overlap --archive CORE/birds.tar --archive CORE/cars.tar [--planted 500]

``pieces`` imports every piece of a release under a folder, as a folder, a tar and a zip, and compares what is found
with the ``expect.json`` beside it.

``import`` makes one tar of so many different JPEG files in the form of EuroSAT, imports it, imports it again and kills
that run half way, goes on, and compares the two packs. Beside the rate stands the processor's time an image, on which
other work on the machine weighs little, and what of it reading and decoding the same bytes take with nothing else done.
Peak memory is that of the largest single process.

``overlap`` takes real images of two archives, packs the first half of each as one source, and the second half, with
planted copies of the first, as another: copied, encoded anew (quality 60), half and double the size. No image of the
one half is in the other (equal bytes are dropped): every further pair is a false alarm, or a near copy that was there.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import resource
import subprocess
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from rotogbml.children import cores, environment, python
from rotogbml.releases.eurosat import COUNTS
from rotogbml.releases.importing import import_release
from rotogbml.seeds import numpy_generator
from rotogbml.sources.containers import Reader, container_at
from rotogbml.sources.decode import decode
from rotogbml.sources.overlap import overlap
from rotogbml.sources.pack import pack
from rotogbml.sources.packed import open_pack, pack_digest
from rotogbml.sources.writer import side_of


def made(place: Path, images: int, pixels: int) -> None:
    """Write a tar of so many JPEG files, no two alike, in class folders."""
    rng = numpy_generator(0, "made")
    ready = []
    for _ in range(200):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((pixels, pixels), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        ready.append(file.getvalue())
    names = list(COUNTS)
    with tarfile.open(place, "w") as tar:
        for i in range(images):
            data = ready[i % len(ready)] + i.to_bytes(4, "big")  # what follows a JPEG's end is not read
            info = tarfile.TarInfo(f"2750/{names[i % len(names)]}/{names[i % len(names)]}_{i}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def alone(place: Path, side: int, some: int = 2000) -> float:
    """Return the processor seconds an image of reading and decoding, with nothing else done."""
    container = container_at(place)
    assert container is not None
    reader = Reader(container)
    files = container.files()[0][:some]
    began = time.process_time()
    for file in files:
        decode(reader.read(file.key, file.size), side)
    return (time.process_time() - began) / len(files)


def spent() -> float:
    """Return the processor seconds of all processes that were started and have ended."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


def started(place: Path, out: Path, size: int) -> subprocess.Popen[str]:
    """Start an import."""
    command = python("-m", "rotogbml", "data", "import", "eurosat", str(place), str(out), "--size", str(size))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment())


def peak_of(process: subprocess.Popen[str]) -> Callable[[], float]:
    """Watch a process and its children; return a function that tells the largest resident size of any one, in MiB."""
    most = [0.0]

    def watch() -> None:
        while process.poll() is None:
            for status in Path("/proc").glob("[0-9]*/status"):
                try:
                    text = status.read_text()
                except OSError:
                    continue
                parent = re.search(r"PPid:\s+(\d+)", text)
                peak = re.search(r"VmHWM:\s+(\d+)", text)
                own = status.parent.name == str(process.pid) or (parent and parent[1] == str(process.pid))
                if own and peak:
                    most[0] = max(most[0], int(peak[1]) / 1024)
            time.sleep(0.2)

    thread = threading.Thread(target=watch)
    thread.start()

    def tell() -> float:
        thread.join()
        return most[0]

    return tell


def simulate(images: int, pixels: int, size: int) -> None:
    """Import, kill, go on, compare."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        place = root / "EuroSAT.tar"
        made(place, images, pixels)
        each = alone(place, side_of(size, 0.15))
        print(
            f"{images:,} files of {pixels} px, {place.stat().st_size / 1e6:.0f} MB; "
            f"reading and decoding alone: {1e3 * each:.2f} processor ms an image"
        )
        began, before = time.perf_counter(), spent()
        process = started(place, root / "one", size)
        peak = peak_of(process)
        process.communicate()
        seconds, processor = time.perf_counter() - began, spent() - before
        print(
            f"import: {seconds:.1f} s, {images / seconds:,.0f} images/s; {1e3 * processor / images:.2f} processor ms "
            f"an image, of which reading and decoding are {each * images / processor:.0%}; cores {cores()}, "
            f"load {os.getloadavg()[0]:.1f}"
        )
        print(f"peak memory of one process: {peak():,.0f} MiB")
        process = started(place, root / "two", size)
        time.sleep(0.6 * seconds)
        process.kill()
        process.wait()
        print(f"killed after {0.6 * seconds:.1f} s; a pack is there: {(root / 'two').exists()}")
        began = time.perf_counter()
        said = started(place, root / "two", size).communicate()[0]
        resumed = re.search(r"([\d,]+) images had been examined", said)
        print(f"gone on: {time.perf_counter() - began:.1f} s, {resumed[1] if resumed else 0} images taken over")
        print(f"the same: {pack_digest(open_pack(root / 'one')) == pack_digest(open_pack(root / 'two'))}")


WAYS = ("copied", "encoded anew", "half the size", "double the size")


def altered(data: bytes, way: str) -> bytes:
    """Return a copy of an image file."""
    if way == "copied":
        return data
    image = Image.open(io.BytesIO(data)).convert("RGB")
    factor = {"half the size": 0.5, "double the size": 2.0}.get(way, 1.0)
    if factor != 1.0:
        shape = (max(8, round(image.width * factor)), max(8, round(image.height * factor)))
        image = image.resize(shape, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60 if way == "encoded anew" else 90)
    return file.getvalue()


def plant(archives: list[Path], planted: int, most: int, size: int) -> None:
    """Plant copies, look for them, and say what was found."""
    rng = numpy_generator(0, "plant")
    files: list[bytes] = []
    for archive in archives:
        container = container_at(archive)
        assert container is not None
        reader = Reader(container)
        listed = container.files()[0]
        chosen = sorted(rng.permutation(len(listed))[: most // len(archives)])
        files += [reader.read(listed[i].key, listed[i].size) for i in chosen]
    order = rng.permutation(len(files))
    first, second = ([files[i] for i in half] for half in np.array_split(order, 2))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        truth: dict[str, str] = {}
        for name, images in (("first", first), ("second", second)):
            (root / name / "all").mkdir(parents=True)
            for i, data in enumerate(images):
                (root / name / "all" / f"{i:06}.jpg").write_bytes(data)
        for way in WAYS:
            for i in rng.permutation(len(first))[:planted]:
                copy = f"all/{way.replace(' ', '_')}-{i:06}.jpg"
                (root / "second" / copy).write_bytes(altered(first[i], way))
                truth[copy] = f"all/{i:06}.jpg"
        for name in ("first", "second"):
            pack(root / name, root / "packs" / name, size=size, n_way=2)
        began = time.perf_counter()
        report = overlap([root / "packs" / "first", root / "packs" / "second"])
        seconds = time.perf_counter() - began
        found = {pair.path_b for pair in report.pairs if truth.get(pair.path_b) == pair.path_a}
        for name in WAYS:
            mine = [copy for copy in truth if copy.startswith(f"all/{name.replace(' ', '_')}-")]
            print(f"{name}: {sum(copy in found for copy in mine)} of {len(mine)} found")
        others = [pair for pair in report.pairs if truth.get(pair.path_b) != pair.path_a]
        print(f"{sum(report.images.values()):,} images, {seconds:.1f} s; pairs that were not planted: {len(others)}")
        for pair in others[:10]:
            print(f"  {pair.path_a} {pair.path_b} {pair.correlation}")


PIECES = {"cropdisease": "cropdiseases", "tinyimagenet": "tiny-imagenet"}
"""Releases of pieces whose name does not begin with theirs."""


def as_archive(root: Path, place: Path, kind: str) -> Path:
    """Return a piece as it is, or as an archive of its files."""
    files = [f for f in sorted(root.rglob("*")) if f.is_file() and f.name != "README.md" and f.stem[:6] != "expect"]
    if kind == "folder":
        return root
    archive = place / f"{root.name}.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as out:
            for file in files:
                out.write(file, file.relative_to(root))
    else:
        with tarfile.open(archive, "w") as out:
            for file in files:
                out.add(file, str(file.relative_to(root)))
    return archive


def pieces(layouts: Path) -> None:
    """Import every piece of a release in three ways, and print a table of what was found beside what was to be."""
    print("| piece | classes | images | left out | folder | tar | zip |\n|---|---|---|---|---|---|---|")
    for expected in sorted(layouts.glob("*/expect.json")):
        expect = json.loads(expected.read_text(encoding="utf-8"))
        name = expected.parent.name.split("_")[0]
        name = PIECES.get(name, name)
        said = []
        for kind in ("folder", "tar", "zip"):
            with tempfile.TemporaryDirectory() as folder:
                place = as_archive((expected.parent / expect["root"]).resolve(), Path(folder), kind)
                read, _ = import_release(name, place, Path(folder) / "out", size=16, margin=0.0, workers=1)
                source = open_pack(Path(folder) / "out")[name]
                here = {label: len(source.rows(c)) for c, label in enumerate(source.classes)}
                same = here == expect["images"] and read.reading.counts() == expect["skipped"]
                said.append("equal" if same else "other")
        left = ", ".join(f"{count:,} {reason}" for reason, count in read.reading.counts().items()) or "none"
        row = [expected.parent.name, str(len(here)), str(sum(here.values())), left, *said]
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    """Run one of the three."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("what", choices=("import", "overlap", "pieces"))
    arguments.add_argument("--images", type=int, default=100_000)
    arguments.add_argument("--pixels", type=int, default=96)
    arguments.add_argument("--size", type=int, default=84)
    arguments.add_argument("--archive", type=Path, action="append", default=[])
    arguments.add_argument("--planted", type=int, default=500)
    given = arguments.parse_args()
    if given.what == "import":
        simulate(given.images, given.pixels, given.size)
    elif given.what == "pieces":
        pieces(given.archive[0])
    else:
        plant(given.archive, given.planted, given.images, given.size)


if __name__ == "__main__":
    main()
