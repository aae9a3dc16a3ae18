"""An encoder that nothing trains: what an engineer would try first, and what must be beaten.

    frozen-prototype   nearest prototype on the features of a pre-trained encoder (given weights)
    linear-probe       a new linear head on them
    random-frozen      a new linear head on the features of an untrained encoder

"Random" is named by Guo et al. (2020) and defined nowhere: here both readings are rows of their own, this one and
``random-finetuned``.
"""

from __future__ import annotations

from torch import Tensor

from rotogbml.learners import Psi
from rotogbml.methods.compared import Compared
from rotogbml.methods.prototypes import distances, prototypes
from rotogbml.methods.supervised import Baseline


class FrozenPrototype(Compared):
    """Nearest prototype."""

    draws = "nothing"

    def scores(self, psi: Psi, support: Tensor, y: Tensor, query: Tensor, n_way: int, key: int) -> Tensor:
        """Return −‖z − c_k‖²."""
        return -distances(query, prototypes(support, y, n_way))


class Probe(Baseline):
    """A new linear head on frozen features."""

    draws = "nothing"
