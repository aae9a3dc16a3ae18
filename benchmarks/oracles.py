"""The oracle table: each learner's meta-gradient against what it should be, in float64.

    python -m benchmarks.oracles

A check returns its largest relative error; the tests hold every one of them to ``BOUND``. Differences are central
ones of an outer loss written out by hand (``independent.py``) on conv4-4 at 16 px, for θ, φ and α; closed forms are
those of quadratic tasks (``quadratic.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import quadratic
from benchmarks.independent import Tensors, Way, begin, course, outer_loss, reptile, worst_error
from rotogbml.encoders import Drop, Encoder, NormPass, create_encoder
from rotogbml.encoders.conv4 import Conv4
from rotogbml.encoders.norm import Norm
from rotogbml.episodes import Episode, Examples
from rotogbml.homogenizer import Turn
from rotogbml.learners import Learner, Network, create_head, create_learner

BOUND = 1e-6
HEADS = ("linear", "linear-tied", "zero", "prototype", "cosine")


class Check(NamedTuple):
    """One row of the table, or a part of one."""

    learner: str
    what: str
    error: Callable[[], float]


class Smooth(Conv4):
    """conv4 with softplus and mean-pooling: between the kinks of the original an inner problem may have no minimum."""

    def forward(self, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
        """[b, 3, 16, 16] → [b, 4]."""
        for block in self.blocks:
            x = F.avg_pool2d(F.softplus(Norm.forward(block, block.conv(x), at)), 2)
        return x.flatten(1)


def make_network(head: str, norm: str = "batch", sets: int = 1, smooth: bool = False) -> Network:
    """Return conv4-4 at 16 px with a head for 3 classes in float64, no number of it at a symmetric start."""
    encoder: Encoder = Smooth(16, 4) if smooth else create_encoder("conv4", size=16, width=4, norm=norm, sets=sets)
    network = Network(encoder, create_head(head, encoder.feature_dim, 3))
    network.initialise(0)
    cast(nn.Module, encoder).double()
    network.head.double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in [*encoder.named_parameters(), *network.head.named_parameters(), *encoder.named_buffers()]:
            if p[1].ndim < 4:
                noise = torch.randn(p[1].shape, generator=g, dtype=torch.float64)
                p[1].add_(0.3 * noise.abs() if "running_var" in p[0] else 0.3 * noise)
    return network


def make_task() -> Episode:
    """Return a 3-way task of noise: two images a class to adapt on, three to be judged on."""
    g = torch.Generator().manual_seed(2)

    def examples(n: int) -> Examples:
        return Examples(torch.randn(n, 3, 16, 16, generator=g, dtype=torch.float64), torch.arange(n) % 3)

    return Episode(examples(6), examples(9), "made", ("a", "b", "c"), (np.arange(6), np.arange(6, 15)))


def at(learner: Learner) -> tuple[Tensors, Tensors]:
    """Return ψ, by room and name, and α, spread out so that no two rates are alike."""
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in learner.alpha.values():
            p.mul_(0.5 + torch.rand(p.shape, generator=g, dtype=p.dtype))
    theta, phi = learner.network.psi()
    psi = {f"f.{name}": p for name, p in theta.items()} | {f"c.{name}": p for name, p in phi.items()}
    return {key: p.detach().clone() for key, p in psi.items()}, {
        k: a.detach().clone() for k, a in learner.alpha.items()
    }


def meta_gradient(learner: Learner, task: Episode, way: Way) -> Tensors:
    """Return the meta-gradient by the code under test, with the names of ``at`` and the way's γ."""
    psi, γ = learner.network.psi(), way.turn
    rotate = None if γ is None else Turn(γ)
    prepared = learner.prepare(psi, task, rotate_support=rotate if way.turn_support else None)
    found = learner.meta_gradient(psi, prepared, rotate)
    named: list[tuple[list[str], list[Tensor]]] = [
        ([f"f.{name}" for name in psi.theta], found.theta_gradient),
        ([f"c.{name}" for name in psi.phi], found.phi_gradient),
        ([f"alpha {name}" for name in learner.alpha], found.alpha_gradient),
    ]
    return {key: g for keys, gradients in named for key, g in zip(keys, gradients, strict=True)}


