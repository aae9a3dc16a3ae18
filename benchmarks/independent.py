"""Meta-learning written out by hand: what the oracles hold ``rotogbml.learners`` against, sharing no code with it.

Only values are computed here, on plain tensors cut off from every graph: the gradient of an outer loss comes from
central differences alone. conv4, heads, inner loop and losses are spelled out from the papers' formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.episodes import Episode
from rotogbml.seeds import numpy_generator

Tensors = dict[str, Tensor]
EPS, DELTA = 1e-5, 3e-6
"""What batch normalisation adds to a variance; the step of the central differences.

A longer step would see less rounding, but sooner a kink of ReLU or max-pooling, across which a meta-gradient jumps."""


@dataclass(frozen=True)
class Way:
    """How a task is adapted to, and where its outer loss is taken.

    Attributes:
        head: name of the head.
        steps: τ.
        lr: η where it is constant.
        group: ``all``, ``head`` or ``encoder``.
        rates: ``constant``, ``parameter`` (α of a tensor's shape) or ``step`` (α[t] of a tensor).
        shares: v_t by t; the last state alone where empty.
        lam: λ of a proximal term.
        smooth: softplus and mean-pooling in place of ReLU and max-pooling.
        turn: γ [m, m] on the queries' features; None is no rotation.
        turn_support: γ on the support's features as well.
    """

    head: str = "linear"
    steps: int = 2
    lr: float = 0.05
    group: str = "all"
    rates: str = "constant"
    shares: Mapping[int, float] = field(default_factory=dict)
    lam: float = 0.0
    smooth: bool = False
    turn: Tensor | None = None
    turn_support: bool = False

    @property
    def inner_turn(self) -> Tensor | None:
        """γ in the inner loop."""
        return self.turn if self.turn_support else None

    def rate(self, alpha: Tensors, key: str, t: int) -> float | Tensor:
        """Return the step size of a tensor, named with its room: ``f.`` or ``c.`` before its name."""
        return self.lr if self.rates == "constant" else alpha[key] if self.rates == "parameter" else alpha[key][t]


def conv4(way: Way, theta: Tensors, x: Tensor, t: int, support: Tensor | None = None) -> Tensor:
    """Return features by four blocks of convolution, norm, ReLU and pooling, norms from primitives.

    Where a block has a scale for each step (``per-step``) the support's statistics normalise: x itself is the support,
    or it stands beside.
    """
    by_step = theta["blocks.0.weight"].ndim == 2
    given = len(x) if support is None else len(support)
    if by_step and support is not None:
        x = torch.cat([support, x])
    for i in range(4):
        x = F.conv2d(x, theta[f"blocks.{i}.conv.weight"], padding=1)
        scale, shift = theta[f"blocks.{i}.weight"], theta[f"blocks.{i}.bias"]
        if by_step:
            scale, shift = scale[t], shift[t]
        rows = x[:given] if by_step else x
        mean, variance = rows.mean((0, 2, 3)), rows.var((0, 2, 3), correction=0)
        x = ((x.movedim(1, -1) - mean) / (variance + EPS).sqrt() * scale + shift).movedim(-1, 1)
        x = F.avg_pool2d(F.softplus(x), 2) if way.smooth else F.max_pool2d(x.relu(), 2)
    return (x[given:] if by_step and support is not None else x).flatten(1)


def start(head: str, phi: Tensors, z: Tensor, y: Tensor, n_way: int) -> Tensors:
    """Return φ_i⁰ from the learned φ and the support's features z [s, m] with labels y."""
    if head == "linear-tied":
        return {"weight": torch.cat([phi["weight"]] * n_way), "bias": torch.cat([phi["bias"]] * n_way)}
    if head == "zero":
        return {"weight": z.new_zeros(n_way, z.shape[1]), "bias": z.new_zeros(n_way)}
    if head == "prototype":
        belongs = F.one_hot(y, n_way).to(z)
        c = belongs.T @ z / belongs.sum(0)[:, None]
        return {"weight": 2 * c, "bias": -(c * c).sum(1)}
    return dict(phi)


def scores(head: str, phi: Tensors, z: Tensor) -> Tensor:
    """Return the scores [b, n_way] of features [b, m]."""
    if head == "cosine":
        return phi["scale"] * (z / z.norm(dim=1, keepdim=True)) @ (phi["weight"] / phi["weight"].norm(dim=1)[:, None]).T
    return z @ phi["weight"].T + phi["bias"]


def loss(
    way: Way,
    state: Tensors,
    x: Tensor,
    y: Tensor,
    t: int,
    turn: Tensor | None = None,
    support: Tensor | None = None,
) -> Tensor:
    """Return the mean cross-entropy at a state that holds θ as ``f.*`` and φ_i as ``c.*``, features turned by γ."""
    theta = {key[2:]: p for key, p in state.items() if key.startswith("f.")}
    phi = {key[2:]: p for key, p in state.items() if key.startswith("c.")}
    z = conv4(way, theta, x, 0 if way.group == "head" else t, support)
    logits = scores(way.head, phi, z if turn is None else z @ turn.T)
    return -logits.log_softmax(1)[torch.arange(len(y)), y].mean()


def support_gradient(way: Way, state: Tensors, origin: Tensors, task: Episode, t: int) -> Tensors:
    """Return the gradient of the inner objective at what adapts."""
    adapts = [key for key in state if {"all": True, "head": key[0] == "c", "encoder": key[0] == "f"}[way.group]]
    leaf = {key: p.detach().requires_grad_(key in adapts) for key, p in state.items()}
    value = loss(way, leaf, task.support.x, task.support.y, t, way.inner_turn)
    found = torch.autograd.grad(value, [leaf[key] for key in adapts])
    return {key: g + way.lam * (state[key] - origin[key]) for key, g in zip(adapts, found, strict=True)}


@torch.no_grad()
def begin(way: Way, psi: Tensors, task: Episode) -> Tensors:
    """Return ψ_i⁰ of ψ, both with ``f.`` and ``c.`` before their names."""
    theta = {key[2:]: p for key, p in psi.items() if key.startswith("f.")}
    phi = {key[2:]: p for key, p in psi.items() if key.startswith("c.")}
    z = conv4(way, theta, task.support.x, 0)
    z = z if way.inner_turn is None else z @ way.inner_turn.T
    own = start(way.head, phi, z, task.support.y, task.n_way)
    return {f"f.{name}": p for name, p in theta.items()} | {f"c.{name}": p for name, p in own.items()}


def course(
    way: Way, psi: Tensors, alpha: Tensors, task: Episode, held: list[Tensors] | None = None
) -> tuple[list[Tensors], list[Tensors]]:
    """Return the states ψ⁰ … ψ^τ and the inner gradients; ``held`` gradients are taken instead of the state's own."""
    states, gradients = [begin(way, psi, task)], []
    for t in range(way.steps):
        state = states[-1]
        g = support_gradient(way, state, states[0], task, t) if held is None else held[t]
        gradients.append(g)
        states.append({key: p - way.rate(alpha, key, t) * g[key] if key in g else p for key, p in state.items()})
    return states, gradients


def outer_loss(way: Way, psi: Tensors, alpha: Tensors, task: Episode, held: list[Tensors] | None = None) -> float:
    """Return Σ_t v_t L_Q(ψ^t). With the inner gradients held still its derivative is the first-order one."""
    states, _ = course(way, psi, alpha, task, held)
    with torch.no_grad():
        shares = way.shares or {way.steps: 1.0}
        query, beside = task.query, task.support.x
        values = [v * loss(way, states[t], query.x, query.y, t, way.turn, beside) for t, v in shares.items()]
        return float(torch.stack(values).sum())


def worst_error(gradient: Tensors, at: Tensors, f: Callable[[Tensors], float], seed: int = 4) -> float:
    """Return the largest relative error, tensor by tensor, of a gradient against central differences of f.

    Each tensor is moved along a random direction d of its own; ⟨g, d⟩ is compared. A derivative that is below a
    hundredth of the largest one is measured by that hundredth: below it the differences' own rounding is seen. Of two
    lengths of step the better counts: a kink of ReLU or max-pool that lies within the longer spoils that one alone.
    """
    g = torch.Generator().manual_seed(seed)
    found, expected = [], []
    for key, p in at.items():
        d = torch.randn(p.shape, generator=g, dtype=p.dtype)
        pair = []
        for delta in (DELTA, DELTA / 10):
            up, down = f(at | {key: p + delta * d}), f(at | {key: p - delta * d})
            pair.append((up - down) / (2 * delta))
        expected.append(pair)
        found.append(float((gradient[key] * d).sum()))
    floor = 0.01 * max((abs(e) for e, _ in expected), default=0.0)
    errors = [min(abs(a - e) / max(abs(e), floor) for e in pair) for a, pair in zip(found, expected, strict=True)]
    return max(errors, default=0.0)


def relative(a: Tensor, b: Tensor) -> float:
    """Return ‖a − b‖ / ‖b‖, or ‖a‖ where b is zero."""
    return float((a - b).norm() / b.norm()) if float(b.norm()) else float(a.norm())


def reptile(
    way: Way, psi: Tensors, task: Episode, batch: int, optimizer: Callable[..., torch.optim.Optimizer]
) -> Tensors:
    """Return (ψ⁰ − ψ^τ) / (τη), by an optimizer of torch's own on minibatches of all of the task's images."""
    x, y = torch.cat([task.support.x, task.query.x]), torch.cat([task.support.y, task.query.y])
    rng, order = numpy_generator(task.key, "reptile"), []
    origin = begin(way, psi, task)
    state = {key: p.detach().clone().requires_grad_() for key, p in origin.items()}
    moves = optimizer(list(state.values()), lr=way.lr)
    for t in range(way.steps):
        while len(order) < batch:
            order += rng.permutation(len(y)).tolist()
        rows, order = order[:batch], order[batch:]
        moves.zero_grad()
        # The last minibatch plays the query.
        turn = way.turn if t == way.steps - 1 else way.inner_turn
        loss(way, state, x[rows], y[rows], t, turn).backward()
        moves.step()
    return {key: (p - state[key].detach()) / (way.steps * way.lr) for key, p in origin.items()}
