"""c_φ: feature vector → one score a class, and from where its rows start in a task.

A head that starts every class alike (``linear-tied``, ``zero``) or from the support itself (``prototype``) serves any
n_way; one that learned a row for each class (``linear``, ``cosine``) serves the n_way it was trained with.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rotogbml.errors import UsageError, did_you_mean

Params = dict[str, Tensor]


class LinearHead(nn.Module):
    """A meta-learned linear layer, one row a class.

    Args:
        feature_dim: m.
        n_way: number of classes.
    """

    any_way = False

    def __init__(self, feature_dim: int, n_way: int) -> None:
        super().__init__()
        self.feature_dim, self.n_way = feature_dim, n_way
        self.weight = nn.Parameter(Tensor(n_way, feature_dim).fill_(0.0))
        self.bias = nn.Parameter(Tensor(n_way).fill_(0.0))

    def start(self, phi: Params, n_way: int, prototypes: Callable[[], Tensor]) -> Params:
        """Return φ_i⁰ of a task, attached to what is learned.

        Args:
            phi: the learned φ.
            n_way: classes in the task.
            prototypes: computes the mean support feature of each class, [n_way, m]; called only where needed.
        """
        return phi

    def template(self) -> Params:
        """Return tensors shaped like φ_i, with 1 for n_way where that is free: learned rates take this shape."""
        return dict(self.named_parameters())

    def scores(self, phi: Params, z: Tensor) -> Tensor:
        """[b, m] → [b, n_way]."""
        return F.linear(z, phi["weight"], phi["bias"])

    def forward(self, z: Tensor) -> Tensor:
        """Return the scores by the learned φ itself: [b, m] → [b, n_way]."""
        return self.scores(dict(self.named_parameters()), z)


class TiedHead(LinearHead):
    """One learned row that every class starts from (UNICORN-MAML, Ye & Chao 2022): no class index is favoured.

    What all rows share adds the same to every score, and softmax does not see it: but for rounding it trains and
    predicts as ``zero`` does, and the row's own gradient is zero.
    """

    any_way = True

    def __init__(self, feature_dim: int, n_way: int) -> None:
        super().__init__(feature_dim, 1)

    def start(self, phi: Params, n_way: int, prototypes: Callable[[], Tensor]) -> Params:
        """Return the row and the bias n_way times over."""
        return {"weight": phi["weight"].repeat(n_way, 1), "bias": phi["bias"].repeat(n_way)}


class _Unlearned(LinearHead):
    """A linear head without parameters of its own."""

    any_way = True
    like: Tensor

    def __init__(self, feature_dim: int, n_way: int) -> None:
        super().__init__(feature_dim, 1)
        del self.weight, self.bias
        # No parameter; it only carries type and device.
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def template(self) -> Params:
        """Return one row and one bias."""
        return {"weight": self.like.new_zeros(1, self.feature_dim), "bias": self.like.new_zeros(1)}

    def forward(self, z: Tensor) -> Tensor:
        """Refuse: without a task there is no φ.

        Raises:
            TypeError: always.
        """
        raise TypeError("this head learns nothing of its own: its φ comes from a task's start()")


class ZeroHead(_Unlearned):
    """φ_i⁰ = 0: nothing of the head is learned."""

    def start(self, phi: Params, n_way: int, prototypes: Callable[[], Tensor]) -> Params:
        """Return zeros that can adapt."""
        weight, bias = self.like.new_zeros(n_way, self.feature_dim), self.like.new_zeros(n_way)
        return {"weight": weight.requires_grad_(), "bias": bias.requires_grad_()}


class PrototypeHead(_Unlearned):
    """φ_i⁰ from the support (Proto-MAML, Triantafillou et al. 2020).

    With c_k the mean support feature of class k: w_k = 2 c_k, b_k = −‖c_k‖², so that the scores are −‖z − c_k‖² up to
    ‖z‖², which all classes share. θ is trained through the prototypes too, in first order as well.
    """

    def start(self, phi: Params, n_way: int, prototypes: Callable[[], Tensor]) -> Params:
        """Return 2c and −‖c‖², attached to θ."""
        c = prototypes()
        return {"weight": 2 * c, "bias": -c.square().sum(1)}


class CosineHead(LinearHead):
    """Scores s · cos(w_k, z), with a learned scale s that starts at 10 (Chen et al. 2019, Baseline++)."""

    def __init__(self, feature_dim: int, n_way: int) -> None:
        super().__init__(feature_dim, n_way)
        del self.bias
        self.scale = nn.Parameter(torch.tensor(10.0))

    def scores(self, phi: Params, z: Tensor) -> Tensor:
        """[b, m] → [b, n_way]."""
        return phi["scale"] * F.linear(F.normalize(z, dim=1), F.normalize(phi["weight"], dim=1))


HEADS: dict[str, type[LinearHead]] = {
    "cosine": CosineHead,
    "linear": LinearHead,
    "linear-tied": TiedHead,
    "prototype": PrototypeHead,
    "zero": ZeroHead,
}


def list_heads() -> list[str]:
    """Return the names that ``create_head`` knows."""
    return sorted(HEADS)


def create_head(name: str, feature_dim: int, n_way: int) -> LinearHead:
    """Return a head.

    Raises:
        UsageError: an unknown name.
    """
    if name not in HEADS:
        raise UsageError(f"no head '{name}'{did_you_mean(name, HEADS)}: there are {', '.join(list_heads())}")
    return HEADS[name](feature_dim, n_way)
