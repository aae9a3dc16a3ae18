"""Every learner by name: which parts it is composed of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

from rotogbml import learner_presets, presets
from rotogbml.config import LearnerConfig
from rotogbml.errors import UsageError, did_you_mean
from rotogbml.learners.descent import Descent, Group, Moving, moving
from rotogbml.learners.displacement import Displacement
from rotogbml.learners.heads import PrototypeHead, TiedHead, ZeroHead
from rotogbml.learners.implicit import Implicit
from rotogbml.learners.learner import InnerLoop, Learner
from rotogbml.learners.meta_gradient import MetaGradient
from rotogbml.learners.minibatches import Minibatches
from rotogbml.learners.network import Network, Psi
from rotogbml.learners.rates import Constant, PerLayerPerStep, PerParameter, Rates
from rotogbml.learners.unrolled import Unrolled

Options = dict[str, Any]


class Parts(NamedTuple):
    """What a learner is composed of, beside its network and its head."""

    inner: InnerLoop
    method: MetaGradient
    rates: Rates
    outer_scale: float = 1.0
    alone: bool = False
    isotropic: bool = True


def _unrolled(group: Group, rates: Rates, o: Options) -> Parts:
    descent = Descent(group, rates)
    annealing = (o["first_order_share"] or 0.0, o["multi_step_loss"] or 0.0)
    return Parts(descent, Unrolled(descent, o["first_order"], *annealing, bool(o["checkpoint"])), rates)


def maml(network: Network, o: Options) -> Parts:
    """MAML (Finn et al. 2017): everything adapts."""
    return _unrolled("all", Constant(o["inner_lr"]), o)


def anil(network: Network, o: Options) -> Parts:
    """ANIL (Raghu et al. 2020): the head adapts; the support's features are computed once.

    Second order trains θ through support and query features, first order through the query's alone.
    """
    return _unrolled("head", Constant(o["inner_lr"]), o)


def boil(network: Network, o: Options) -> Parts:
    """BOIL (Oh et al. 2021): the encoder adapts, the head stays as it was learned.

    Raises:
        UsageError: a head whose rows start alike: they would stay alike, every score the same and every gradient zero.
    """
    if isinstance(network.head, TiedHead | ZeroHead):
        raise UsageError(
            "boil moves the encoder alone, and a head whose rows start alike sends it nothing: take --head linear, "
            "prototype or cosine"
        )
    return _unrolled("encoder", Constant(o["inner_lr"]), o)


def meta_sgd(network: Network, o: Options) -> Parts:
    """Meta-SGD (Li et al. 2017): MAML with a learned rate for every single parameter."""
    return _unrolled("all", PerParameter(_adapting(network), o["inner_lr"]), o)._replace(isotropic=False)


def maml_pp(network: Network, o: Options) -> Parts:
    """MAML++ (Antoniou et al. 2019); its other parts are a norm policy, a schedule, a clamp and an ensemble."""
    rates = PerLayerPerStep(_adapting(network), o["inner_lr"], o["inner_steps"])
    return _unrolled("all", rates if o["learn_rates"] else Constant(o["inner_lr"]), o)


def protomaml(network: Network, o: Options) -> Parts:
    """ProtoMAML (Triantafillou et al. 2020): MAML whose head starts from the support's prototypes.

    Raises:
        UsageError: another head was asked for.
    """
    if not isinstance(network.head, PrototypeHead):
        raise UsageError(
            "protomaml is MAML with --head prototype: leave --head out, or take --learner maml with that head"
        )
    return maml(network, o)


def imaml(network: Network, o: Options) -> Parts:
    """IMAML (Rajeswaran et al. 2019).

    Raises:
        UsageError: a number out of its range.
    """
    _check(o["lam"] > 0, "lam", o["lam"], "above 0: it is what keeps ψ* near ψ")
    _check(o["cg_steps"] >= 1, "cg_steps", o["cg_steps"], "at least 1")
    _check(o["cg_damping"] >= 0, "cg_damping", o["cg_damping"], "0 or more")
    _check(0 <= o["cg_tolerance"] < 1, "cg_tolerance", o["cg_tolerance"], "0 or more and below 1")
    _check(o["inner_steps"] >= 1, "inner_steps", o["inner_steps"], "at least 1: the inner problem is to be solved")
    _check(
        o["lam"] * o["inner_lr"] < 2,
        "inner_lr",
        o["inner_lr"],
        f"below 2 / lam = {2 / o['lam']:g}: the proximal term alone diverges otherwise",
    )
    rates = Constant(o["inner_lr"])
    descent = Descent("all", rates, o["lam"])
    return Parts(descent, Implicit(descent, o["cg_steps"], o["cg_damping"], o["cg_tolerance"]), rates)


def reptile(network: Network, o: Options) -> Parts:
    """Reptile (Nichol et al. 2018); batched with several tasks a step, serial with one.

    Raises:
        UsageError: a number out of its range.
    """
    _check(o["inner_batch"] >= 1, "inner_batch", o["inner_batch"], "at least 1")
    _check(o["inner_steps"] >= 1, "inner_steps", o["inner_steps"], "at least 1: its steps are all that it learns from")
    inner = Minibatches(o["inner_lr"], o["inner_batch"], o["inner_optimizer"])
    scale = o["inner_steps"] * o["inner_lr"]
    isotropic = o["inner_optimizer"] == "sgd"
    return Parts(inner, Displacement(inner), Constant(o["inner_lr"]), scale, not o["transductive"], isotropic)


RECIPES: dict[str, Callable[[Network, Options], Parts]] = {
    "anil": anil,
    "boil": boil,
    "imaml": imaml,
    "maml": maml,
    "maml++": maml_pp,
    "meta-sgd": meta_sgd,
    "protomaml": protomaml,
    "reptile": reptile,
}


def list_learners() -> list[str]:
    """Return the names that ``create_learner`` knows."""
    return sorted(RECIPES)


def create_learner(name: str, network: Network, **options: Any) -> Learner:
    """Return a learner.

    Args:
        name: one of ``list_learners()``.
        network: f and c.
        options: fields of ``LearnerConfig``; one that is absent or None takes the learner's default.

    Raises:
        UsageError: an unknown name or option, an option of another learner, or a number out of its range.
    """
    o = resolved_options(name, options)
    lr, steps, test_steps = o["inner_lr"], o["inner_steps"], o["test_steps"]
    test_steps = steps if test_steps is None else test_steps
    if not 0 < lr < math.inf:
        raise UsageError(f"inner_lr is {lr}: it must be above 0")
    if steps < 0 or test_steps < 0:
        raise UsageError(f"inner_steps is {steps}, test_steps is {test_steps}: neither may be negative")
    for share in ("multi_step_loss", "first_order_share"):
        _check(o[share] is None or 0 <= o[share] <= 1, share, o[share], "a share of training, 0 to 1")
    if o["checkpoint"] and o["first_order"]:
        raise UsageError("learner.checkpoint has nothing to save with learner.first_order: leave one of them out")
    parts = RECIPES[name](network, o)
    return Learner(
        name=name,
        network=network,
        inner=parts.inner,
        method=parts.method,
        inner_steps=steps,
        test_steps=test_steps,
        alpha=parts.rates.alpha,
        group_moves_encoder=not (isinstance(parts.inner, Descent) and parts.inner.group == "head"),
        outer_scale=parts.outer_scale,
        alone=parts.alone,
        isotropic=parts.isotropic,
    )


def resolved_options(name: str, given: dict[str, Any]) -> Options:
    """Return every field of ``LearnerConfig`` but the name, filled in for a learner.

    Raises:
        UsageError: an unknown learner or option, or an option of another learner.
    """
    learner_presets.check_name(name)
    known = [f.name for f in fields(LearnerConfig) if f.name != "name"]
    for key in given:
        if key not in known:
            raise UsageError(f"no option '{key}' of a learner{did_you_mean(key, known)}: there are {', '.join(known)}")
    settled = {key: learner_presets.settle(name, f"learner.{key}", given.get(key)) for key in known}
    for key in ("inner_lr", "inner_steps"):
        if settled[key] is None:
            settled[key] = presets.value(f"learner.{key}", "default", "strong")
    return settled


def _adapting(network: Network) -> Moving:
    """Return tensors like those that adapt."""
    return moving("all", Psi(network.psi().theta, network.head.template()))


def _check(holds: bool, name: str, value: object, mend: str) -> None:
    if not holds:
        raise UsageError(f"learner.{name} is {value}: it must be {mend}")
