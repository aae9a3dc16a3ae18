"""Room 2: from sources to tasks. An episode is a pure function of (seed, split, step)."""

from rotogbml.episodes.augment import augment, centre, normalise
from rotogbml.episodes.episode import Elsewhere, Episode, Examples
from rotogbml.episodes.hard import HardSampler, failure
from rotogbml.episodes.labelled import POOLED, Labelled, LabelledSampler
from rotogbml.episodes.pairs import Pair, PairSampler
from rotogbml.episodes.sampler import EpisodeSampler

__all__ = [
    "POOLED",
    "Elsewhere",
    "Episode",
    "EpisodeSampler",
    "Examples",
    "HardSampler",
    "Labelled",
    "LabelledSampler",
    "Pair",
    "PairSampler",
    "augment",
    "centre",
    "failure",
    "normalise",
]
