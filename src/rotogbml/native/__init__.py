"""Room 0: passes over memory in C, for encoders; compiled where a C compiler is at hand, done without where not."""

from __future__ import annotations

from rotogbml.native.build import available

__all__ = ["available"]
