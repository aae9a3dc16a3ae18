"""rotogbml: meta-learning from a few photos a class and several unlike sources.

The verbs of the command line are functions of the same name here. Everything is imported when it is first used,
so that ``import rotogbml`` and ``rotogbml --help`` cost nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rotogbml._version import __version__

_PUBLIC = {
    # verbs
    "train": "rotogbml.training.verb",
    "evaluate": "rotogbml.evaluation.verb",
    "shape": "rotogbml.cues.verb",
    "explain": "rotogbml.cues.explain",
    "gradients": "rotogbml.agreement.verb",
    "study": "rotogbml.studies.verb",
    "compare": "rotogbml.comparison.verb",
    "report": "rotogbml.reports.report",
    "demo": "rotogbml.demonstration",
    # sources and episodes
    "PackedSource": "rotogbml.sources.packed",
    "open_pack": "rotogbml.sources.packed",
    "glyphs": "rotogbml.sources.glyphs",
    "Episode": "rotogbml.episodes",
    "EpisodeSampler": "rotogbml.episodes",
    # learners
    "create_encoder": "rotogbml.encoders",
    "give_encoder": "rotogbml.encoders",
    "list_encoders": "rotogbml.encoders",
    "create_learner": "rotogbml.learners",
    "list_learners": "rotogbml.learners",
    "Learner": "rotogbml.learners",
    "create_head": "rotogbml.learners",
    "list_heads": "rotogbml.learners",
    "Network": "rotogbml.learners",
    "list_methods": "rotogbml.methods",
    # RotoGBML
    "RotoGBML": "rotogbml.homogenizer",
    "create_homogenizer": "rotogbml.homogenizer",
    "Isi": "rotogbml.encoders.isi",
    # published settings
    "Protocol": "rotogbml.protocols",
    "ReadingsConfig": "rotogbml.protocols",
    "create_protocol": "rotogbml.protocols",
    "list_protocols": "rotogbml.protocols",
    # errors
    "RotogbmlError": "rotogbml.errors",
    "UsageError": "rotogbml.errors",
}

__all__ = ["__version__", "data", "protocol", *_PUBLIC]

if TYPE_CHECKING:
    from rotogbml import data, protocol
    from rotogbml.agreement.verb import gradients
    from rotogbml.comparison.verb import compare
    from rotogbml.cues.explain import explain
    from rotogbml.cues.verb import shape
    from rotogbml.demonstration import demo
    from rotogbml.encoders import create_encoder, give_encoder, list_encoders
    from rotogbml.encoders.isi import Isi
    from rotogbml.episodes import Episode, EpisodeSampler
    from rotogbml.errors import RotogbmlError, UsageError
    from rotogbml.evaluation.verb import evaluate
    from rotogbml.homogenizer import RotoGBML, create_homogenizer
    from rotogbml.learners import Learner, Network, create_head, create_learner, list_heads, list_learners
    from rotogbml.methods import list_methods
    from rotogbml.protocols import Protocol, ReadingsConfig, create_protocol, list_protocols
    from rotogbml.reports.report import report
    from rotogbml.sources.glyphs import glyphs
    from rotogbml.sources.packed import PackedSource, open_pack
    from rotogbml.studies.verb import study
    from rotogbml.training.verb import train


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name in ("data", "protocol"):
        return importlib.import_module(f"rotogbml.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'rotogbml' has no attribute '{name}'")
    found = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
