"""Folders of images to arrays on disk: each image decoded once, on all cores, and one rename at the end.

Everything is built in ``.<out>.partial`` beside OUT. A kill leaves the old pack or none, and the same command
then goes on where it stopped; other options or other files start again. Equal input gives equal bytes, on any
number of workers.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.lock import locked
from rotogbml.sources.containers import Skip
from rotogbml.sources.examine import Chunk, chunks_of
from rotogbml.sources.job import Finished, Job
from rotogbml.sources.journal import begun
from rotogbml.sources.options import PackOptions
from rotogbml.sources.overlap import Avoid
from rotogbml.sources.packed import open_pack, pack_digest
from rotogbml.sources.place import SKIPPED_FILE, check_out, check_space, disk_error
from rotogbml.sources.progress import progress
from rotogbml.sources.splits import read_split_file
from rotogbml.sources.summary import PackReport
from rotogbml.sources.tree import Tree, count_reasons, find_sources
from rotogbml.sources.workers import examine_all, workers_for
from rotogbml.sources.writer import remove, replace_folder, restore_folder

WORK = ".work"


def pack(
    root: str | Path,
    out: str | Path,
    size: int = 84,
    margin: float = 0.15,
    seed: int = 0,
    n_way: int = 5,
    split: str | Path | None = None,
    strict: bool = False,
    workers: int | None = None,
    show: bool = False,
    drop_overlap: Sequence[str | Path] | None = None,
) -> PackReport:
    """Decode every image under ``root`` once, and store it in ``out`` as an array a source.

    Args:
        root: Folder or archive in one of the layouts of ``tree.py``.
        out: Where the pack is to lie; a pack that is there is replaced at the very end.
        size: Side of the square that an encoder will see, in pixels, 16 to 1024.
        margin: Room for random crops: a square of ``round((1 + margin) * size)`` is stored. 0 to 1.
        seed: Of the default split of the classes.
        n_way: Classes in a task; a source with fewer than three times as many classes is not split.
        split: A JSON file with the splits, see ``splits.py``.
        strict: Whether one file that would be skipped is an error, and nothing is written.
        workers: Processes that decode; all cores where not given.
        show: Whether progress is shown.
        drop_overlap: Packs; images that stand in them too are left out of this one.

    Raises:
        UsageError: An option is out of range, ``root`` holds no sources, the split file does not fit, or ``out``
            holds something that is no pack.
        RotogbmlError: The disk is full or refuses, a worker process died, no image is usable, or something is
            skipped under ``strict``. The old pack is untouched.
    """
    tree = find_sources(root)
    file = None if split is None else read_split_file(split, tree.sources)
    avoid = Avoid.of(drop_overlap) if drop_overlap else None
    return pack_tree(tree, out, PackOptions(size, margin, seed, n_way, file, avoid), strict, workers, show)


def pack_tree(
    tree: Tree,
    out: str | Path,
    options: PackOptions,
    strict: bool = False,
    workers: int | None = None,
    show: bool = False,
) -> PackReport:
    """Decode every image of what was found, and store it in ``out`` as an array a source; see ``pack``."""
    started = time.monotonic()
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}: give 1 or more")
    for source in tree.sources:
        options.split(source, source.classes)  # what is wrong with the split is said before the work
    if strict:
        _refuse(tree.skips)
    out = Path(out).resolve()
    partial = out.with_name(f".{out.name}.partial")
    try:
        check_out(out, tree)
        partial.mkdir(parents=True, exist_ok=True)
        with locked(partial, f"packing into {out}"):
            restore_folder(out)
            try:
                done, resumed = _examine(tree, options, partial, workers, show)
            except BaseException:
                if not begun(partial / WORK):
                    remove(partial)  # there is nothing in it to go on with
                raise
            skips = sorted([*tree.skips, *(skip for job in done for skip in job.skips)])
            try:
                if strict:
                    _refuse(skips)
                if not any(job.summary for job in done):
                    first = next(skip for skip in skips if not skip.ignored)
                    raise RotogbmlError(f"no usable image under {tree.root}, such as '{first.path}': {first.reason}")
            except RotogbmlError:
                remove(partial)  # however often the command is repeated, this will be no pack
                raise
            digest = _publish(partial, out, skips)
    except OSError as error:
        raise disk_error(error, out, partial) from error
    listed = sum(len(source.entries) for source in tree.sources)
    return PackReport(
        out=out,
        size=options.size,
        side=options.side,
        sources=tuple(job.summary for job in done if job.summary),
        skipped=count_reasons(skip for skip in skips if not skip.ignored),
        ignored=count_reasons(skip for skip in skips if skip.ignored),
        remarks=tuple(remark for job in done for remark in job.remarks),
        resumed=resumed,
        examined=listed - resumed,
        seconds=time.monotonic() - started,
        digest=digest,
    )


def _examine(
    tree: Tree, options: PackOptions, partial: Path, workers: int | None, show: bool
) -> tuple[list[Finished], int]:
    """Pack every source into ``partial``; return what each came to, and how many images an earlier run had done."""
    work = partial / WORK
    jobs = {source.name: Job(source, options, partial, work) for source in tree.sources}
    for left_over in partial.iterdir():
        if left_over.is_dir() and left_over.name not in {*jobs, WORK}:
            remove(left_over)
    sizes = [len(source.entries) * options.side**2 * 3 for source in tree.sources]
    check_space(partial, sum(sizes) + max(sizes))
    if workers is None:
        workers = workers_for([chunk for source in tree.sources for chunk in chunks_of(source, options.side)])
    done: dict[str, Finished] = {}
    resumed = 0
    with progress("packing", sum(len(source.entries) for source in tree.sources), show) as advance:

        def left() -> Iterator[Chunk]:
            nonlocal resumed
            for job in jobs.values():
                chunks = job.chunks()
                advance(len(job.journal.records))
                resumed += len(job.journal.records)
                yield from chunks

        for chunk, found in examine_all(left(), workers):
            job = jobs[chunk.source]
            job.journal.add(chunk, found)
            advance(len(chunk.files))
            if job.journal.complete:
                done[chunk.source] = job.finish()
        for name, job in jobs.items():
            if name not in done:
                done[name] = job.finish()
    return [done[name] for name in jobs], resumed


def _refuse(skips: Sequence[Skip]) -> None:
    """Raise for the files that should have been packed and were not."""
    counted = [skip for skip in skips if not skip.ignored]
    if counted:
        first = counted[0]
        raise RotogbmlError(
            f"{len(counted)} files cannot be packed, such as '{first.path}' ({first.reason}): nothing was written; "
            f"mend or remove them, or pack without --strict: it leaves them out and lists each in {SKIPPED_FILE}"
        )


def _publish(partial: Path, out: Path, skips: Sequence[Skip]) -> str:
    """Make the finished pack the one at ``out``, and return its digest."""
    with (partial / SKIPPED_FILE).open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "reason"])
        writer.writerows([skip.path, f"ignored: {skip.reason}" if skip.ignored else skip.reason] for skip in skips)
    digest = pack_digest(open_pack(partial))
    remove(partial / WORK)
    replace_folder(partial, out)
    return digest
