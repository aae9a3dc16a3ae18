"""Weights to begin with: of a run folder, a file, or a hub.

Files hold tensors by the encoder's own names, with or without ``encoder.`` before them: safetensors, or an archive of
``torch.save``, which is read with ``weights_only`` and so cannot run code. What else a file names (a head) is left.
"""

from __future__ import annotations

import importlib
import json
import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rotogbml.encoders import Encoder
from rotogbml.errors import UsageError
from rotogbml.methods.mtl import SCALE

HUB = "hub:"
"""What a name of a file on a hub begins with: ``hub:OWNER/NAME/FILE``."""

HEAD = "head."
"""Before the names of a checkpoint's φ."""

_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_MOST_HEADER = 100 << 20
_STATISTICS = ("running_mean", "running_var")

log = logging.getLogger(__name__)


@torch.no_grad()
def load_start(encoder: Encoder, start: str, head: nn.Module | None = None) -> None:
    """Fill an encoder's parameters, and running statistics where it keeps some, in place.

    Args:
        encoder: of any kind.
        start: a run folder (its ``best.pt``), a file, or ``hub:OWNER/NAME/FILE``.
        head: also filled, from a run's checkpoint; None: the head begins anew.

    Raises:
        UsageError: nothing is there, it is damaged or no file of weights, or a tensor is missing, of another shape or
            not finite; or running statistics that this norm needs are.
    """
    saved = _read(start)
    _fill(dict(encoder.named_parameters()), saved, "", start)
    _fill_statistics(dict(encoder.named_buffers()), saved, start)
    if not Path(start).is_dir() and not any(True for _ in encoder.named_buffers()):
        _tell_unused(encoder, saved, start)
    if head is not None:
        _fill(dict(head.named_parameters()), saved, HEAD, start)


def _fill(group: dict[str, nn.Parameter], saved: dict[str, Tensor], prefix: str, start: str) -> None:
    for name, p in group.items():
        there = saved.get(prefix + name)
        if there is None:
            some = ", ".join(list(saved)[:3]) or "nothing"
            raise UsageError(f"{start} lacks '{prefix}{name}' (it has {some} …): give weights of this very network")
        if there.shape == p.shape and not bool(there.isfinite().all()):
            raise UsageError(f"'{prefix}{name}' in {start} has numbers that are not finite: give other weights")
        if there.shape != p.shape:
            raise UsageError(
                f"'{prefix}{name}' is {list(there.shape)} in {start} and {list(p.shape)} here: give the encoder, the "
                "--encoder.width and the sources that it was trained with"
            )
        p.copy_(there)


def _fill_statistics(group: dict[str, Tensor], saved: dict[str, Tensor], start: str) -> None:
    """Fill running statistics; by mean 0 and variance 1 in their place features would be those of another network."""
    for name, t in group.items():
        there = saved.get(name)
        if there is not None and there.shape == t.shape:
            t.copy_(there)
        elif name.rpartition(".")[2] in _STATISTICS:
            raise UsageError(
                f"{start} lacks the running statistics '{name}' of {list(t.shape)}, by which this encoder normalises: "
                "take the --encoder.norm that it was trained with"
            )


def _tell_unused(encoder: Encoder, saved: dict[str, Tensor], start: str) -> None:
    """Say where a file's running statistics are left: nothing else tells of its norm."""
    if any(name.rpartition(".")[2] in _STATISTICS for name in saved):
        log.warning(
            "%s has running statistics, which norm %s does not use: features will not be those that it was trained to "
            "give; --encoder.norm as-published takes them up",
            *(start, encoder.norm),
        )


def _read(start: str) -> dict[str, Tensor]:
    path = _from_hub(start) if start.startswith(HUB) else Path(start)
    if path.is_dir():
        path = path / "checkpoints" / "best.pt"
        if not path.is_file():
            raise UsageError(f"{start} is no run folder with a checkpoint: give one that `rotogbml train` wrote")
    if not path.is_file():
        raise UsageError(
            f"no weights at {start}: give a run folder, a .pt or .safetensors file, or {HUB}OWNER/NAME/FILE"
        )
    tree = _safetensors(path) if path.suffix == ".safetensors" else _archive(path)
    if isinstance(tree.get("theta"), dict):  # a checkpoint of ours
        of_head = {HEAD + name: t for name, t in tree.get("phi", {}).items()}
        tree = _scaled({**tree["theta"], **tree.get("statistics", {}), **of_head})
    elif isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    return {str(name).removeprefix("encoder."): t for name, t in tree.items() if isinstance(t, Tensor)}


def _scaled(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in which filters that a run of mtl scales are as it uses them: W ⊙ Φ."""
    scales = {name.removesuffix(SCALE): weights[name] for name in weights if name.endswith(SCALE)}
    return {name: t * scales[name] if name in scales else t for name, t in weights.items()}


def _archive(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        raise UsageError(f"{path} cannot be read as weights (it is no archive of torch.save): save a state_dict")
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own words advise to load it unsafely
        raise UsageError(
            f"{path} holds more than tensors and may run code when it is read: save its state_dict alone, or as "
            ".safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as weights ({error}): save a state_dict with torch.save") from error
    if not isinstance(tree, dict):
        raise UsageError(f"{path} holds a {type(tree).__name__}, not tensors by name: save a state_dict")
    return tree


def _safetensors(path: Path) -> dict[str, Any]:
    """Read the format by its definition: eight bytes of length, JSON, then the numbers."""
    data = path.read_bytes()
    try:
        length = int.from_bytes(data[:8], "little")
        if length > min(len(data) - 8, _MOST_HEADER):
            raise ValueError(f"a header of {length} bytes")
        head = json.loads(data[8 : 8 + length])
        body = memoryview(data)[8 + length :]
        found = {}
        for name, told in head.items():
            if name == "__metadata__":
                continue
            first, last = told["data_offsets"]
            if told["dtype"] == "BF16":
                raw = np.frombuffer(body[first:last], np.uint16).astype(np.uint32) << 16
                array = raw.view(np.float32)
            else:
                array = np.frombuffer(body[first:last], _TYPES[told["dtype"]])
            found[name] = torch.from_numpy(array.reshape(told["shape"]).copy())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no sound safetensors file ({error}): save it again") from error
    return found


def _from_hub(start: str) -> Path:
    owner, _, rest = start.removeprefix(HUB).partition("/")
    name, _, file = rest.partition("/")
    if not (owner and name and file):
        raise UsageError(f"'{start}' names no file on a hub: give {HUB}OWNER/NAME/FILE")
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UsageError(f"{start} needs huggingface_hub: pip install huggingface_hub, or give a file") from error
    try:
        return Path(hub.hf_hub_download(f"{owner}/{name}", file))
    except Exception as error:  # whatever the network and the hub say
        raise UsageError(f"{start} cannot be fetched ({type(error).__name__}): give a local file") from error
