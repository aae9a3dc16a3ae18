"""The sum of batch norms and its (leaky) ReLU as one function, its first and second derivatives written out.

What residual blocks do between convolutions: one map normed, or two, or one beside a map x that is added as it is. For
maps y_k [b, c, h, w] with scales γ_k and shifts β_k, every formula being one channel's; x̂, μ, r, M, s and the first
``given`` images, which alone give the statistics, are those of ``fused.py``:

    p = Σ_k (γ_k x̂_k + β_k) (+ x),   z = p where p > 0, else slope · p

**First derivative.** G is the gradient at z, times slope where z ≤ 0. B = ΣG, A_k = Σ G x̂_k:

    ∂x = G,   ∂β_k = B,   ∂γ_k = A_k,   ∂y_k = s_k (G − [first images] (B + A_k x̂_k) / M)

**Second derivative.** That of ``fused.py``, with G in place of D, for there are no winners. u_k, u_γk, u_βk and u_x are
what comes back to ∂y_k, ∂γ_k, ∂β_k and ∂x; P_k = Σ G u_k; S₀ₖ = Σ u_k and S₁ₖ = Σ u_k x̂_k over the first images:

    K_k = P_k − (B S₀ₖ + A_k S₁ₖ) / M,   t_k = u_γk − s_k S₁ₖ / M
    ∂Φ/∂G = u_x + Σ_k (s_k u_k + t_k x̂_k + u_βk − s_k S₀ₖ / M),   ∂Φ/∂γ_k = r_k K_k
    ∂Φ/∂y_k = r_k t_k G − [first images] (r_k/M) (s_k A_k u_k + Σe + x̂_k (Σ e x̂ + s_k K_k))
    Σe = t_k B − s_k A_k S₀ₖ / M,   Σ e x̂ = t_k A_k − s_k A_k S₁ₖ / M

All of it is affine in a few maps with one number a channel; a pass adds them up some images at a time, in cache. ReLU
has no second derivative of its own. A third derivative is not written and raises.

**Small maps** (``_LARGE``): z comes from stock's own kernels, called without autograd between them, and is stock's to
the bit; so is the first derivative, at any size, where all images give the statistics: stock has the passes that the
formula needs and no more. What is slow in stock is the second derivative alone.

``ROTOGBML_FUSED=0`` in the environment turns all of this off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders.fused import fits
from rotogbml.encoders.maps import groups, norm_backward, sums, threshold, to_map, to_rows
from rotogbml.encoders.norm import EPS, Norm, NormPass

_LARGE = 1 << 19
"""From so many numbers in a map on, fewer passes pay for more calls, as in ``fused.py``."""

_leaky = torch.ops.aten.leaky_relu_backward.default


def norm_sum_relu(
    terms: Sequence[tuple[Norm, Tensor]], at: NormPass | None, plain: Tensor | None = None, slope: float = 0.0
) -> Tensor:
    """Return ReLU(Σ norm(y) + plain), [b, c, h, w]: one function where that fits, stock operators elsewhere.

    Args:
        terms: norms of one policy, each with its map [b, c, h, w].
        at: what the norms are told of this pass.
        plain: a map that is added as it is.
        slope: ReLU's below 0, 0 … 1; 1 is no ReLU.

    Raises:
        ValueError: as by ``Norm``.
    """
    if all(norm.of_images and fits(y, norm.weight) for norm, y in terms):
        norm, y = terms[0]
        flat = [t for norm, y in terms for t in (y, *norm.scale_and_shift(at))]
        return _NormSumRelu.apply(norm.given(len(y), at), slope, plain, *flat)
    p, *others = [norm(y, at) for norm, y in terms]
    for other in others if plain is None else [*others, plain]:
        p = p + other
    return p if slope == 1 else F.leaky_relu(p, slope) if slope else F.relu(p)


class _NormSumRelu(torch.autograd.Function):
    """z of (x, y₁, γ₁, β₁, y₂, …)."""

    @staticmethod
    def forward(ctx: Any, given: int, slope: float, plain: Tensor | None, *terms: Tensor) -> Tensor:
        maps = [to_rows(y) for y in terms[::3]]
        beside = [] if plain is None else [to_rows(plain)]
        weights, biases, means, rs = terms[1::3], terms[2::3], [], []
        if given == len(maps[0]) and maps[0].numel() < _LARGE:
            normed = []
            for y, weight, bias in zip(maps, weights, biases, strict=True):
                one, mean, r = torch.native_batch_norm(to_map(y), weight, bias, None, None, True, 0.0, EPS)
                normed.append(to_rows(one))
                means.append(mean)
                rs.append(r)
            z = normed[0]
            for other in [*normed[1:], *beside]:
                z.add_(other)
            _relu(z, slope)
        else:
            level, along = torch.zeros_like(biases[0]), []
            for y, weight, bias in zip(maps, weights, biases, strict=True):
                # Over a map in this layout this kernel alone is quick and does not subtract large squares.
                mean, variance = torch.batch_norm_update_stats(to_map(y[:given]), None, None, 0.0)
                means.append(mean)
                rs.append((variance + EPS).rsqrt_())
                along.append((y, weight * rs[-1]))
                level = level + (bias - mean * along[-1][1])
            z = torch.empty_like(maps[0])
            for some in groups(z):
                _relu(_affine(z[some], some, level, along, beside), slope)
        ctx.given, ctx.slope, ctx.beside = given, slope, bool(beside)
        z = to_map(z)
        ctx.save_for_backward(z, *_flat(terms[::3], weights, means, rs))
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,), (z, *terms) = gradients, ctx.saved_tensors
        # ``_Gradient`` is only needed where a second derivative may be asked for.
        first = _Gradient.apply if torch.is_grad_enabled() else _first
        at_plain, *rest = first(g, ctx.given, ctx.slope, z.detach(), *terms)
        return None, None, at_plain if ctx.beside else None, *rest


class _Gradient(torch.autograd.Function):
    """(∂x = G, ∂y₁, ∂γ₁, ∂β₁, ∂y₂, …) of (g, y₁, γ₁, y₂, …): the first derivative, itself differentiable once."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, given: int, slope: float, z: Tensor, *terms: Tensor) -> tuple[Tensor, ...]:
        found = _first(g, given, slope, z, *terms)
        ctx.given, ctx.slope = given, slope
        ctx.save_for_backward(found[0], z, found[3], *found[2::3], *terms)
        ctx.set_materialize_grads(False)  # no map of zeros for ∂x where nothing stands beside the norms
        return found

    @staticmethod
    def backward(ctx: Any, *u: Tensor | None) -> tuple[Tensor | None, ...]:
        at_g, *rest = _Second.apply(ctx.given, ctx.slope, len(u), *u, *ctx.saved_tensors)
        nothing = [None] * (len(rest) // 2)
        return at_g, None, None, None, *_flat(rest[::2], rest[1::2], nothing, nothing)


class _Second(torch.autograd.Function):
    """What comes back to (g, y₁, γ₁, y₂, …) through ``_Gradient``.

    A function only so that a third derivative raises whichever input it is asked for, as in ``fused.py``.
    """

    @staticmethod
    def forward(ctx: Any, given: int, slope: float, n: int, *held: Any) -> tuple[Tensor, ...]:
        (u_plain, *u), (G, z, B, *rest) = held[:n], held[n:]
        terms = rest[n // 3 :]
        G, beside = to_rows(G), [] if u_plain is None else [to_rows(u_plain)]
        M = given * G.shape[1] * G.shape[2]
        level_G, along_G, at_terms = torch.zeros_like(B), [], []
        for A, y, weight, mean, r, u_y, u_weight, u_bias in zip(
            rest[: n // 3], terms[::4], terms[1::4], terms[2::4], terms[3::4], u[::3], u[1::3], u[2::3], strict=True
        ):
            y, s = to_rows(y), weight * r
            u_y = torch.zeros_like(y) if u_y is None else to_rows(u_y)
            S0, S1 = sums(u_y[:given], y[:given], mean, r)
            _, P = sums(G, u_y, torch.zeros_like(mean), torch.ones_like(r))  # mean 0 and r 1: Σ G u
            K = P - (B * S0 + A * S1) / M
            t = s * S1 / -M if u_weight is None else u_weight - s * S1 / M
            along = s * A / -M
            slope_y = (t * A + along * S1 + s * K) * r.square() / -M
            level = (t * B + along * S0) * r / -M - slope_y * mean
            at_terms += [to_map(_dense(given, level, [(y, slope_y), (u_y, along * r)], G, t * r)), r * K]
            level_G = level_G - s * S0 / M - t * r * mean
            level_G = level_G if u_bias is None else level_G + u_bias
            along_G += [(u_y, s), (y, t * r)]
        at_G = torch.empty_like(G)
        for some in groups(at_G):
            _affine(at_G[some], some, level_G, along_G, beside)
        return _masked(to_map(at_G), z, slope), *at_terms

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError("the fused residual block has no third derivative: set ROTOGBML_FUSED=0 in the environment")


def _first(g: Tensor, given: int, slope: float, z: Tensor, *terms: Tensor) -> tuple[Tensor, ...]:
    """Return ∂x = G, then ∂y_k, ∂γ_k = A_k and ∂β_k = B of each term."""
    G = _masked(to_map(to_rows(g)), z, slope)
    found = [G]
    for y, weight, mean, r in zip(terms[::4], terms[1::4], terms[2::4], terms[3::4], strict=True):
        if given == len(y):
            every = [True, True, True]
            found += norm_backward(G, to_map(to_rows(y)), weight, None, None, mean, r, True, EPS, every)
            continue
        rows, s = to_rows(y), weight * r
        B, A = sums(to_rows(G), rows, mean, r)
        M = given * rows.shape[1] * rows.shape[2]
        slope_y = s * r * A / -M
        level = s * B / -M - slope_y * mean
        found += [to_map(_dense(given, level, [(rows, slope_y)], to_rows(G), s)), A, B]
    return tuple(found)


def _flat(*columns: Sequence[Any]) -> list[Any]:
    """Return the first of each, then the second of each, and so on."""
    return [x for row in zip(*columns, strict=True) for x in row]


def _relu(p: Tensor, slope: float) -> None:
    """ReLU in place."""
    if slope != 1:
        _ = F.leaky_relu_(p, slope) if slope else p.relu_()


def _masked(g: Tensor, z: Tensor, slope: float) -> Tensor:
    """Return g where z > 0, elsewhere slope · g: as stock does at a tie at 0."""
    if slope == 1:
        return g
    return _leaky(g, z, slope, True) if slope else threshold(g, z, 0)


Along = Sequence[tuple[Tensor, Tensor]]
"""Maps [b, h, w, c], each with a factor [c]."""


def _affine(result: Tensor, some: slice, level: Tensor, along: Along, beside: Sequence[Tensor] = ()) -> Tensor:
    """Write level + Σ factor · map + Σ beside, each map's ``some`` images, and return it."""
    (first, factor), *others = along
    torch.addcmul(level, first[some], factor, out=result)
    for other, factor in others:
        result.addcmul_(other[some], factor)
    for other in beside:
        result.add_(other[some])
    return result


def _dense(given: int, level: Tensor, along: Along, G: Tensor, factor: Tensor) -> Tensor:
    """Return factor · G everywhere, and level + Σ factor · map more in the first ``given`` images."""
    result = torch.empty_like(G)
    for some in groups(result):
        part, inside = result[some], min(max(given - some.start, 0), some.stop - some.start)
        _affine(part[:inside], slice(some.start, some.start + inside), level, along)
        part[inside:].zero_()
        part.addcmul_(G[some], factor)
    return result
