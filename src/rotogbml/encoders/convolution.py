"""The encoders' convolution: the precision it computes in, and its second derivative written out.

    32           torch's own, in the type of its images
    bf16-mixed   images, filters and gradients are rounded to bfloat16, products are added up in float32 inside, and the
                 result is rounded to bfloat16 and handed on as float32

Under ``bf16-mixed`` convolutions alone are rounded: filters stay float32, and so do norms, statistics, sums, the head,
the inner steps and the outer optimizer. bfloat16 has float32's range, so nothing is scaled. Why a function of our own
and not autocast: that keeps one rounded copy of a filter for a whole pass, whatever becomes of the filter in an inner
step, and does not see inside functions with derivatives of their own (``fused.py``).

A convolution is linear in both of its arguments, so its derivatives are convolutions. With y = x ∗ w, gradient g at y,
and u, v coming back to the first derivative's ∂x = g ∗ᵀ w and ∂w = x ⋆ g:

    ∂g = u ∗ w + x ∗ v,   ∂x = g ∗ᵀ v,   ∂w = u ⋆ g

Stock takes the last two as convolutions with images for filters and filters for images, and the first layer's by a
kernel for odd cases; here each is the kernel of its kind, which is quicker where the map is large (``_LARGE``). The
first derivative is stock's to the bit under ``32``. A third derivative is not written and raises.

``ROTOGBML_FUSED=0`` in the environment leaves ``32`` wholly to torch.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rotogbml.encoders.norm import HoldsNorms
from rotogbml.errors import UsageError, did_you_mean

PRECISIONS = ("32", "bf16-mixed")

log = logging.getLogger(__name__)

_LARGE = 1 << 18
"""From so many numbers in y on, the second derivative is quicker than stock's: W1 gains 4 % (docs/log.md)."""

_convolution = torch.ops.aten.convolution.default
_convolution_backward = torch.ops.aten.convolution_backward.default


class Convolution(nn.Conv2d):
    """A convolution without a bias, in the precision that ``set_precision`` chose; 32 at first."""

    precision: str = "32"

    def __init__(self, c_in: int, c: int, kernel_size: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(c_in, c, kernel_size, stride, padding, bias=False)
        self.side = _Side(kernel_size, stride, padding)

    def forward(self, input: Tensor) -> Tensor:
        """[b, c_in, h, w] → [b, c, h′, w′].

        Raises:
            UsageError: under ``bf16-mixed``, images or filters are not float32.
        """
        side = self.side._replace(groups=self.groups)
        if self.precision == "32":
            own = _fits(input, self.weight, side)
            return _Convolution.apply(input, self.weight, (side, None)) if own else super().forward(input)
        if not input.dtype == self.weight.dtype == torch.float32:
            raise UsageError(
                f"precision bf16-mixed takes float32 images and filters, not {input.dtype} and {self.weight.dtype}: "
                "take precision 32"
            )
        _tell_where_slow(input.device.type)
        return _Convolution.apply(input, self.weight, (side, torch.bfloat16))


def set_precision(encoder: HoldsNorms, precision: str) -> None:
    """Set the precision of an encoder's convolutions.

    Raises:
        UsageError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise UsageError(
            f"no precision '{precision}'{did_you_mean(precision, PRECISIONS)}: there are {', '.join(PRECISIONS)}"
        )
    for module in encoder.modules():
        if isinstance(module, Convolution):
            module.precision = precision


class _Side(NamedTuple):
    """What is the same by height and by width, and the groups."""

    kernel: int
    stride: int
    padding: int
    groups: int = 1
    """Of channels: tasks that stand side by side at test."""

    def of(self, size: int) -> int:
        """Return how many positions a side of so many has after the convolution."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1


def _fits(x: Tensor, w: Tensor, side: _Side) -> bool:
    """Say whether ``32`` takes the function below: on the CPU, a large map, no transform of torch.func."""
    return (
        x.device.type == "cpu"
        and x.dtype == w.dtype
        and x.dtype in (torch.float32, torch.float64)
        and len(x) * len(w) * side.of(x.shape[2]) * side.of(x.shape[3]) >= _LARGE
        and os.environ.get("ROTOGBML_FUSED") != "0"
        and not torch._C._are_functorch_transforms_active()
    )


@cache
def _tell_where_slow(device: str) -> None:
    """Say once where bfloat16 is worked out by way of float32, which is slower than float32 itself."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if device == "cpu" and known is not None and not known():
        log.warning("this processor has no instructions for bfloat16 (avx512_bf16): precision 32 is faster here")


_How = tuple[_Side, torch.dtype | None]
"""The shape, and the low type to compute in; None: the tensors' own."""

_Wanted = tuple[bool, ...]
"""For each input, whether its derivative is asked for: images need none."""


class _Convolution(torch.autograd.Function):
    """y of (x, w)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, how: _How) -> Tensor:
        used = _used(x, how), _used(w, how)
        ctx.how, ctx.wanted = how, ctx.needs_input_grad[:2]
        # x and w for the graph, beside what is computed with: the same tensors but in a low type.
        ctx.save_for_backward(x, w, *used)
        return _widened(_forward(*used, how), how)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,), (x, w, *used) = gradients, ctx.saved_tensors
        used = [t.detach() for t in used]
        # ``_Gradient`` is only needed where a second derivative may be asked for.
        if torch.is_grad_enabled():
            return *_Gradient.apply(g, x, w, *used, ctx.how, ctx.wanted), None
        return *_first(_used(g, ctx.how), *used, ctx.how, ctx.wanted), None


class _Gradient(torch.autograd.Function):
    """(∂x, ∂w) of (g, x, w), each None where it is not wanted; itself differentiable once."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, w: Tensor, x_used: Tensor, w_used: Tensor, how: _How, wanted: _Wanted
    ) -> tuple[Tensor | None, ...]:
        used = _used(g, how), x_used, w_used
        ctx.how, ctx.wanted = how, ctx.needs_input_grad[:3]
        ctx.save_for_backward(g, x, w, *used)
        ctx.set_materialize_grads(False)  # nothing comes back to a gradient that was not wanted
        return _first(*used, how, wanted)

    @staticmethod
    def backward(ctx: Any, *u: Tensor | None) -> tuple[Tensor | None, ...]:
        return *_Second.apply(*u, *ctx.saved_tensors, ctx.how, ctx.wanted), *[None] * 4


