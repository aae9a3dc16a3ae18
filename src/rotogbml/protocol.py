"""``rotogbml.protocol``: the verbs of ``rotogbml protocol`` under their own names; ``list`` ends with a ``_``."""

from rotogbml.protocols.verb import list_, show

__all__ = ["list_", "show"]
