"""Files of weights: of a run folder, a file, or a hub, as tensors by name.

Safetensors, or an archive of ``torch.save``, which is read with ``weights_only`` and so cannot run code.
"""

from __future__ import annotations

import importlib
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rotogbml.errors import UsageError
from rotogbml.methods.mtl import SCALE

HUB = "hub:"
"""What a name of a file on a hub begins with: ``hub:OWNER/NAME/FILE``."""

HEAD = "head."
"""Before the names of a checkpoint's φ."""

_NESTED = ("state_dict", "model_state_dict", "model")
"""Under what others keep a state_dict beside an epoch or an optimiser."""

_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_MOST_HEADER = 100 << 20


def read_weights(start: str) -> dict[str, Tensor]:
    """Return the tensors of a run's ``best.pt``, a file, or a file on a hub, by the names that they have there.

    Of a run's checkpoint φ has ``HEAD`` before its names.

    Raises:
        UsageError: nothing is there, or it is damaged or no file of weights.
    """
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
        return _scaled(
            {**_tensors(tree["theta"]), **_tensors(tree.get("statistics")), **_tensors(tree.get("phi"), HEAD)}
        )
    return _tensors(next((tree[key] for key in _NESTED if isinstance(tree.get(key), dict)), tree))


def _tensors(tree: Any, prefix: str = "") -> dict[str, Tensor]:
    """Return what of a dictionary is a tensor; nothing of what is no dictionary."""
    found = tree.items() if isinstance(tree, dict) else ()
    return {f"{prefix}{name}": t for name, t in found if isinstance(t, Tensor)}


def _scaled(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in which filters that a run of mtl scales are as it uses them: W ⊙ Φ."""
    scales = {name.removesuffix(SCALE): weights[name] for name in weights if name.endswith(SCALE)}
    return {name: t * scales[name] if name in scales else t for name, t in weights.items()}


def _archive(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        raise UsageError(
            f"{path} cannot be read as weights (it is no archive of torch.save; those of before torch 1.6 are plain "
            "pickles, which can run any code): save a state_dict with a newer torch, or as .safetensors"
        )
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own words advise to load it unsafely
        raise UsageError(
            f"{path} holds more than tensors and may run code when it is read: save its state_dict alone, or as "
            ".safetensors"
        ) from error
    except Exception as error:  # torch's reader meets whatever the bytes hold: KeyError, struct.error, …
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
            elif told["dtype"] in _TYPES:
                array = np.frombuffer(body[first:last], _TYPES[told["dtype"]])
            else:
                raise ValueError(f"'{name}' is of type {told['dtype']}, which is not read here")
            found[name] = torch.from_numpy(array.reshape(told["shape"]).copy())
    except RecursionError as error:
        raise UsageError(
            f"{path} is no sound safetensors file (its header is nested too deeply): save it again"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
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
