"""Weights to begin with: of a run folder, a file, or a hub, taken up by name.

A file names tensors as the encoder does, an encoder of the user's as the module inside does; with or without
``encoder.`` or ``module.`` (as DataParallel saves) before them. What else a file names (a head) is left.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from rotogbml.encoders import Encoder, Given
from rotogbml.errors import UsageError
from rotogbml.methods.weights import HEAD, read_weights

_BEFORE = ("", "encoder.", "module.", "encoder.module.", "module.encoder.", "model.")
"""What may stand before every name of an encoder's tensors."""
_STATISTICS = ("running_mean", "running_var")
_COUNTED = "num_batches_tracked"

log = logging.getLogger(__name__)


@torch.no_grad()
def load_start(encoder: Encoder, start: str, head: nn.Module | None = None) -> None:
    """Fill an encoder's parameters, and running statistics where it keeps some, in place.

    Args:
        encoder: of any kind; of a module of the user's what is fixed (its buffers) is filled too.
        start: a run folder (its ``best.pt``), a file, or ``hub:OWNER/NAME/FILE``.
        head: also filled, from a run's checkpoint; None: the head begins anew.

    Raises:
        UsageError: nothing is there, it is damaged or no file of weights, or a tensor is missing, of another shape, no
            plain real numbers or not finite; or running statistics that this norm needs are.
    """
    saved = read_weights(start)
    module = encoder.module if isinstance(encoder, Given) else cast(nn.Module, encoder)
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    named = _as_here(saved, parameters)
    _fill(parameters, named, "", start)
    if isinstance(encoder, Given):
        # What a file need not have: a module may make it anew (it is then not in its state_dict), or only count by it.
        kept = module.state_dict().keys()
        _fill({n: t for n, t in buffers.items() if n in kept and n.rpartition(".")[2] != _COUNTED}, named, "", start)
    else:
        _fill_statistics(buffers, named, start)
    if not Path(start).is_dir() and not buffers:
        _tell_unused(encoder, named, start)
    if head is not None:
        _fill(dict(head.named_parameters()), saved, HEAD, start)


def _as_here(saved: dict[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """Return a file's tensors by our names: less what stands before them there, by which most names are found."""
    before = max(_BEFORE, key=lambda before: sum(before + name in saved for name in wanted))
    return {name.removeprefix(before): t for name, t in saved.items() if name.startswith(before)}


def _fill(group: Mapping[str, Tensor], saved: dict[str, Tensor], prefix: str, start: str) -> None:
    for name, p in group.items():
        there = saved.get(prefix + name)
        if there is None:
            some = ", ".join(list(saved)[:3]) or "nothing"
            raise UsageError(f"{start} lacks '{prefix}{name}' (it has {some} …): give weights of this very network")
        _check_plain(there, p, prefix + name, start)
        if there.shape != p.shape:
            raise UsageError(
                f"'{prefix}{name}' is {list(there.shape)} in {start} and {list(p.shape)} here: give the encoder, the "
                "--encoder.width and the sources that it was trained with"
            )
        _copy(there, p, prefix + name, start)


def _check_plain(there: Tensor, here: Tensor, name: str, start: str) -> None:
    """Raise UsageError where a file's tensor is no dense one of real numbers; whole ones are, where ours are whole."""
    layout, kind = str(there.layout).removeprefix("torch."), str(there.dtype).removeprefix("torch.")
    what = ""
    if there.is_meta:
        what = "has a shape and no numbers (it was saved from the device meta)"
    elif there.is_quantized:
        what = f"is quantized ({kind})"
    elif there.is_nested or there.layout is not torch.strided:
        what = f"is no dense tensor ({'nested' if there.is_nested else layout})"
    elif not there.is_floating_point() and there.dtype != here.dtype:
        what = f"is of type {kind}, and weights are real numbers"
    if what:
        raise UsageError(f"'{name}' in {start} {what}: save it as a dense tensor of float32")


def _copy(there: Tensor, here: Tensor, name: str, start: str) -> None:
    """Fill a tensor of ours, in its own type.

    Raises:
        UsageError: a number of it is not finite.
    """
    numbers = there.to(here.dtype)
    if not bool(numbers.isfinite().all()):
        raise UsageError(f"'{name}' in {start} has numbers that are not finite: give other weights")
    here.copy_(numbers)


def _fill_statistics(group: dict[str, Tensor], saved: dict[str, Tensor], start: str) -> None:
    """Fill running statistics; by mean 0 and variance 1 in their place features would be those of another network."""
    for name, t in group.items():
        there = saved.get(name)
        if there is not None:
            _check_plain(there, t, name, start)
        if there is not None and there.shape == t.shape:
            _copy(there, t, name, start)
        elif name.rpartition(".")[2] in _STATISTICS:
            raise UsageError(
                f"{start} lacks the running statistics '{name}' of {list(t.shape)}, by which this encoder normalises: "
                "take the --encoder.norm that it was trained with"
            )


def _tell_unused(encoder: Encoder, saved: dict[str, Tensor], start: str) -> None:
    """Say where a file's running statistics are left: nothing else tells of its norm."""
    if not any(name.rpartition(".")[2] in _STATISTICS for name in saved):
        return
    if isinstance(encoder, Given):
        log.warning(
            "%s has running statistics, for which %s has no place: features will not be those that it was trained to "
            "give; build it with the norms that it was trained with",
            *(start, encoder.called),
        )
        return
    log.warning(
        "%s has running statistics, which norm %s does not use: features will not be those that it was trained to "
        "give; --encoder.norm as-published takes them up",
        *(start, encoder.norm),
    )
