"""Batch norm, 2×2 max-pool and ReLU as one function, its first and second derivatives written out.

For a map y [b, c, h, w], scale γ and shift β, every formula being one channel's (all are independent):

    x̂ = (y − μ) r,   r = (σ² + ε)^−½,   μ, σ² over the M = given · h · w positions of the first ``given`` images
    z = ReLU(max over 2×2 of (γ x̂ + β)),   s = γ r

**Forward.** γ x̂ + β rises with y where γ > 0, falls where γ < 0 and is all ties where γ = 0: the winner is that of
y · sign(γ), ties going to the first in scan order as in torch. So y is pooled as it is, the normalised map is never
made, and scale, shift and ReLU work on a quarter of the positions. Rows and columns that pooling drops still count in μ
and σ².

**First derivative.** G is the gradient at z where z > 0, else 0; D is G put at the winners, zero in the other three of
four positions; x̂_w are the winners' x̂. With B = ΣG and A = Σ G x̂_w (at the quarter size):

    ∂β = B,   ∂γ = A,   ∂y = s D − [first images] s (B + A x̂) / M

**Second derivative.** Let u, u_γ, u_β be what comes back to ∂y, ∂γ, ∂β, and Φ = ⟨u, ∂y⟩ + u_γ A + u_β B. With u_w the
winners' u, P = Σ G u_w, and S₀ = Σu, S₁ = Σ u x̂ over the first images:

    Φ = s K + u_γ A + u_β B,   K = P − (B S₀ + A S₁) / M
    ∂Φ/∂G = s u_w + t x̂_w + u_β − s S₀ / M,   t = u_γ − s S₁ / M
    ∂Φ/∂γ = r K

Φ holds y in x̂ alone (in A and S₁) and in r = s / γ. The derivative at x̂ is e = t D − [first images] (s A / M) u, its
sums are Σe = t B − s A S₀ / M and Σ e x̂ = t A − s A S₁ / M; μ and r move as in every batch norm, ∂r/∂y = −r² x̂ / M:

    ∂Φ/∂y = r t D − [first images] (r/M) (s A u + Σe + x̂ (Σ e x̂ + s K))

so both derivatives are a dense part, affine in y and u with one number a channel, and a sparse one at the winners.
ReLU and max-pool have no second derivative of their own. A third derivative is not written and raises.

**Passes.** Where a C compiler is at hand each of these is one pass over a map of some size (``native/fused.c``,
``_COMPILED``). Else torch's operators do them: over a large map some images at a time, which stay in cache from the
dense part to the sparse one. On small maps (``_LARGE``) calls cost more than passes do: z and the first derivative then
come from stock's own kernels, called without autograd between them, and are stock's to the bit; the second derivative
is the one above, which is where nearly all of stock's time goes. All else equals stock to rounding:
1e-14 in float64, relative to the terms that are summed (``benchmarks/rounding.py``). Where two values of y differ by
less than the rounding of γ x̂ + β, stock sees a tie and the pooled y does not.

``ROTOGBML_FUSED=0`` in the environment turns all of this off, ``ROTOGBML_NATIVE=0`` what is compiled.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from rotogbml.encoders.maps import affine_relu, channels_last, groups, norm_backward, sums, threshold, to_map, to_rows
from rotogbml.encoders.norm import EPS
from rotogbml.native import passes

_LARGE = 1 << 19
"""From so many numbers in y on, fewer passes pay for more calls (docs/log.md)."""

_COMPILED = 1 << 17
"""From so many numbers in y on, a compiled pass is worth its call (docs/log.md)."""

_TINY = 1 << 14
"""With fewer numbers in y than this, stock is quicker in the second derivative too (docs/log.md).

