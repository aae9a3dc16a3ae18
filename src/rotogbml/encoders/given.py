"""A module of the user's as encoder: images [b, 3, size, size] → [b, m].

Its parameters adapt by functional calls, its buffers are fixed. It stays in eval mode (dropout off, running
statistics as they came), since what changes from pass to pass would make a task's gradient depend on the tasks
before it. What cannot work is found by a trial pass and refused before any training.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rotogbml.encoders.norm import NormPass
from rotogbml.encoders.protocol import Drop
from rotogbml.errors import UsageError

_HELD: dict[str, nn.Module] = {}


def give_encoder(module: nn.Module) -> str:
    """Hold a module for this process and return the name by which ``EncoderConfig.name`` means it.

    ``rotogbml.train(encoder=module)`` does so by itself. A run folder keeps the name and the weights, not the code:
    another process that goes on with the run or evaluates it gives the module again first. Each use takes a copy.
    """
    name = f"given:{type(module).__name__}-{_digest(module)}"
    _HELD[name] = module
    return name


def _digest(module: nn.Module) -> str:
    """Return a short digest of what a module is made of and holds: another architecture or start is another name."""
    sha = hashlib.sha256(repr(module).encode())
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        sha.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else b"")
        sha.update(repr(tensor.item()).encode() if not tensor.ndim else b"")
    return sha.hexdigest()[:8]


def held(name: str) -> nn.Module:
    """Return a copy of the module that was given under a name.

    Raises:
        UsageError: none was given in this process.
    """
    if name not in _HELD:
        raise UsageError(
            f"encoder '{name}' is a module that was given from Python, and this process has none of that name: call "
            "rotogbml.give_encoder(module) first, or train with an import path package.module:factory"
        )
    return copy.deepcopy(_HELD[name])


class Given(nn.Module):
    """Wrap a module.

    ISI acts on the submodules that the module names, in the order in which they run, in an attribute
    ``isi_layers`` (a tuple of names); each maps a map [b, c, h, w] to one that is not larger.

    Args:
        module: any module; it is held, not copied, and put in eval mode.
        size: side of the square images, pixels.

    Attributes:
        feature_dim: m, found by a trial pass.
        layers: number of ``isi_layers``; 0 where none are named.
        norm: "as given": whatever the module does.

    Raises:
        UsageError: the module cannot serve; the message says why and what to change.
    """

    norm = "as given"

    def __init__(self, module: nn.Module, size: int) -> None:
        super().__init__()
        self.called = type(module).__name__
        self._check_parameters(module)
        self.module = module.eval()
        self.isi_layers = self._check_layers(module)
        self.layers = len(self.isi_layers)
        self.feature_dim = self._try(size)

    def train(self, mode: bool = True) -> Self:
        """The module inside stays in eval mode."""
        super().train(mode)
        self.module.eval()
        return self

    def forward(self, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
        """Return features [b, m] of images [b, 3, size, size]; ``at`` is for norms of ours and means nothing here.

        Raises:
            UsageError: a ``drop`` where no layers are named, or a named layer does not see maps.
        """
        if drop is None:
            return self.module(x)
        if not self.layers:
            raise UsageError(
                f"ISI cannot act on {self.called}, which names no layers: give it an attribute isi_layers, a tuple of "
                "names of submodules that map [b, c, h, w] to [b, c', h', w'], or turn ISI off"
            )
        # Hooks for this call alone: a module that is used elsewhere is as it was.
        hooks = []
        try:
            for layer, name in enumerate(self.isi_layers):
                submodule = self.module.get_submodule(name)
                hooks.append(submodule.register_forward_hook(self._hook(layer, name, drop)))
            return self.module(x)
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, layer: int, name: str, drop: Drop) -> Any:
        def act(submodule: nn.Module, args: tuple[Any, ...], z: Any) -> Tensor:
            x = args[0] if args else None
            if not (isinstance(x, Tensor) and isinstance(z, Tensor) and x.ndim == z.ndim == 4):
                raise UsageError(
                    f"isi_layers of {self.called}: '{name}' maps {_shown(x)} to {_shown(z)}; name submodules whose "
                    "first argument is a map [b, c, h, w] and which return one"
                )
            return drop(layer, x, z)

        return act

    def _check_parameters(self, module: nn.Module) -> None:
        parameters = dict(module.named_parameters())
        if any(is_lazy(t) for t in (*parameters.values(), *module.buffers())):
            raise UsageError(f"{self.called} has weights without a shape yet: call it once on images, then give it")
        for name, p in parameters.items():
            if not p.is_floating_point():
                raise UsageError(
                    f"parameter '{name}' of {self.called} is {str(p.dtype).removeprefix('torch.')}, and only real "
                    "numbers can adapt: register it as a buffer (register_buffer), which stays fixed"
                )
            if not p.requires_grad:
                raise UsageError(
                    f"parameter '{name}' of {self.called} is frozen, and every parameter adapts: call "
                    "requires_grad_(True), or register it as a buffer (register_buffer), which stays fixed"
                )
        if not parameters:
            raise UsageError(f"{self.called} has no parameters, so there is nothing to learn: give one that has")

    def _check_layers(self, module: nn.Module) -> tuple[str, ...]:
        names = getattr(module, "isi_layers", ())
        known = dict(module.named_modules())
        if isinstance(names, str) or not isinstance(names, tuple | list):
            raise UsageError(f"isi_layers of {self.called} is {names!r}: give a tuple of names of submodules")
        for name in names:
            if name not in known:
                raise UsageError(
                    f"isi_layers of {self.called} names '{name}', which is none of its submodules: there are "
                    f"{', '.join(n for n in known if n) or 'none'}"
                )
            if names.count(name) > 1:
                raise UsageError(f"isi_layers of {self.called} names '{name}' {names.count(name)} times: name it once")
        return tuple(names)

    def _try(self, size: int) -> int:
        """Return m, after every check that takes a pass; the global generators end as they began."""
        first = next(self.module.parameters())
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        images = images.to(first.device, first.dtype)
        devices = [first.device] if first.device.type == "cuda" else []
        held = [*self.module.named_buffers(), *self.module.named_parameters()]
        before = [(name, t, t.detach().clone(), t._version) for name, t in held]
        with torch.enable_grad(), torch.random.fork_rng(devices=devices):
            z, alone, again = self._pass(images), self._pass(images[:1]), self._pass(images)
            if self.layers:
                self._try_layers(images)
        self._check_unchanged(before)
        m = z.shape[1]
        if alone.shape[1] != m:
            raise UsageError(
                f"{self.called} gives {alone.shape[1]} features for one image and {m} for each of two: make m the same"
            )
        if not torch.equal(again, z):
            raise UsageError(
                f"{self.called} gives other features when it is called again on the same images, in eval mode: make "
                "its forward pass draw nothing at random unless self.training is true"
            )
        self._check_gradients(z)
        return m

    def _pass(self, images: Tensor) -> Tensor:
        try:
            z = self.module(images)
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise UsageError(
                f"{self.called} fails on images {_shown(images)} ({reason[0] if reason else type(error).__name__}): "
                "mend it, or pack images of the size it takes (--size)"
            ) from error
        if not isinstance(z, Tensor) or z.ndim != 2 or len(z) != len(images) or not z.shape[1]:
            raise UsageError(
                f"{self.called} maps images {_shown(images)} to {_shown(z)}, but features are "
                f"[{len(images)}, m]: end it with flatten(1), or return the features alone"
            )
        if not z.is_floating_point() or not z.isfinite().all():
            raise UsageError(
                f"{self.called} gives features of type {str(z.dtype).removeprefix('torch.')} that are not all finite "
                "real numbers on normal noise: check its weights"
            )
        return z

    def _try_layers(self, images: Tensor) -> None:
        calls: list[int] = []

        def watch(layer: int, x: Tensor, z: Tensor) -> Tensor:
            if z.shape[-2] > x.shape[-2] or z.shape[-1] > x.shape[-1]:
                raise UsageError(
                    f"isi_layers of {self.called}: '{self.isi_layers[layer]}' enlarges its map, {_shown(x)} to "
                    f"{_shown(z)}, which ISI cannot act on: leave it out"
                )
            calls.append(layer)
            return z

        self.forward(images, watch)
        if calls != list(range(self.layers)):
            ran = ", ".join(self.isi_layers[layer] for layer in calls) or "none of them"
            raise UsageError(
                f"isi_layers of {self.called} is {', '.join(self.isi_layers)}, but in a pass there ran: {ran}; name "
                "each submodule that runs exactly once, in that order"
            )

    def _check_unchanged(self, before: list[tuple[str, Tensor, Tensor, int]]) -> None:
        now = dict([*self.module.named_buffers(), *self.module.named_parameters()])
        for name, tensor, value, version in before:
            if now.get(name) is not tensor or tensor._version != version or not torch.equal(tensor, value):
                raise UsageError(
                    f"'{name}' of {self.called} changes in a forward pass, in eval mode, so that a task would depend "
                    "on the tasks before it: keep it fixed unless self.training is true"
                )

    def _check_gradients(self, z: Tensor) -> None:
        names, parameters = zip(*self.module.named_parameters(), strict=True)
        unused = names
        if z.requires_grad:
            gradients = torch.autograd.grad(z, parameters, torch.ones_like(z), allow_unused=True)
            unused = [name for name, g in zip(names, gradients, strict=True) if g is None]
        if unused:
            raise UsageError(
                f"the features of {self.called} do not depend on its parameter '{unused[0]}'"
                f"{f' and {len(unused) - 1} more' if len(unused) > 1 else ''}: remove what is not used (for instance "
                "module.fc = torch.nn.Identity()), and do not detach"
            )


def _shown(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
