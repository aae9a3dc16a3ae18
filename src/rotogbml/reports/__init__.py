"""Room 8: what came out, for people: one self-contained page about runs."""

from __future__ import annotations

from rotogbml.reports.report import report

__all__ = ["report"]
