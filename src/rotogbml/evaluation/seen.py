"""What runs have seen, and which classes of a target may therefore be tested honestly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rotogbml.errors import UsageError
from rotogbml.sources.packed import PackedSource, pack_digest
from rotogbml.training.run import RunFolder
from rotogbml.training.sources import open_sources, whole

Split = Literal["auto", "train", "val", "test", "all"]


@dataclass(frozen=True)
class Seen:
    """The sources that a run was trained on, by name."""

    run: str
    pixels: dict[str, str]
    """Digest of each one's pixels."""
    packs: dict[str, str]
    """Digest of its pixels, classes and splits."""
    whole: tuple[str, ...] = ()
    """Of which every class was trained on."""
    judged: tuple[str, ...] = ()
    """Sources that were not trained on, but whose validation classes chose the checkpoint."""

    @classmethod
    def by(cls, run: str) -> Seen:
        """Return what the run's record says; where a kill fell before it was written, what its sources are now."""
        folder = RunFolder(Path(run))
        record, config = folder.read_record(), folder.read_config()
        judged = tuple(name for name in config.validate_on or () if name in config.holdout)
        if "packs" in record:
            begun = record.get("begun", {})
            pixels, packs = ({**begun.get(key, {}), **record[key]} for key in ("sources", "packs"))
            every = (*config.whole, *begun.get("whole", []))
            return cls(run, pixels, packs, every, (*judged, *begun.get("judged", [])))
        found = {n: whole(s, config.whole) for n, s in open_sources(config.sources).items() if n not in config.holdout}
        digests = {n: s.digest for n, s in found.items()}, {n: pack_digest({n: s}) for n, s in found.items()}
        return cls(run, *digests, tuple(config.whole), judged)

    def knows(self, source: PackedSource) -> bool:
        """Say whether the run was trained on this source, under this name or another.

        Raises:
            UsageError: it was, but with other images, classes or splits: its test classes may have been trained on.
        """
        names = [name for name, digest in self.pixels.items() if name == source.name or digest == source.digest]
        for name in names:
            if name in self.whole:
                raise UsageError(f"{self.run} was trained on every class of '{name}': name another --target")
            if pack_digest({name: whole(source)}) != self.packs[name]:
                raise UsageError(
                    f"{self.run} was trained on '{name}' with other images, classes or splits than {source.path} has, "
                    "so it may have seen what is tested: give the pack it was trained on with --sources, "
                    "or name another --target"
                )
        return bool(names)


def honest_split(source: PackedSource, split: Split, runs: Sequence[Seen]) -> str:
    """Return which of the target's classes may be tested: none that any of the runs was trained on.

    A source is known again by its name and by its pixels as packed. The same photos packed at another size or with
    other options under another name have other pixels: they cannot be recognised.

    Raises:
        UsageError: no class of it may, or what was seen cannot be told.
    """
    trained_on = [seen.run for seen in runs if seen.knows(source)]
    judged = [seen.run for seen in runs if source.name in seen.judged]
    if split == "auto":
        if source.classes_of("test"):
            return "test"
        if judged:
            raise UsageError(
                f"'{source.name}' has no test classes and its validation classes chose the checkpoint of {judged[0]}: "
                "name another --target"
            )
        if trained_on:
            raise UsageError(
                f"'{source.name}' has no test classes and {trained_on[0]} was trained on it: "
                f"train with --holdout {source.name}, or name another --target"
            )
        return "all"
    if split in ("train", "all") and trained_on:
        raise UsageError(
            f"{trained_on[0]} was trained on classes of '{source.name}': --split {split} would test what it has seen"
        )
    if split in ("val", "all") and judged:
        raise UsageError(
            f"validation classes of '{source.name}' chose the checkpoint of {judged[0]}: --split {split} would test "
            "what it was chosen by"
        )
    return split
