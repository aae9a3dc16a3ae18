"""Room 4½: the methods that learners are compared with, trained and tested by the same harness."""

from __future__ import annotations

from rotogbml.methods.compared import Compared, Task, TaskLoss
from rotogbml.methods.recipes import RECIPES, create_method, list_methods
from rotogbml.methods.start import load_start
from rotogbml.methods.weights import HUB

__all__ = ["HUB", "RECIPES", "Compared", "Task", "TaskLoss", "create_method", "list_methods", "load_start"]
