"""Room 2: from sources to tasks. An episode is a pure function of (seed, split, step)."""

from rotogbml.episodes.augment import augment, centre, normalise
from rotogbml.episodes.episode import Elsewhere, Episode, Examples
from rotogbml.episodes.sampler import EpisodeSampler

__all__ = ["Elsewhere", "Episode", "EpisodeSampler", "Examples", "augment", "centre", "normalise"]