class _Second(torch.autograd.Function):
    """What comes back to (g, x, w) through ``_Gradient``.

    A function only so that a third derivative raises whichever input it is asked for, as in ``fused.py``.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor | None, v: Tensor | None, *held: Any) -> tuple[Tensor | None, ...]:
        g, x, w, how, wanted = held[3:]
        u, v = (None if t is None else _used(t, how) for t in (u, v))
        at_g = at_x = at_w = None
        if wanted[0] and u is not None:
            at_g = _widened(_forward(u, w, how), how)
        if wanted[0] and v is not None:
            along = _forward(x, v, how)
            at_g = _widened(along, how) if at_g is None else at_g.add_(along)
        if wanted[1] and v is not None:
            at_x, _ = _first(g, x, v, how, (True, False))
        if wanted[2] and u is not None:
            _, at_w = _first(g, u, w, how, (False, True))
        return at_g, at_x, at_w

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(
            "this convolution has no third derivative: take precision 32 and set ROTOGBML_FUSED=0 in the environment"
        )


def _used(x: Tensor, how: _How) -> Tensor:
    """Return x as it is computed with: channels last, the one layout all kernels here are quick in, in the low type."""
    return x.to(dtype=how[1] or x.dtype, memory_format=torch.channels_last)


def _widened(x: Tensor, how: _How) -> Tensor:
    return x if how[1] is None else x.float()


def _forward(x: Tensor, w: Tensor, how: _How) -> Tensor:
    (_, stride, padding, groups), _ = how
    return _convolution(x, w, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups)


def _first(g: Tensor, x: Tensor, w: Tensor, how: _How, wanted: _Wanted) -> tuple[Tensor | None, ...]:
    """Return ∂x = g ∗ᵀ w and ∂w = x ⋆ g, each None where it is not wanted."""
    (_, stride, padding, groups), _ = how
    shape = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups)
    at_x, at_w, _ = _convolution_backward(g, x, w, None, *shape, [*wanted, False])
    return tuple(_widened(t, how) if one else None for t, one in zip((at_x, at_w), wanted, strict=True))
