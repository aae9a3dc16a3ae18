"""``rotogbml data scan`` and ``rotogbml data pack``: the work, and its tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rotogbml.sources.summary import PackReport, ScanReport


def scan(root: str) -> ScanReport:
    """Say what images lie under a folder, and which of them could not be packed. Writes nothing.

    Args:
        root: Folder or archive: ROOT/<source>/<class>/*.jpg, ROOT/<source>/{train,val,test}/<class>/*.jpg, or
            ROOT/<class>/*.jpg for one source; a .tar, .tar.gz or .zip of either, or a folder of those.

    Raises:
        UsageError: There are no sources under ``root``.
    """
    from rich.console import Console

    from rotogbml.sources.scan import scan as scan_images

    report = scan_images(root, show=True)
    Console().print(report)
    return report


def pack(
    root: str,
    out: str,
    size: int = 84,
    margin: float = 0.15,
    split: str | None = None,
    seed: int = 0,
    n_way: int = 5,
    strict: bool = False,
    drop_overlap: list[str] | None = None,
    workers: int | None = None,
) -> PackReport:
    """Decode images once, and store them as one array a source, with their classes and splits.

    A stopped run goes on where it stopped; a pack that is there is replaced only when the new one is complete.

    Args:
        root: Folder or archive: ROOT/<source>/<class>/*.jpg, ROOT/<source>/{train,val,test}/<class>/*.jpg, or
            ROOT/<class>/*.jpg for one source; a .tar, .tar.gz or .zip of either, or a folder of those.
        out: Where the pack is to lie.
        size: Side of the square that an encoder will see, in pixels.
        margin: Room for random crops in training, as a share of size; 0 stores exactly size.
        split: A JSON file {"SOURCE": {"train": [classes], "val": [...], "test": [...]}}; it wins over folders named
            train, val and test, which win over 64/16/20 percent at random.
        seed: Of the random split.
        n_way: Classes in a task; a source with fewer than three times as many classes is not split.
        strict: Make one file that would be skipped an error, and write nothing.
        drop_overlap: Packs; images that stand in them too are left out of this one.
        workers: Processes that decode; all cores where not given.

    Raises:
        UsageError: The request is wrong.
        RotogbmlError: It failed; a pack that was there is untouched.
    """
    from rich.console import Console

    from rotogbml.sources.pack import pack as pack_images

    report = pack_images(
        root, out, size, margin, seed, n_way, split, strict, workers, show=True, drop_overlap=drop_overlap
    )
    Console().print(report)
    return report
