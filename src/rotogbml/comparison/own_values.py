"""A row's own values that a comparison replaces: said, lest a method be judged by them."""

from __future__ import annotations

from rotogbml import learner_presets, method_presets
from rotogbml.comparison.roster import entry_of
from rotogbml.studies.plan import Plan


def replaced(plan: Plan) -> list[str]:
    """Return a line for the rows whose own values others stand in for; none where all keep theirs.

    An option that is meant for all rows (``outer.meta_lr`` 0.003) takes the place of a row's own (Reptile's 1.0, the
    share of the way that it goes; what SKD's student is left of its teacher's).
    """
    said = []
    for name, settings in plan.settings.items():
        given = {**plan.options, **settings}
        learner, method = (str(given.get(f"{kind}.name")) for kind in ("learner", "method"))
        own = {**learner_presets.OWN.get(learner, {}), **method_presets.OWN.get(method, {})}
        others = [
            f"{option} {given[option]} for {its.value}"
            for option, its in own.items()
            if given.get(option) is not None and given[option] != its.value
        ]
        if others:
            said.append(f"{entry_of(name).short} {', '.join(others)}")
    return [f"Not as their own codes have it: {'; '.join(said)} (NAME/OPTION is of one row)."] if said else []
