"""``rotogbml.data``: the verbs of ``rotogbml data`` under their own names; ``import`` and ``list`` end with a ``_``."""

from rotogbml.releases.verbs import check, hub, import_, list_, overlap
from rotogbml.sources.verbs import pack, scan

__all__ = ["check", "hub", "import_", "list_", "overlap", "pack", "scan"]