Between the two the second derivative gains and the first loses some 30 µs a block: a forward pass cannot know which
will be asked for."""

# Looked up once: on small maps that is worth some per cent.
_max_pool = torch.ops.aten.max_pool2d_with_indices.default
_unpool = torch.ops.aten.max_pool2d_with_indices_backward.default

_POOL = ([2, 2], [2, 2], [0, 0], [1, 1], False)
"""Window, stride, padding, dilation of every max-pool here, and no ceiling."""


def fits(y: Tensor, weight: Tensor) -> bool:
    """Say whether ``norm_pool_relu`` takes this map: on the CPU, one type of 32 or 64 bits, no transform of torch.func.

    ``vmap`` and its kin need rules that are not written here; stock operators have them.
    """
    return (
        os.environ.get("ROTOGBML_FUSED") != "0"
        and y.device.type == "cpu"
        and y.dtype in (torch.float32, torch.float64)
        and weight.dtype == y.dtype
        and y.ndim == 4
        and min(y.shape[2:]) >= 2
        and y.numel() >= _TINY
        and not torch._C._are_functorch_transforms_active()
    )


def norm_pool_relu(y: Tensor, weight: Tensor, bias: Tensor, given: int) -> Tensor:
    """Return z [b, c, h // 2, w // 2], channels last, of y [b, c, h, w]; the map must be one that ``fits``.

    Args:
        y: a convolution's output, quickest channels last.
        weight: γ, [c].
        bias: β, [c].
        given: so many first images, 1 … b, give μ and σ²; b is batch norm.
    """
    return _NormPoolRelu.apply(y, weight, bias, given)


class _NormPoolRelu(torch.autograd.Function):
    """z of (y, γ, β)."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, bias: Tensor, given: int) -> Tensor:
        best = None
        if y.numel() >= _COMPILED and passes.takes(y):
            best, where, mean, variance = passes.pool(to_rows(y), weight.sign(), given)
            r = (variance + EPS).rsqrt_()
            z = affine_relu(best, weight, bias, mean, r)
        elif given == len(y) and y.numel() < _LARGE:
            image = channels_last(y)
            normed, mean, r = torch.native_batch_norm(image, weight, bias, None, None, True, 0.0, EPS)
            z, where = _max_pool(normed, *_POOL)
            z.relu_()
        else:
            rows = to_rows(y)
            # Over rows or a map in this layout this kernel alone is quick and does not subtract large squares.
            mean, variance = torch.batch_norm_update_stats(to_map(rows[:given]), None, None, 0.0)
            r = (variance + EPS).rsqrt_()
            best, where = _pool(rows, weight)
            z = affine_relu(best, weight, bias, mean, r)
        ctx.given = given
        ctx.save_for_backward(y, weight, best, where, z, mean, r)
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = gradients
        # ``_Gradient`` is only needed where a second derivative may be asked for.
        first = _Gradient.apply if torch.is_grad_enabled() else _first
        y, weight, best, where, z, mean, r = ctx.saved_tensors
        return (*first(g, y, weight, ctx.given, best, where, z.detach(), mean, r), None)


class _Gradient(torch.autograd.Function):
    """(∂y, ∂γ, ∂β) of (g, y, γ): the first derivative, itself differentiable once."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, y: Tensor, weight: Tensor, given: int, *held: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        at_y, A, B = _first(g, y, weight, given, *held)
        ctx.given = given
        ctx.save_for_backward(g, y, weight, A, B, *held)
        return at_y, A, B

    @staticmethod
    def backward(ctx: Any, *u: Tensor) -> tuple[Tensor | None, ...]:
        return (*_Second.apply(*u, ctx.given, *ctx.saved_tensors), *[None] * 6)


class _Second(torch.autograd.Function):
    """What comes back to (g, y, γ) through ``_Gradient``.

    A function only so that a third derivative raises whichever input it is asked for. torch's ``once_differentiable``
    cuts the graph there, and ``autograd.grad`` would pass by in silence with the rest of the sum.
    """

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, u_weight: Tensor, u_bias: Tensor, given: int, *held: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        g, y, weight, A, B, best, where, z, mean, r = held
        rows, u, G = to_rows(y), to_rows(u), to_rows(threshold(channels_last(g), z, 0))
        best = _winners(rows, where) if best is None else best
        u_best = _winners(u, where)
        M = given * rows.shape[1] * rows.shape[2]
        s = weight * r
        S0, S1 = _sums(u[:given], rows[:given], mean, r)
        P, _ = _sums(G * u_best, best, mean, r)
        K = P - (B * S0 + A * S1) / M
        t = u_weight - s * S1 / M
        at_best = t * r
        at_G = torch.addcmul(u_bias - s * S0 / M - at_best * mean, best, at_best).addcmul_(u_best, s)
        along = s * A / -M
        slope = (t * A + along * S1 + s * K) * r.square() / -M
        level = (t * B + along * S0) * r / -M - slope * mean
        at_y = _dense_and_winners(rows, given, slope, level, G * at_best, where, (u, along * r))
        return threshold(to_map(at_G), z, 0), to_map(at_y), r * K

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError("conv4's fused block has no third derivative: set ROTOGBML_FUSED=0 in the environment")


def _first(g: Tensor, y: Tensor, weight: Tensor, given: int, *held: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return ∂y, ∂γ = A and ∂β = B; as stock's own kernels have them where the winners' y is not held."""
    best, where, z, mean, r = held
    G = threshold(channels_last(g), z, 0)
    if best is None:
        y = channels_last(y)
        D = _unpool(G, y, *_POOL, where)
        every = [True, True, True]
        at_y, A, B = norm_backward(D, y, weight, None, None, mean, r, True, EPS, every)
        return at_y, A, B
    rows, at_z = to_rows(y), to_rows(G)
    B, A = _sums(at_z, best, mean, r)
    M = given * rows.shape[1] * rows.shape[2]
    s = weight * r
    slope = s * r * A / -M
    level = s * B / -M - slope * mean
    return to_map(_dense_and_winners(rows, given, slope, level, at_z * s, where)), A, B


def _pool(rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return y at the winner of each 2×2 window, [b, h/2, w/2, c], and where it is in h · w, [b, c, h/2, w/2]."""
    if not bool((weight <= 0).any()):
        best, where = _max_pool(to_map(rows), *_POOL)
        return to_rows(best), where
    _, where = _max_pool(to_map(rows * weight.sign()), *_POOL)
    return _winners(rows, where), where


def _winners(rows: Tensor, where: Tensor) -> Tensor:
    """Return what stands at the winners: [b, h, w, c] → [b, h/2, w/2, c]."""
    if where.dtype == torch.uint8:
        return passes.winners(rows, where)
    at = to_rows(where)
    return rows.flatten(1, 2).gather(1, at.flatten(1, 2)).view_as(at)


def _at_winners(values: Tensor, rows: Tensor, where: Tensor) -> Tensor:
    """Put values [b, h/2, w/2, c] at the winners, zero elsewhere: [b, c, h, w], channels last."""
    return _unpool(to_map(values), to_map(rows), *_POOL, where)


def _sums(d: Tensor, x: Tensor, mean: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ d and Σ d (x − mean) r over all rows of [b, h, w, c]: [c] each, compiled where that is quicker."""
    if x.numel() >= _COMPILED and passes.takes(x):
        plain, along = passes.sums(d, x, mean)
        return plain.to(x.dtype), (along * r).to(x.dtype)
    return sums(d, x, mean, r)


def _dense_and_winners(
    rows: Tensor,
    given: int,
    slope: Tensor,
    level: Tensor,
    at_winners: Tensor,
    where: Tensor,
    more: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return slope · y + level (+ along · u) in the first ``given`` images, 0 in the others, more at the winners.

    Args:
        rows: y, [b, h, w, c].
        given: images of the dense part.
        slope: [c].
        level: [c].
        at_winners: what is added, [b, h/2, w/2, c].
        where: where, as of ``_pool`` or ``passes.pool``.
        more: u, [b, h, w, c], and along, [c].
    """
    if where.dtype == torch.uint8:
        return passes.dense_and_winners(rows, given, slope, level, at_winners, where, more)
    result = torch.empty_like(rows)
    for some in groups(rows):
        part, inside = result[some], max(given - some.start, 0)
        dense = torch.addcmul(level, rows[some][:inside], slope, out=part[:inside])
        if more is not None:
            u, along = more
            dense.addcmul_(u[some][:inside], along)
        part[inside:].zero_()
        part.add_(to_rows(_at_winners(at_winners[some], rows[some], where[some])))
    return result
