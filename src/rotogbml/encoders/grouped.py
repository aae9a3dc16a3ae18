"""Group norm, 2×2 max-pool and ReLU as one function, its first and second derivatives written out.

As ``fused.py``, whose letters these are, but every image has statistics of its own, and its channels share them in
groups: μ and r are those of the M = n · h · w numbers of one image and one group of n channels. With B_c = ΣG and
A_c = Σ G x̂_w of one image and channel, and B = Σ γ_c B_c, A = Σ γ_c A_c over the group's channels:

    ∂β_c = Σ B_c,   ∂γ_c = Σ A_c over images,   ∂y = r (γ_c D − (B + A x̂) / M)

**Second derivative.** With P_c = Σ G u_w of an image and channel, and S₀ = Σu, S₁ = Σ u x̂ of an image and group,

    Φ = r K + Σ u_γ A_c + Σ u_β B_c,   K = Σ γ_c P_c − (B S₀ + A S₁) / M
    ∂Φ/∂G = s u_w + t x̂_w + u_β − s S₀ / M,   s = γ_c r,   t = u_γ − s S₁ / M
    ∂Φ/∂γ_c = Σ r (P_c − (B_c S₀ + A_c S₁) / M) over images

and with e = t D − (r A / M) u, summed over the group Σe = Σ t B_c − r A S₀ / M and Σ e x̂ = Σ t A_c − r A S₁ / M,

    ∂Φ/∂y = r t D − (r² A / M) u − (r/M) (Σe + x̂ (Σ e x̂ + r K))

Each is a pass over the map in C (``native/fused.c``): of maps that are channels last 2 to 4 times as fast as torch's
own kernels, the second derivative 4 to 8 times. By torch's operators they would be slower than its group norm is, so
that is taken where nothing is compiled (docs/log.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rotogbml.encoders import fused
from rotogbml.encoders.maps import affine_relu, channels_last, threshold, to_map, to_rows
from rotogbml.encoders.norm import EPS
from rotogbml.native import passes

_COMPILED = 1 << 17
"""From so many numbers in y on, compiled passes are worth their calls (docs/log.md)."""


def fits(y: Tensor, weight: Tensor) -> bool:
    """Say whether ``group_pool_relu`` takes this map: one that ``fused.fits``, large, and there is a C compiler."""
    return y.numel() >= _COMPILED and fused.fits(y, weight) and passes.takes(y)


def group_pool_relu(y: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    """Return z [b, c, h // 2, w // 2], channels last, of y [b, c, h, w]; the map must be one that ``fits``.

    Args:
        y: a convolution's output, quickest channels last.
        weight: γ, [c].
        bias: β, [c].
        groups: so many groups of channels, a divisor of c; 1 is layer norm.
    """
    return _GroupPoolRelu.apply(y, weight, bias, groups)


class _GroupPoolRelu(torch.autograd.Function):
    """z of (y, γ, β)."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
        rows = to_rows(y)
        best, where, mean, r = _measured(rows, weight, groups)
        z = affine_relu(best, weight, bias, _wide(mean), _wide(r))
        ctx.groups = groups
        ctx.save_for_backward(y, weight, best, where, z, mean, r)
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = gradients
        y, weight, best, where, z, mean, r = ctx.saved_tensors
        first = _Gradient.apply if torch.is_grad_enabled() else _first  # a second derivative may be asked for
        at_y, A_c, B_c = first(g, y, weight, ctx.groups, best, where, z.detach(), mean, r)
        return at_y, A_c.sum(0), B_c.sum(0), None


class _Gradient(torch.autograd.Function):
    """(∂y, A_c, B_c) of (g, y, γ): the first derivative, itself differentiable once."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, y: Tensor, weight: Tensor, groups: int, *held: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        at_y, A_c, B_c = _first(g, y, weight, groups, *held)
        ctx.groups = groups
        ctx.save_for_backward(g, y, weight, A_c, B_c, *held)
        return at_y, A_c, B_c

    @staticmethod
    def backward(ctx: Any, *u: Tensor) -> tuple[Tensor | None, ...]:
        return (*_Second.apply(*u, ctx.groups, *ctx.saved_tensors), *[None] * 6)


class _Second(torch.autograd.Function):
    """What comes back to (g, y, γ) through ``_Gradient``. A function: a third derivative raises (``fused.py``)."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, u_weight: Tensor, u_bias: Tensor, groups: int, *held: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        g, y, weight, A_c, B_c, best, where, z, mean, r = held
        rows, u, G = to_rows(y), to_rows(u), to_rows(threshold(channels_last(g), z, 0))
        u_best, M = passes.winners(u, where), _numbers(rows, groups)
        A, B = _over(weight * A_c, groups), _over(weight * B_c, groups)
        S0 = _over(u.sum((1, 2)), groups)
        S1 = _over((u * (rows - _wide(mean))).sum((1, 2)), groups) * r
        P = (G * u_best).sum((1, 2))
        K = _over(weight * P, groups) - (B * S0 + A * S1) / M
        s = weight * r
        t = u_weight - s * S1 / M
        at_best = _wide(t * r)
        at_G = torch.addcmul(_wide(u_bias - s * S0 / M) - at_best * _wide(mean), best, at_best)
        at_G.addcmul_(u_best, _wide(s))
        e, ex = _over(t * B_c, groups) - r * A * S0 / M, _over(t * A_c, groups) - r * A * S1 / M
        slope = (ex + r * K) * r.square() / -M
        level = e * r / -M - slope * mean
        along = _wide(r.square() * A / -M)
        at_y = passes.dense_and_winners(rows, len(rows), _wide(slope), _wide(level), G * at_best, where, (u, along))
        at_weight = (r * (P - (B_c * S0 + A_c * S1) / M)).sum(0)
        return threshold(to_map(at_G), z, 0), to_map(at_y), at_weight

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError("conv4's fused block has no third derivative: set ROTOGBML_FUSED=0 in the environment")


def _first(g: Tensor, y: Tensor, weight: Tensor, groups: int, *held: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return ∂y, and A_c and B_c of each image, [b, c]."""
    best, where, z, mean, r = held
    rows, G = to_rows(y), to_rows(threshold(channels_last(g), z, 0))
    B_c = G.sum((1, 2))
    A_c = (G * (best - _wide(mean))).sum((1, 2)) * r
    M = _numbers(rows, groups)
    slope = r.square() * _over(weight * A_c, groups) / -M
    level = r * _over(weight * B_c, groups) / -M - slope * mean
    at_y = passes.dense_and_winners(rows, len(rows), _wide(slope), _wide(level), G * _wide(weight * r), where, None)
    return to_map(at_y), A_c, B_c


def _measured(rows: Tensor, weight: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return y at the winners, where they are, and μ and r of each image and channel, [b, c]."""
    best, where, mean, variance = passes.pool_each(rows, weight.sign())
    n = rows.shape[-1] // groups
    middle = _over(mean, groups) / n
    # a group's variance: what its channels vary by, and what their means lie apart
    r = (_over(variance + (mean - middle).square(), groups) / n + EPS).rsqrt_()
    return best, where, middle.to(rows.dtype), r.to(rows.dtype)


def _numbers(rows: Tensor, groups: int) -> int:
    """Return M."""
    return rows[0].numel() // groups


def _over(x: Tensor, groups: int) -> Tensor:
    """Sum [b, c] over each group's channels, and give the sum to each of them: [b, c]."""
    parts = x.unflatten(1, (groups, -1))
    return parts.sum(2, keepdim=True).expand_as(parts).flatten(1)


def _wide(x: Tensor) -> Tensor:
    """[b, c] → [b, 1, 1, c], beside rows."""
    return x[:, None, None]
