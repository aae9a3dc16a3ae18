"""The encoders' convolution, and the precision it computes in.

    32           torch's own, in the type of its images
    bf16-mixed   images, filters and gradients are rounded to bfloat16, products are added up in float32 inside, and the
                 result is rounded to bfloat16 and handed on as float32

Under ``bf16-mixed`` convolutions alone are rounded: filters stay float32, and so do norms, statistics, sums, the head,
the inner steps and the outer optimizer. bfloat16 has float32's range, so nothing is scaled.

Why a function of our own and not autocast: that keeps a rounded copy of every filter for the whole pass, whatever
becomes of the filter in an inner step, and does not see inside functions with derivatives of their own (``fused.py``).
A convolution is linear in both of its arguments, so its derivatives are convolutions, which are rounded as it is. With
y = x ∗ w, gradient g at y, and u, v coming back to the first derivative's ∂x = g ∗ᵀ w and ∂w = x ⋆ g:

    ∂g = u ∗ w + x ∗ v,   ∂x = g ∗ᵀ v,   ∂w = u ⋆ g

A third derivative is not written and raises.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rotogbml.encoders.norm import HoldsNorms
from rotogbml.errors import UsageError, did_you_mean

Precision = Literal["32", "bf16-mixed"]
PRECISIONS = ("32", "bf16-mixed")

log = logging.getLogger(__name__)

_convolution = torch.ops.aten.convolution.default
_convolution_backward = torch.ops.aten.convolution_backward.default


class Convolution(nn.Conv2d):
    """A convolution without a bias, in the precision that ``set_precision`` chose; 32 at first."""

    precision: str = "32"

    def __init__(self, c_in: int, c: int, kernel_size: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(c_in, c, kernel_size, stride, padding, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """[b, c_in, h, w] → [b, c, h′, w′].

        Raises:
            UsageError: under ``bf16-mixed``, images or filters are not float32.
        """
        if self.precision == "32":
            return super().forward(input)
        if not input.dtype == self.weight.dtype == torch.float32:
            raise UsageError(
                f"precision bf16-mixed takes float32 images and filters, not {input.dtype} and {self.weight.dtype}: "
                "take precision 32"
            )
        _tell_where_slow(input.device.type)
        return _Convolution.apply(input, self.weight, (*_pair(self.stride), *_pair(self.padding)))


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


@cache
def _tell_where_slow(device: str) -> None:
    """Say once where bfloat16 is worked out by way of float32, which is slower than float32 itself."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if device == "cpu" and known is not None and not known():
        log.warning("this processor has no instructions for bfloat16 (avx512_bf16): precision 32 is faster here")


def _pair(of: Any) -> tuple[int, int]:
    return (of, of) if isinstance(of, int) else tuple(of)


_How = tuple[int, int, int, int]
"""Stride by height and width, padding by height and width."""

_Wanted = tuple[bool, ...]
"""For each input, whether its derivative is asked for: images need none."""


class _Convolution(torch.autograd.Function):
    """y of (x, w)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, how: _How) -> Tensor:
        rounded = _rounded(x), _rounded(w)
        ctx.how, ctx.wanted = how, ctx.needs_input_grad[:2]
        ctx.save_for_backward(x, w, *rounded)
        return _widened(_forward(*rounded, how))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,), held = gradients, ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_Gradient.apply(g, *held, ctx.how, ctx.wanted), None
        return *_first(_rounded(g), *held[2:], ctx.how, ctx.wanted), None


class _Gradient(torch.autograd.Function):
    """(∂x, ∂w) of (g, x, w), each None where it is not wanted; itself differentiable once."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, w: Tensor, x_rounded: Tensor, w_rounded: Tensor, how: _How, wanted: _Wanted
    ) -> tuple[Tensor | None, ...]:
        g_rounded = _rounded(g)
        ctx.how, ctx.wanted = how, ctx.needs_input_grad[:3]
        ctx.save_for_backward(g, x, w, g_rounded, x_rounded, w_rounded)
        ctx.set_materialize_grads(False)
        return _first(g_rounded, x_rounded, w_rounded, how, wanted)

    @staticmethod
    def backward(ctx: Any, *u: Tensor | None) -> tuple[Tensor | None, ...]:
        return *_Second.apply(*u, *ctx.saved_tensors, ctx.how, ctx.wanted), *[None] * 4


class _Second(torch.autograd.Function):
    """What comes back to (g, x, w) through ``_Gradient``.

    A function only so that a third derivative raises whichever input it is asked for, as in ``fused.py``.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor | None, v: Tensor | None, *held: Any) -> tuple[Tensor | None, ...]:
        *_, g, x, w, how, wanted = held
        at_g = at_x = at_w = None
        u, v = (None if t is None else _rounded(t) for t in (u, v))
        if wanted[0]:
            parts = [_forward(u, w, how)] if u is not None else []
            parts += [_forward(x, v, how)] if v is not None else []
            at_g = _widened(parts[0])
            for part in parts[1:]:
                at_g.add_(part)
        if wanted[1] and v is not None:
            at_x, _ = _first(g, x, v, how, (True, False))
        if wanted[2] and u is not None:
            _, at_w = _first(g, u, w, how, (False, True))
        return at_g, at_x, at_w

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError("a convolution in bfloat16 has no third derivative: take precision 32")


def _rounded(x: Tensor) -> Tensor:
    """Return x in bfloat16, channels last: every kernel here is quick in that layout alone."""
    return x.to(torch.bfloat16, memory_format=torch.channels_last)


def _widened(x: Tensor) -> Tensor:
    return x.float()


def _forward(x: Tensor, w: Tensor, how: _How) -> Tensor:
    return _convolution(x, w, None, how[:2], how[2:], [1, 1], False, [0, 0], 1)


def _first(g: Tensor, x: Tensor, w: Tensor, how: _How, wanted: _Wanted) -> tuple[Tensor | None, ...]:
    """Return ∂x = g ∗ᵀ w and ∂w = x ⋆ g in float32, each None where it is not wanted."""
    at_x, at_w, _ = _convolution_backward(g, x, w, None, how[:2], how[2:], [1, 1], False, [0, 0], 1, [*wanted, False])
    return tuple(_widened(t) if one else None for t, one in zip((at_x, at_w), wanted, strict=True))
