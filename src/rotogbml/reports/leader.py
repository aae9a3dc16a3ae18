"""Leader and follower (RotoGBML, Appendix A): how fast ω and γ learn beside the network, and whether its loss swings.

The appendix asks that the leader's rate fall to nothing against the follower's; then the network's loss is to come to
rest. Of its course the report counts turning points: inner points that lie above or below both neighbours. Of n
numbers without any order there are 2(n − 2)/3 on average, with variance (16n − 29)/90 (Bienaymé 1874); a trend has
fewer, a loss that swings from point to point more. Swings over several points show as rises of the smoothed loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rotogbml.numbers import decimal
from rotogbml.reports.record import RunRecord
from rotogbml.reports.words import look

SMOOTHED = 5
"""Points of the loss in a running mean."""


@dataclass(frozen=True)
class Turns:
    """Turning points of a course, and what numbers without any order would have."""

    found: int
    of: int
    expected: float
    half: float
    """Of the 95 % interval about ``expected``."""

    @property
    def swings(self) -> bool:
        """Whether there are more than such numbers have."""
        return self.found > self.expected + self.half


def turns(values: Sequence[float]) -> Turns | None:
    """Return the turning points of a course; None of fewer than ten numbers, which say nothing."""
    n = len(values)
    if n < 10:
        return None
    rises = np.sign(np.diff(np.asarray(values, dtype=float)))
    found = int((rises[1:] * rises[:-1] < 0).sum())
    return Turns(found, n - 2, 2 * (n - 2) / 3, 1.96 * math.sqrt((16 * n - 29) / 90))


def largest_rise(values: Sequence[float]) -> float:
    """Return by how much a course, smoothed over ``SMOOTHED`` points, rises above its lowest point so far at most."""
    smooth = np.convolve(np.asarray(values, dtype=float), np.full(SMOOTHED, 1 / SMOOTHED), mode="valid")
    return float((smooth - np.minimum.accumulate(smooth)).max())


def sentences(record: RunRecord) -> list[str]:
    """Say how fast the leader was beside the network, how far γ has come, and how often the network's loss turned."""
    said = _rates(record) + _turned(record)
    logged = [line.get("loss") for line in record.train]
    losses = [loss for loss in logged if loss is not None and math.isfinite(loss)]
    found = turns(losses)
    if found is None:
        return said
    verdict = "it swings from point to point" if found.swings else "no swing from point to point is seen"
    said.append(
        f"The training loss turned at {found.found} of {found.of} points of its course; numbers without any order turn "
        f"at {found.expected:.1f} ± {found.half:.1f}: {verdict}. Smoothed over {SMOOTHED} points it rose by at most "
        f"{decimal(largest_rise(losses), 3)} above its lowest so far. A point is a mean over steps, within which "
        "faster swings are not seen."
    )
    return said


def _turned(record: RunRecord) -> list[str]:
    turns = (record.train[-1].get("gamma") or {}) if record.train else {}
    if not turns:
        return []
    name = max(turns, key=turns.__getitem__)
    least, most = (f"{math.degrees(turn):.1f}°" for turn in (min(turns.values()), turns[name]))
    return [
        f"At the end γ turned no feature by more than {most} ({name}), in the slot of the least by more than {least}."
    ]


def _rates(record: RunRecord) -> list[str]:
    omega, gamma = (look(record.config, f"homogenizer.{part}") or {} for part in ("reweight", "rotate"))
    network, last = look(record.config, "outer.meta_lr"), record.train[-1].get("step") if record.train else None
    if not last or not network or not (omega or gamma):
        return []
    from rotogbml.training.outer import factor

    of = look(record.config, "steps") or last
    low, high = look(record.config, "homogenizer.phase") or (0.0, 1.0)
    acted = max(0.0, min(last, high * of) - low * of)
    then = network * factor(look(record.config, "outer.schedule") or "constant", last / of)
    said = [f"The network’s rate was {network:.3g} at first and {then:.3g} at the end"]
    falls = []
    if omega.get("lr") and omega.get("update") == "gradient":
        said.append(f"ω’s {omega['lr']:.3g} throughout")
        falls.append("ω’s does not")
    elif omega:
        said.append("ω had none, it was set at once or held")
    if gamma.get("lr"):
        share = (gamma.get("decay") or 1.0) ** acted
        unit = "" if gamma.get("update") == "gradient" else " rad a step"
        said.append(f"γ’s {gamma['lr']:.3g} and {gamma['lr'] * share:.3g}{unit}")
        falls.append("γ’s does" if share < then / network else "γ’s does not")
    asked = f" Appendix A wants the leader’s to fall against the network’s: {', '.join(falls)}." if falls else ""
    return [f"{'; '.join(said)}.{asked}"]