def by_differences(name: str, way: Way, progress: float = 1.0, norm: str = "batch", **options: Any) -> float:
    """Compare a learner at a share of training that is done with central differences of ``way``'s outer loss."""
    network, task = make_network(way.head, norm, way.steps + 1, way.smooth), make_task()
    learner = create_learner(name, network, inner_lr=way.lr, inner_steps=way.steps, **options).at(progress)
    psi, alpha = at(learner)
    # First order: the inner gradients are constants of the outer loss.
    still = options.get("first_order") or progress < options.get("first_order_share", 0.0)
    held = course(way, psi, alpha, task)[1] if still else None
    both = psi | {f"alpha {key}": a for key, a in alpha.items()}

    def f(given: Tensors) -> float:
        return outer_loss(way, {k: given[k] for k in psi}, {k: given[f"alpha {k}"] for k in alpha}, task, held)

    return worst_error(meta_gradient(learner, task, way), both, f)


def by_definition(head: str, optimizer: str, steps: int = 3, batch: int = 4, **turned: Any) -> float:
    """Compare Reptile with training on the task by torch's optimizers, pulled back to ψ where φ's start is computed."""
    way = Way(head, steps=steps, lr=0.05 if optimizer == "sgd" else 0.002, **turned)
    options = {"inner_steps": steps, "inner_batch": batch, "inner_optimizer": optimizer}
    learner, task = create_learner("reptile", make_network(head), inner_lr=way.lr, **options), make_task()
    psi, _ = at(learner)
    adam = partial(torch.optim.Adam, betas=(0.0, 0.999))
    d = reptile(way, psi, task, batch, torch.optim.SGD if optimizer == "sgd" else adam)

    def along(given: Tensors) -> float:
        return float(sum((p * d[key]).sum() for key, p in begin(way, given, task).items()))

    return worst_error(meta_gradient(learner, task, way), psi, along)


def _way(head: str, **way: Any) -> Way:
    """Return an inner loop: longer steps from a head whose rows are alike, near which gradients are tiny."""
    lr = {"linear-tied": 0.3, "zero": 0.3, "cosine": 0.02}.get(head, 0.05)
    return Way(head, **({"lr": lr} | way))


def _both_orders(name: str, *heads: str, **way: Any) -> list[Check]:
    return [
        Check(name, f"differences, {order} order, {head}", partial(by_differences, name, _way(head, **way), **options))
        for head in heads
        for order, options in (("second", {}), ("first", {"first_order": True}))
    ]


def _maml_pp() -> list[Check]:
    """Every part on and off, at the points of training between which something changes; τ = 3."""
    name = "maml++"
    # v_1 … v_3: all a third at first; two thirds of the way to the last alone; at the floor of 0.03/τ.
    equal = {1: 1 / 3, 2: 1 / 3, 3: 1 / 3}
    later = {1: 1 / 9, 2: 1 / 9, 3: 7 / 9}
    floor = {1: 0.01, 2: 0.01, 3: 0.98}
    all_on = {"norm": "per-step", "first_order_share": 0.3, "multi_step_loss": 0.6}
    cases: dict[str, tuple[float, str, dict[int, float], dict[str, Any]]] = {
        "progress 0, all parts on": (0.0, "step", equal, all_on),
        "progress 0.4 (second order, loss of several steps)": (0.4, "step", later, all_on),
        "progress 0.595 (the shares' floor)": (0.595, "step", floor, all_on),
        "progress 1": (1.0, "step", {}, all_on),
        "progress 0, rates not learned": (0.0, "constant", equal, {**all_on, "learn_rates": False}),
        "progress 1, rates not learned": (1.0, "constant", {}, {**all_on, "learn_rates": False}),
        "progress 0, loss of the last step alone": (0.0, "step", {}, {**all_on, "multi_step_loss": 0.0}),
        "progress 0, second order from the start": (0.0, "step", equal, {**all_on, "first_order_share": 0.0}),
        "progress 0.4, norm batch": (0.4, "step", later, {**all_on, "norm": "batch"}),
        "progress 0.4, checkpointed": (0.4, "step", later, {**all_on, "checkpoint": True}),
    }
    rows = []
    for what, (progress, rates, shares, options) in cases.items():
        run = partial(by_differences, name, Way(steps=3, rates=rates, shares=shares), progress, **options)
        rows.append(Check(name, f"differences, {what}", run))
    for head in ("linear-tied", "zero", "prototype", "cosine"):
        run = partial(by_differences, name, _way(head, steps=3, rates="step", shares=later), 0.4, **all_on)
        rows.append(Check(name, f"differences, progress 0.4, {head}", run))
    return rows


