"""How far rounding alone may part two ways of computing a norm, its sum or pool, ReLU, and both their derivatives.

All of them are sums. A sum of n terms in floating point, in any order, is off by at most n ε Σ|term| to first order
(Higham, Accuracy and Stability of Numerical Algorithms, 4.2), and so are products of such sums where each factor
stands for its own Σ|term|. Σ|term| / |Σ term| is the sum's condition: where terms cancel the sum is small and its
error is not, whoever adds them up. Batch norm's derivative cancels by design. It takes from the gradient G what x̂
explains,

    G − (ΣG + x̂ Σ G x̂) / M,

and if G is affine in y, G = a y + b, what is left is a (y − μ) ε' / (σ² + ε') with ε' = 1e-5: some 1e-5 of the terms,
with the terms' error. A gradient at one γ of 0, where this is all there is, is then 1e-6 and off by 1e-17, in torch and
here alike. So the measure is error / Σ|term|, entry by entry, never error / |Σ term|.

``sizes`` are those Σ|term|: the formulas of ``encoders/fused.py`` and ``encoders/residual.py`` (their letters) with
every summand by its absolute value, y − μ counting as |y| + |μ|: μ too is rounded, and it may be multiplied out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders.norm import EPS

BOUND = 1e-14
"""Of an error in float64, relative to the terms' size: 45 units of rounding.

