"""Published numbers that may stand beside measured ones, each with the table it is printed in and where that has it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import yaml

from rotogbml.studies.plan import Plan

_ROWS = {
    "random": ("random-frozen", "random-finetuned"),
    "metaoptnet": ("metaoptnet", "metaoptnet-svm"),
    "relationnet of either loss": ("relationnet", "relationnet-softmax"),
}
"""Rows of a published table that are several of ours: it does not say which."""

N_WAY = 5
"""Of all published numbers here."""


@dataclass(frozen=True)
class Published:
    """One number of a published table; accuracies are 0 … 1."""

    table: str
    """Which, and of what paper or record."""
    target: str
    row: str
    k_shot: int
    mean: float
    ci95: float | None
    source: str
    """Where the table has it from."""
    pipeline: str

    def note(self, suite: str) -> str:
        """Return where it comes from, as a line below a table; on stand-ins that it does not compare."""
        stand_in = "NOT COMPARABLE, here are stand-ins; " if suite == "core" else ""
        return f"{stand_in}{self.table}: {self.source}; pipeline: {self.pipeline}"


def published_beside(plan: Plan, setting: str, k_shot: int, n_way: int = N_WAY) -> list[Published]:
    """Return the published numbers of a row, in the order of the plan's targets.

    Protocol, target, ways and shots agree. The paper's Table I trains on one dataset as ``weak`` does; no row on
    one source has any.
    """
    if n_way != N_WAY:
        return []
    here = [p for p in _all(plan.protocol) if p.k_shot == k_shot and setting in _ROWS.get(p.row, (p.row,))]
    return [p for target in plan.targets for p in here if p.target == target]


@lru_cache
def _all(protocol: str) -> tuple[Published, ...]:
    text = resources.files("rotogbml.comparison").joinpath("published.yaml").read_text(encoding="utf-8")
    tree = yaml.safe_load(text)
    return tuple(
        Published(
            table=tree["tables"][row["table"]],
            target=row["target"],
            row=row["row"],
            k_shot=row["k_shot"],
            mean=row["mean"] / 100,
            ci95=row["ci95"] / 100 if "ci95" in row else None,
            source=row["from"],
            pipeline=tree["pipelines"][row["pipeline"]],
        )
        for row in tree["rows"]
        if row["protocol"] == protocol
    )
