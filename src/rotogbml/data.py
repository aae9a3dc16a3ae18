"""``rotogbml.data.scan`` and ``rotogbml.data.pack``: the verbs of ``rotogbml data`` under their own names."""

from rotogbml.sources.verbs import pack, scan

__all__ = ["pack", "scan"]
