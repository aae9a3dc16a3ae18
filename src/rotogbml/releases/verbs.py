"""``rotogbml data import``, ``check``, ``list``, ``overlap`` and ``hub``: the work, and its tables on the terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rotogbml.releases.check import CheckReport
    from rotogbml.releases.listing import Listing
    from rotogbml.sources.overlap import OverlapReport
    from rotogbml.sources.summary import PackReport


def import_(
    name: str,
    path: str,
    out: str,
    size: int = 84,
    margin: float = 0.15,
    split: str | None = None,
    whole: bool = False,
    seed: int = 0,
    n_way: int = 5,
    strict: bool = False,
    drop_overlap: list[str] | None = None,
    workers: int | None = None,
) -> PackReport:
    """Pack a published data set as its publishers release it, with the class split of the literature.

    Folders and archives are read in place. Images of one lesion, leaf or patient are kept together as a group where the
    release names them. Nothing is fetched: see rotogbml data list for what is known of each.

    Args:
        name: Which release: rotogbml data list names them; generic takes any table or tree of images.
        path: Any place in the release: its folder, an archive, a folder of archives, a folder inside it.
        out: Where the pack is to lie.
        size: Side of the square that an encoder will see, in pixels: 84 for conv4, 224 for resnet10.
        margin: Room for random crops in training, as a share of size; 0 stores exactly size.
        split: One of the release's class splits by name (cub: 100/50/50, 140/30/30), or a JSON file.
        whole: Take parts too that the literature leaves out (test parts, images beyond the first so many of a class).
        seed: Of the random split, where the release has none.
        n_way: Classes in a task.
        strict: Make one image that is missing or left out an error, and write nothing.
        drop_overlap: Packs; images that stand in them too are left out of this one.
        workers: Processes that decode; all cores where not given.

    Raises:
        UsageError: There is nothing of the release, its files contradict each other, or an option is wrong.
        RotogbmlError: It failed; a pack that was there is untouched.
    """
    from rich.console import Console
    from rich.text import Text

    from rotogbml.releases.importing import import_release

    read, report = import_release(
        name, path, out, size, margin, split, whole, seed, n_way, strict, drop_overlap, workers, show=True
    )
    console = Console()
    console.print(report)
    for remark in (*read.reading.remarks, *read.release.notes(read.reading)):
        console.print(Text(f"remark: {remark}"))
    console.print(Text(f"terms of use: {read.release.terms}"))
    return report


def check(name: str, path: str, whole: bool = False, format: Literal["text", "json"] = "text") -> CheckReport:
    """Say what of a release is there and what is missing, by name and count. Opens no image and writes nothing.

    Args:
        name: Which release: rotogbml data list names them.
        path: Any place in the release.
        whole: Count parts too that the literature leaves out.
        format: For people, or for programs.

    Raises:
        UsageError: There is nothing of the release, or its files contradict each other.
    """
    from rich.console import Console

    from rotogbml.releases.check import check as look

    report = look(name, path, whole)
    if format == "json":
        print(json.dumps(report.as_json(), indent=1, ensure_ascii=False))
    else:
        Console().print(report)
    return report


def list_(packs: list[str] | None = None) -> Listing:
    """List the releases that can be imported: terms of use, sizes, splits, and what is packed already.

    Args:
        packs: Packs, or folders of packs, to look for what is packed; the working folder where not given.

    Raises:
        UsageError: A place is no folder.
    """
    from rich.console import Console

    from rotogbml.releases.listing import list_releases

    listing = list_releases(packs)
    Console().print(listing, crop=False)  # paths stay whole
    return listing


def overlap(packs: list[str], within: bool = False, limit: int = 20, out: str | None = None) -> OverlapReport:
    """List images that stand in several sources: the same bytes, or the same picture scaled or encoded anew.

    Args:
        packs: Packs; every source of them is compared with every other.
        within: Compare the images inside each source too.
        limit: Pairs that are printed for each two sources.
        out: A .csv file for all pairs.

    Raises:
        UsageError: A place is no pack, or there is nothing to compare.
    """
    from rich.console import Console

    from rotogbml.sources.overlap import overlap as compare

    report = compare(packs, within=within, show=True)
    if out is not None:
        report.write(out)
    Console().print(report.table(limit))
    return report


def hub(
    id: str,
    out: str,
    config: str | None = None,
    split: str | None = None,
    image: str | None = None,
    label: str | None = None,
    group: str | None = None,
    size: int = 84,
    margin: float = 0.15,
    seed: int = 0,
    n_way: int = 5,
    workers: int | None = None,
) -> PackReport:
    """Pack an image data set of the Hugging Face hub, or a local copy of one (needs the extra hub).

    Args:
        id: Its name on the hub (owner/name), or a folder in the hub's form or written by save_to_disk.
        out: Where the pack is to lie.
        config: Its configuration, where it has several.
        split: One of its parts; all of them together where not given: a part of images is no class split.
        image: Column of the images; its first column of images where not given.
        label: Column of the labels; its first column of classes, or one named label, where not given.
        group: Column of what belongs together (a patient, a lesion), where there is one.
        size: Side of the square that an encoder will see, in pixels.
        margin: Room for random crops in training, as a share of size; 0 stores exactly size.
        seed: Of the random class split.
        n_way: Classes in a task.
        workers: Processes that decode; all cores where not given.

    Raises:
        UsageError: It cannot be loaded, or has no images or no labels.
        RotogbmlError: It failed; a pack that was there is untouched.
    """
    from rich.console import Console

    from rotogbml.releases.hub import import_hub

    report = import_hub(id, out, config, split, image, label, group, size, margin, seed, n_way, workers, show=True)
    Console().print(report)
    return report
