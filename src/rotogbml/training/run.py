"""A run folder: what it holds, whose it is, and whether another command may go on in it."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import platform
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from rotogbml._version import __version__
from rotogbml.config import (
    EncoderConfig,
    EpisodeConfig,
    HomogenizerConfig,
    IsiConfig,
    LearnerConfig,
    MethodConfig,
    OuterConfig,
    ReweightConfig,
    RotateConfig,
    RunConfig,
)
from rotogbml.errors import UsageError
from rotogbml.files import cannot_write, write_atomic
from rotogbml.lock import locked
from rotogbml.protocols import ReadingsConfig
from rotogbml.sources.packed import PackedSource, pack_digest
from rotogbml.training.outer import anneals
from rotogbml.training.resolve import resolve

log = logging.getLogger(__name__)

# What may differ between a run and its continuation: how long it is, and how often it is saved.
# Where its packs lie may differ too: their digests are compared.
_FREE = ("steps", "minutes", "outer.checkpoint_seconds", "sources")


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration; ``rotogbml train --config`` takes it back."""
        return self.path / "config.yaml"

    @property
    def record(self) -> Path:
        """Versions, digests of the sources, image size, number of parameters."""
        return self.path / "run.json"

    @property
    def checkpoints(self) -> Path:
        """``last.pt``, ``previous.pt``, ``best.pt``; ``averaged.pt`` where validation judged the running mean."""
        return self.path / "checkpoints"

    def kept(self, step: int) -> Path:
        """One of the checkpoints that are kept for an ensemble."""
        return self.checkpoints / f"kept-{step:09}.pt"

    @property
    def evaluation(self) -> Path:
        """``results.json``, ``timing.json``, ``episodes.npz``, ``calibration.npz``, ``examples.npz``."""
        return self.path / "evaluation"

    def read_config(self) -> RunConfig:
        """Return the run's resolved configuration.

        Raises:
            UsageError: this is no run folder, or its configuration cannot be read.
        """
        try:
            tree = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(
                f"{self.path} is no run folder (no config.yaml in it): make one with 'rotogbml train'"
            ) from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise self._unreadable(error) from error
        try:
            given = config_from(tree)
            return replace(resolve(given), sources=given.sources)  # what an earlier version did not know is filled in
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> UsageError:
        return UsageError(f"{self.config} cannot be read as a run's configuration ({error}): put it back as it was")

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold the folder for this process: two trainings in one would write over each other.

        Raises:
            UsageError: another process trains in it, or it is a file.
            RotogbmlError: it cannot be made.
        """
        self._check_no_file()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        with locked(self.path, f"training in {self.path}"):
            yield

    def _check_no_file(self) -> None:
        if self.path.is_file():
            raise UsageError(f"{self.path} is a file: choose another --out")

    def claim(
        self,
        config: RunConfig,
        sources: dict[str, PackedSource],
        parameters: int,
        resume: bool,
        device: str = "cpu",
        processes: tuple[int, int] = (1, 1),
        size: int | None = None,
    ) -> None:
        """Make the folder this run's, or check that it already is; processes are (on this machine, machines).

        ``size``, the side of the images, is that of the sources where not given.

        Raises:
            UsageError: the folder holds something else, another run, or this run on other images.
            RotogbmlError: the folder cannot be written.
        """
        self._check_no_file()
        if self.config.exists():
            if not resume:
                raise UsageError(f"{self.path} already holds a run and --resume false was given: choose another --out")
            self.check_same(config, sources)
        # A kill during the very first write leaves a partial file and nothing else.
        elif self.path.exists() and any(not file.name.endswith(".partial") for file in self.path.iterdir()):
            raise UsageError(f"{self.path} holds files but no run: choose another --out, or empty it yourself")
        write_atomic(self.config, yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True))
        threads = torch.get_num_threads()
        made_with = {
            "rotogbml": __version__,
            "torch": _version("torch"),
            "numpy": _version("numpy"),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "device": device,
            "threads": threads,
        }
        before = self.read_record()
        for name, now in made_with.items():
            if before.get(name, now) != now:
                log.warning(
                    "%s was %s when this run began and is %s now: it goes on, but not to the bit as without a stop",
                    *(name, before[name], now),
                )
        devices, nodes = processes
        several = (f" --devices {devices}" if devices > 1 else "") + (f" --num_nodes {nodes}" if nodes > 1 else "")
        config_path, out = shlex.quote(str(self.config)), shlex.quote(str(self.path))
        record = {
            **{name: before.get(name, now) for name, now in made_with.items()},
            "command": f"rotogbml train --config {config_path} --threads {threads}{several} --out {out}",
            # As it is now: the numbers do not depend on it.
            "devices": devices,
            "num_nodes": nodes,
            "parameters": parameters,
            "size": next(iter(sources.values())).size if size is None else size,
            "classes": {name: len(source.classes_of("train")) for name, source in sorted(sources.items())},
            "sources": {name: source.digest for name, source in sorted(sources.items())},
            "packs": _packs(sources),
            **_begun(config, before),
            "weights": before.get("weights") or _digest_of(config.method.start),
        }
        write_atomic(self.record, json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def read_record(self) -> dict[str, Any]:
        """Return versions, sources and the like; empty where a kill fell before it was written.

        Raises:
            UsageError: it is damaged.
        """
        try:
            return json.loads(self.record.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) == errno.ENAMETOOLONG:  # no folder can have it: making it says so
                return {}
            raise UsageError(f"{self.record} cannot be read ({error}): put it back as it was") from error

    def check_same(self, config: RunConfig, sources: dict[str, PackedSource]) -> None:
        """Check that the run that the folder holds is this one, as far as it is begun.

        Raises:
            UsageError: it is another one, or this run on other images.
        """
        there, here = flat(asdict(self.read_config())), flat(asdict(config))
        # Where steps anneal, another length is another run from the start.
        free = tuple(name for name in _FREE if name not in ("steps", "minutes")) if anneals(config) else _FREE
        for name in sorted(there.keys() | here.keys()):
            if name not in free and there.get(name) != here.get(name):
                raise UsageError(
                    f"{self.path} holds another run ({name} is {there.get(name)} there, {here.get(name)} here): "
                    "choose another --out, or give that run's options to go on with it"
                )
        self.check_start(config.method.start)
        changed = self.others(sources)
        if changed:
            raise UsageError(
                f"the images or classes of '{changed[0]}' are not those {self.path} was trained on: "
                "put that pack back, or choose another --out"
            )

    def check_start(self, start: str | None) -> None:
        """Check that a file of weights is the one that the run began with; one that is gone, or unknown, may be.

        Raises:
            UsageError: it is another one.
        """
        now = _digest_of(start)
        if now is not None and self.read_record().get("weights") not in (None, now):
            raise UsageError(
                f"the weights at {start} are not those that {self.path} began with: put those back, or choose another "
                "--out"
            )

    def others(self, sources: dict[str, PackedSource]) -> list[str]:
        """Return the names of sources that are not as the record says; none where it says nothing."""
        packs = _packs(sources)
        saved = self.read_record().get("packs", packs)
        return sorted(name for name in saved.keys() | packs.keys() if saved.get(name) != packs.get(name))


def _packs(sources: dict[str, PackedSource]) -> dict[str, str]:
    return {name: pack_digest({name: source}) for name, source in sorted(sources.items())}


def _digest_of(start: str | None) -> str | None:
    """Return the digest of a file of weights; None where it is none, or gone.

    A run folder has none: its own record says what it is.
    """
    if start is None or not Path(start).is_file():
        return None
    with Path(start).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _begun(config: RunConfig, before: dict[str, Any]) -> dict[str, Any]:
    """Return what the run that this one begins with was trained on: its test classes must stay unseen here too."""
    start = config.method.start
    if start is None or not Path(start).is_dir():
        return {"begun": before["begun"]} if "begun" in before else {}
    folder = RunFolder(Path(start))
    there, its = folder.read_record(), folder.read_config()
    earlier = there.get("begun", {})
    begun: dict[str, Any] = {key: earlier.get(key, {}) | there.get(key, {}) for key in ("sources", "packs")}
    judged = [name for name in its.validate_on or [] if name in its.holdout]
    begun["whole"] = [*its.whole, *earlier.get("whole", [])]
    begun["judged"] = [*judged, *earlier.get("judged", [])]
    return {"begun": begun}


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, keys joined by dots; pairs compare equal whether list or tuple."""
    out: dict[str, Any] = {}
    for key, part in tree.items():
        if isinstance(part, dict):
            out |= flat(part, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = list(part) if isinstance(part, tuple) else part
    return out


def config_from(tree: dict[str, Any]) -> RunConfig:
    """Return the configuration of a ``config.yaml`` tree, as ``asdict`` wrote it."""
    tree = dict(tree)
    for name in ("sources", "holdout", "steps", "minutes", "seed", "preset", "shift"):
        tree[name]  # a file without it is damaged: what it said cannot be guessed
    episodes = dict(tree["episodes"])
    if isinstance(episodes["k_shot"], list | tuple):
        episodes["k_shot"] = tuple(episodes["k_shot"])
    tree["episodes"] = EpisodeConfig(**episodes)
    tree["encoder"] = EncoderConfig(**tree["encoder"])
    tree["learner"] = LearnerConfig(**tree["learner"])
    tree["outer"] = OuterConfig(**tree["outer"])
    tree["readings"] = ReadingsConfig(**tree.get("readings") or {})
    tree["method"] = MethodConfig(**tree.get("method") or {})
    tree["isi"] = None if tree["isi"] is None else IsiConfig(**tree["isi"])
    h = tree["homogenizer"]
    if h is not None:
        reweight = None if h["reweight"] is None else ReweightConfig(**h["reweight"])
        rotate = None if h["rotate"] is None else RotateConfig(**h["rotate"])
        rest = {name: h[name] for name in h if name not in ("reweight", "rotate")}
        if rest.get("phase") is not None:
            rest["phase"] = tuple(rest["phase"])
        h = HomogenizerConfig(reweight, rotate, **rest)
    tree["homogenizer"] = h
    return RunConfig(**tree)


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)
