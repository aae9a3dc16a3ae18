"""Image data sets of the Hugging Face hub, by its own library ``datasets`` (the extra ``hub``).

The library finds, fetches and keeps them (in its own cache); their encoded images are written to one archive beside
OUT, which is packed as any other and removed at the end.
"""

from __future__ import annotations

import importlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rotogbml.errors import UsageError, did_you_mean
from rotogbml.releases import generic
from rotogbml.releases.files import Files, Place
from rotogbml.releases.importing import Read, tree_of
from rotogbml.releases.reading import Reading, Row
from rotogbml.sources.containers import Container
from rotogbml.sources.options import PackOptions
from rotogbml.sources.pack import pack_tree
from rotogbml.sources.place import disk_error
from rotogbml.sources.progress import progress
from rotogbml.sources.summary import PackReport
from rotogbml.sources.tree import SPLIT_FOLDERS

_LABELS = ("label", "labels", "class", "fine_label", "category", "species", "dx", "target")


def import_hub(
    id: str,
    out: str | Path,
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
    show: bool = False,
) -> PackReport:
    """Import a data set of the hub; see ``verbs.py`` for the arguments.

    Raises:
        UsageError: ``datasets`` is not installed, the data set cannot be loaded, or has no images or labels.
        RotogbmlError: It failed; a pack that was there is untouched.
    """
    options = PackOptions(size, margin, seed, n_way, None)
    parts = _load(id, config, split)
    features = next(iter(parts.values())).features
    picture = _column(id, image, [name for name in features if _kind(features[name]) == "Image"], features, "images")
    named = [name for name in features if _kind(features[name]) == "ClassLabel"]
    named += [name for name in _LABELS if name in features and name not in named]
    said = _column(id, label, named, features, "labels")
    if group is not None:
        _column(id, group, [], features, "groups")
    _refuse(id, features, {"image": picture, "label": said, "group": group})
    out = Path(out).resolve()
    archive = out.with_name(f".{out.name}.hub.tar")
    try:
        try:
            files, reading = _write(id, archive, parts, picture, said, group, show)
        except OSError as error:
            raise disk_error(error, out, archive) from error
        if not reading.rows:
            raise UsageError(f"{id}: no image has a label in column '{said}'")
        release = replace(generic.RELEASE, name=Path(id).name or "hub", title=id)
        return pack_tree(tree_of(Read(release, files, reading, archive)), out, options, workers=workers, show=show)
    finally:
        archive.unlink(missing_ok=True)


def _load(id: str, config: str | None, split: str | None) -> dict[str, Any]:
    """Return the data set's parts by name."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise UsageError("data hub needs the library datasets: pip install 'rotogbml[hub]'") from None
    folder = Path(id)
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            loaded = datasets.load_from_disk(id)
        else:
            loaded = datasets.load_dataset(id, config)
    except Exception as error:  # whatever it raises, it says that this name cannot be loaded
        why = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{id} cannot be loaded ({type(error).__name__}: {why}): give owner/name, or a folder"
        ) from None
    parts = dict(loaded) if isinstance(loaded, Mapping) else {str(loaded.split or "all"): loaded}
    if split is not None:
        if split not in parts:
            raise UsageError(f"{id} has no part '{split}'{did_you_mean(split, parts)}: there are {', '.join(parts)}")
        parts = {split: parts[split]}
    return parts


def _kind(feature: Any) -> str:
    return type(feature).__name__


def _column(id: str, wanted: str | None, fitting: list[str], features: Mapping[str, Any], what: str) -> str:
    if wanted is not None:
        if wanted not in features:
            raise UsageError(f"{id} has no column '{wanted}'{did_you_mean(wanted, features)}: {', '.join(features)}")
        return wanted
    if not fitting:
        raise UsageError(
            f"{id} has no column of {what}: name one with --{what[:-1]}; its columns are {', '.join(features)}"
        )
    return fitting[0]


def _refuse(id: str, features: Mapping[str, Any], asked: Mapping[str, str | None]) -> None:
    """Refuse a column that is asked for twice, or does not hold what it is asked for.

    Raises:
        UsageError: There is one.
    """
    columns = {option: column for option, column in asked.items() if column is not None}
    options = {column: option for option, column in reversed(columns.items())}
    for option, column in columns.items():
        feature = features[column]
        kind = _kind(feature) + (f" of {feature.dtype}" if _kind(feature) == "Value" else "")
        if options[column] != option:
            raise UsageError(f"{id}: column '{column}' is both --{options[column]} and --{option}: name two columns")
        if option == "image" and not _holds_images(feature):
            raise UsageError(
                f"{id}: column '{column}' holds no images ({kind}): name another one with --image; its columns are "
                f"{', '.join(features)}"
            )
        if option != "image" and _kind(feature) not in ("ClassLabel", "Value"):
            raise UsageError(
                f"{id}: column '{column}' does not hold one {option} of each image ({kind}): name another one with "
                f"--{option}; its columns are {', '.join(features)}"
            )


def _holds_images(feature: Any) -> bool:
    """Return whether a column holds encoded images, also where nobody has said so of its bytes."""
    if isinstance(feature, Mapping):
        return "bytes" in feature
    return _kind(feature) == "Image" or getattr(feature, "dtype", "") in ("binary", "large_binary")


def _write(
    id: str, archive: Path, parts: Mapping[str, Any], picture: str, said: str, group: str | None, show: bool
) -> tuple[Files, Reading]:
    """Write the encoded images to an archive, and return it with what its files are."""
    reading = Reading(f"column '{picture}' of images and column '{said}' of labels")
    archive.parent.mkdir(parents=True, exist_ok=True)
    total = sum(len(part) for part in parts.values())
    with progress("reading", total, show) as advance, tarfile.open(archive, "w") as tar:
        for name, part in parts.items():
            where = SPLIT_FOLDERS.get(name.casefold(), "")
            for number, (data, label, of) in enumerate(_rows(part, picture, said, group)):
                path = f"{name}/{number:08}"
                advance(1)
                if data is None or label is None:
                    reading.leave(path, "missing_file" if data is None else "unlabelled_test_image")
                    continue
                info = tarfile.TarInfo(path)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                reading.rows.append(Row(path, label, of, where))
    container = Container("tar", archive)
    found = {file.path: Place(0, file) for file in container.files()[0]}
    reading.classes = sorted({row.label for row in reading.rows})
    return Files(Path(id), (container,), found), reading


def _rows(part: Any, picture: str, said: str, group: str | None) -> Iterator[tuple[bytes | None, str | None, str]]:
    """Yield the encoded image, the label and the group of each row."""
    datasets = importlib.import_module("datasets")
    names = getattr(part.features[said], "names", None)
    columns = [picture, said, *([group] if group else [])]
    for row in part.select_columns(columns).cast_column(picture, datasets.Image(decode=False)):
        image, label = row[picture] or {}, row[said]
        data = image.get("bytes")
        if data is None and image.get("path") and Path(image["path"]).is_file():
            data = Path(image["path"]).read_bytes()
        if label is None or (names is not None and label < 0):
            text = None
        else:
            text = str(label) if names is None else names[label]
        yield data, text or None, f"{group} {row[group]}" if group and row[group] is not None else ""
