"""Room 5: RotoGBML itself, ω on gradient magnitudes and γ on gradient directions, for any learner."""

from __future__ import annotations

from rotogbml.homogenizer.conflict import gramian
from rotogbml.homogenizer.protocol import Homogenizer
from rotogbml.homogenizer.reweight import Reweight
from rotogbml.homogenizer.rotate import Rotate, Turn, pull_back, rotate_features
from rotogbml.homogenizer.rotogbml import Plain, RotoGBML, create_homogenizer
from rotogbml.homogenizer.slots import Slots
from rotogbml.homogenizer.statistics import TaskStatistics

__all__ = [
    "Homogenizer",
    "Plain",
    "Reweight",
    "Rotate",
    "RotoGBML",
    "Slots",
    "TaskStatistics",
    "Turn",
    "create_homogenizer",
    "gramian",
    "pull_back",
    "rotate_features",
]