n ε is the worst case. Roundings are of either sign and torch adds in blocks, so what is found is some units."""

Given = Sequence[Tensor | None]
"""x or None, then y, γ, β of each map that is normed; x is added as it is."""


def everything(f: Callable[..., Tensor], given: Given) -> list[Tensor]:
    """Return z, the gradients at all inputs, and the derivatives of a random mixture of those at them and at ∂z."""
    held = [t if t is None else t.detach().clone(memory_format=torch.preserve_format) for t in given]
    inputs = [t.requires_grad_() for t in held if t is not None]
    z = f(*held)
    back, mixture = _draw(z, inputs)
    back.requires_grad_()
    # the square makes what comes back depend on the maps too, as a loss does
    first = torch.autograd.grad((z * back + z.square()).sum(), inputs, create_graph=True)
    return [z, *first, *torch.autograd.grad(first, [*inputs, back], mixture)]


def worst_error(
    f: Callable[..., Tensor],
    reference: Callable[..., Tensor],
    given: Given,
    slope: float = 0.0,
    images: int | None = None,
    pool: bool = False,
) -> tuple[float, int]:
    """Return the largest error of ``everything`` in f against the reference, relative to its terms' size, and where.

    Args:
        f: z of what is given.
        reference: likewise.
        given: inputs of both, float64.
        slope: ReLU's below 0.
        images: so many first images give the statistics; all where it is None.
        pool: whether 2×2 max-pooling comes before ReLU.
    """
    errors = []
    sums = sizes(reference, given, slope, images, pool)
    for a, b, size in zip(everything(f, given), everything(reference, given), sums, strict=True):
        if a.shape != b.shape:
            raise ValueError(f"shapes {tuple(a.shape)} and {tuple(b.shape)}")
        error = (a - b).abs()
        # 0 / 0 is no error; NaN anywhere is an endless one
        relative = torch.where(error == 0, 0.0, error / size).nan_to_num(torch.inf, torch.inf)
        errors.append(relative.max().item())
    worst = max(errors)
    return worst, errors.index(worst)


@torch.no_grad()
def sizes(
    reference: Callable[..., Tensor],
    given: Given,
    slope: float = 0.0,
    images: int | None = None,
    pool: bool = False,
) -> list[Tensor]:
    """Return Σ|term| of each entry of ``everything``, in its order and shapes; arguments as of ``worst_error``."""
    plain, terms = given[0], [t for t in given[1:] if t is not None]
    inputs = [t for t in given if t is not None]
    maps = [t.abs() for t in terms[::3]]
    images = len(maps[0]) if images is None else images
    first = torch.zeros(len(maps[0]), 1, 1, 1, dtype=maps[0].dtype)
    first[:images] = 1.0  # times this: in the first images alone
    M = images * maps[0].shape[2] * maps[0].shape[3]
    z = reference(*given)
    back, mixture = _draw(z, inputs)
    u = [t.abs() for t in mixture]
    u_plain = [] if plain is None else [u.pop(0)]

    r, s, X, p = [], [], [], sum((t.abs() for t in ([] if plain is None else [plain])), torch.zeros_like(maps[0]))
    for y, weight, bias in zip(terms[::3], terms[1::3], terms[2::3], strict=True):
        variance, mean = torch.var_mean(y[:images], (0, 2, 3), correction=0)
        r.append(_wide((variance + EPS).rsqrt()))
        s.append(_wide(weight.abs()) * r[-1])
        X.append((y.abs() + _wide(mean.abs())) * r[-1])
        p = p + _wide(weight.abs()) * X[-1] + _wide(bias.abs())
    # what z is of p: its winners, times ReLU's slope there
    y, weight = terms[0], terms[1]
    where = F.max_pool2d(y * _wide(weight.sign()), 2, return_indices=True)[1] if pool else None
    passes = torch.where(z > 0, torch.ones_like(z), slope)

    def out(p: Tensor) -> Tensor:
        return p if where is None else p.flatten(2).gather(2, where.flatten(2)).view_as(where)

    def into(g: Tensor) -> Tensor:
        g = g * passes
        return (
            g if where is None else torch.zeros_like(p).flatten(2).scatter(2, where.flatten(2), g.flatten(2)).view_as(p)
        )

    def first_derivative(G: Tensor) -> list[Tensor]:
        found = [] if plain is None else [G]
        for s_k, X_k in zip(s, X, strict=True):
            B, A = _sum(G), _sum(G * X_k)
            found += [s_k * (G + first * (B + A * X_k) / M), A.flatten(), B.flatten()]
        return found

    at_z = passes * out(p)
    G = into(back.abs() + 2 * at_z)
    B, at_G, second = _sum(G), sum(u_plain, torch.zeros_like(p)), []
    for k, (r_k, s_k, X_k) in enumerate(zip(r, s, X, strict=True)):
        u_y, u_weight, u_bias = u[3 * k], _wide(u[3 * k + 1]), _wide(u[3 * k + 2])
        S0, S1, A = _sum(first * u_y), _sum(first * u_y * X_k), _sum(G * X_k)
        K = _sum(G * u_y) + (B * S0 + A * S1) / M
        t = u_weight + s_k * S1 / M
        along_1 = t * B + s_k * A * S0 / M
        along_X = t * A + s_k * A * S1 / M + s_k * K
        at_G = at_G + s_k * u_y + t * X_k + u_bias + s_k * S0 / M
        at_y = r_k * t * G + first * r_k / M * (s_k * A * u_y + along_1 + X_k * along_X)
        second += [at_y, (r_k * K).flatten(), torch.zeros_like(terms[3 * k + 2])]
    second = second if plain is None else [torch.zeros_like(plain), *second]
    at_back = passes * out(at_G)
    # z's square sends 2 z back, so that what comes to ∂z goes on through z
    again = first_derivative(into(2 * at_back))
    return [at_z, *first_derivative(G), *(a + b for a, b in zip(second, again, strict=True)), at_back]


def _draw(z: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return what comes back to z, and the mixture."""
    g = torch.Generator().manual_seed(1)
    back = torch.randn(z.shape, generator=g, dtype=z.dtype)
    return back, [torch.randn(t.shape, generator=g, dtype=t.dtype) for t in inputs]


def _wide(channels: Tensor) -> Tensor:
    """[c] → [c, 1, 1]."""
    return channels.view(-1, 1, 1)


def _sum(x: Tensor) -> Tensor:
    """[b, c, h, w] → [c, 1, 1]."""
    return _wide(x.sum((0, 2, 3)))
