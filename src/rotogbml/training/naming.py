"""What a result row calls a run: its learner or method, and which of RotoGBML's parts act."""

from __future__ import annotations

from rotogbml.config import RunConfig
from rotogbml.homogenizer.rivals.rival import spelt
from rotogbml.training.compared import compared_name


def method_name(config: RunConfig) -> str:
    """Return what a result row calls this run, such as ``maml (first order) + RotoGBML`` or ``anil + PCGrad``."""
    if config.method.name is not None:
        return " + ".join([compared_name(config), *_parts_on(config)])
    head = f"{config.head} head" if config.head not in (None, "linear") and config.learner.name != "protomaml" else ""
    precision = "bf16" if config.encoder.precision == "bf16-mixed" else ""
    details = ["first order" if config.learner.first_order else "", head, precision]
    said = ", ".join(detail for detail in details if detail)
    name = config.learner.name + (f" ({said})" if said else "")
    on = _parts_on(config)
    return f"{name} + RotoGBML" if on == ["ω", "γ", "ISI"] else " + ".join([name, *on])


def _parts_on(config: RunConfig) -> list[str]:
    """Return which of ω, a rival in its place, γ and ISI act."""
    h = config.homogenizer
    rival = None if h is None else spelt(h.combine)
    on = {
        "ω": h is not None and h.reweight is not None,
        rival or "": rival is not None,
        "γ": h is not None and h.rotate is not None,
        "ISI": config.isi is not None,
    }
    return [part for part, is_on in on.items() if is_on]
