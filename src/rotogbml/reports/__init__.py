"""Room 8: what came out, for people: tables of results, and one self-contained page a run."""

from __future__ import annotations

from rotogbml.reports.report import report
from rotogbml.reports.tables import render

__all__ = ["render", "report"]