def _imaml() -> list[Check]:
    """λ is large enough for the inner problem to be convex, and for conv4 to have its minimum between two kinks."""
    cases = [
        (head, False, lam) for head, lam in (("linear", 200), ("linear-tied", 30), ("zero", 30), ("prototype", 100))
    ]
    cases += [("linear", True, 8), ("prototype", True, 8), ("cosine", True, 100)]
    rows = []
    for head, smooth, lam in cases:
        way = Way(head, steps=40, lr=1 / (lam + (15 if head == "cosine" else 4)), lam=lam, smooth=smooth)
        run = partial(by_differences, "imaml", way, lam=lam, cg_steps=200, cg_damping=0.0, cg_tolerance=1e-12)
        rows.append(Check("imaml", f"differences of the solved problem, {head}{', smooth conv4' * smooth}", run))
    return rows


def _turned() -> list[Check]:
    """γ in the outer loss, and in the inner loop too."""
    γ, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(10), dtype=torch.float64))
    later, more = {1: 1 / 9, 2: 1 / 9, 3: 7 / 9}, {"first_order_share": 0.3, "multi_step_loss": 0.6}
    exact = {"lam": 8.0, "cg_steps": 200, "cg_damping": 0.0, "cg_tolerance": 1e-12}
    ways: dict[str, tuple[Way, dict[str, Any]]] = {
        "anil": (_way("linear", group="head", lr=0.5), {}),
        "boil": (_way("linear", group="encoder"), {}),
        "imaml": (_way("linear", steps=40, lr=1 / 12, lam=8.0, smooth=True), exact),
        "maml": (_way("linear"), {}),
        "maml++": (_way("linear", steps=3, rates="step", shares=later), {"norm": "per-step", "progress": 0.4, **more}),
        "meta-sgd": (_way("prototype", rates="parameter"), {}),
        "protomaml": (_way("prototype"), {}),
    }
    rows = []
    for both, what in ((False, "γ on queries"), (True, "γ on both sides")):
        turned: dict[str, Any] = {"turn": γ, "turn_support": both}
        rows += [
            Check(name, f"differences, {what}", partial(by_differences, name, replace(way, **turned), **options))
            for name, (way, options) in ways.items()
        ]
        what = what.replace("queries", "the last minibatch").replace("both sides", "every minibatch")
        rows.append(Check("reptile", f"definition, sgd, {what}", partial(by_definition, "linear", "sgd", **turned)))
    return rows


CHECKS = [
    *_both_orders("anil", *HEADS, group="head", steps=3, lr=0.5),
    Check("anil", "closed form, second order", partial(quadratic.unrolled, "anil", "head", False)),
    Check("anil", "closed form, first order", partial(quadratic.unrolled, "anil", "head", True)),
    # A head whose rows are all alike sends nothing to the encoder: with `zero` and `linear-tied` BOIL stands still.
    *_both_orders("boil", "linear", "prototype", "cosine", group="encoder"),
    Check("boil", "closed form, second order", partial(quadratic.unrolled, "boil", "encoder", False)),
    Check("boil", "closed form, first order", partial(quadratic.unrolled, "boil", "encoder", True)),
    *_both_orders("maml", *HEADS),
    Check("maml", "differences, checkpointed", partial(by_differences, "maml", _way("linear-tied"), checkpoint=True)),
    Check("maml", "closed form, second order", partial(quadratic.unrolled, "maml", "all", False)),
    Check("maml", "closed form, first order", partial(quadratic.unrolled, "maml", "all", True)),
    *_maml_pp(),
    Check("maml++", "closed form, ψ and rates", quadratic.maml_pp),
    *_both_orders("meta-sgd", *HEADS, rates="parameter"),
    Check("meta-sgd", "closed form, ψ and rates", quadratic.meta_sgd),
    *_both_orders("protomaml", "prototype", steps=3),
    Check("protomaml", "closed form", quadratic.protomaml),
    *_imaml(),
    Check("imaml", "closed form", quadratic.imaml),
    *(
        Check("reptile", f"definition, {optimizer}, {head}", partial(by_definition, head, optimizer))
        for optimizer in ("sgd", "adam")
        for head in HEADS
    ),
    Check("reptile", "closed form, sgd", quadratic.reptile),
    *_turned(),
]


def main() -> None:
    """Print the table as Markdown."""
    torch.set_num_threads(1)
    print("| learner | check | maximal relative error |\n|---|---|---|")
    errors = []
    for check in CHECKS:
        errors.append(check.error())
        print(f"| {check.learner} | {check.what} | {errors[-1]:.1e} |", flush=True)
    print(f"\n{len(errors)} checks, the largest error is {max(errors):.1e}; the bound is {BOUND:.0e}.")


if __name__ == "__main__":
    main()
