"""A comparison as one self-contained page: its table, figures and notes; no script, no outside reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rotogbml.comparison.cells import table_of
from rotogbml.comparison.figures import figures
from rotogbml.comparison.parts import Part
from rotogbml.comparison.roster import entry_of
from rotogbml.studies.plan import Plan
from rotogbml.studies.plan_file import written


def page(plan: Plan, parts: Sequence[Part], command: str) -> str:
    """Return the page as HTML; equal outcomes give an equal page."""
    from importlib import resources

    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style = resources.files("rotogbml.reports").joinpath("report.css").read_text(encoding="utf-8")
    text = resources.files("rotogbml.comparison").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["svg"] = Markup
    ours = entry_of(plan.against).label
    sections: list[dict[str, Any]] = [
        {"k_shot": part.k_shot, "table": table_of(plan, part), "plots": figures(part.rows, ours)}
        for part in parts
        if part.rows
    ]
    budget = plan.rungs[0].budget
    title = f"{len(plan.settings) - len(plan.hidden)} methods, {budget} each"
    return (
        environment.from_string(text).render(
            style=Markup(style),
            title=title,
            plan=plan,
            parts=sections,
            written=written(plan),
            command=command,
            ours=ours,
        )
        + "\n"
    )
