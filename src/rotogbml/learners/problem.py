"""What a task asks, as functions of ψ = (θ, φ): its support loss, its query features, where φ starts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from rotogbml.encoders.isi import Masks
from rotogbml.encoders.norm import NormPass, Seen
from rotogbml.episodes import Episode, Examples
from rotogbml.learners.network import Network, Params, Psi


class Rotation(Protocol):
    """γ, orthogonal and constant, on rows [b, m]."""

    def __call__(self, z: Tensor) -> Tensor:
        """Return γ z of each row."""
        ...

    def back(self, u: Tensor) -> Tensor:
        """Return γᵀ u of each row."""
        ...


@dataclass
class Problem:
    """One task as an inner loop sees it.

    Attributes:
        network: f and c.
        support: what is adapted on.
        query: what is judged on.
        n_way: classes in the task.
        key: names the task's own random streams.
        drop: ISI's masks, in training.
        rotate: γ, where the support is rotated too.
        turn_head: γ acts on φ_i⁰ and the features stay as they are. With rows w of the head, w·(γz) = (γᵀw)·z: one
            product a task instead of some in every inner step. Descent with one rate for a whole tensor goes the same
            way in both coordinates, since γ is orthogonal.
        seen: batch statistics that training passes leave for norm policies that keep some; None: keep none.
    """

    network: Network
    support: Examples
    query: Examples
    n_way: int
    key: int = 0
    drop: Masks | None = None
    rotate: Rotation | None = None
    turn_head: bool = False
    seen: Seen | None = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        network: Network,
        episode: Episode,
        drop: Masks | None = None,
        rotate: Rotation | None = None,
        turn_head: bool = False,
    ) -> Problem:
        """Return the problem of an episode in training."""
        return cls(network, episode.support, episode.query, episode.n_way, episode.key, drop, rotate, turn_head)

    def start(self, psi: Psi) -> Psi:
        """Return ψ_i⁰ = (θ, φ_i⁰), attached to ψ."""

        def prototypes() -> Tensor:
            z, y = self.bare_support_features(psi.theta, 0), self.support.y
            z = z if self.rotate is None else self.rotate(z)
            return torch.stack([z[y == k].mean(0) for k in range(self.n_way)])

        phi = self.network.head.start(psi.phi, self.n_way, prototypes)
        if self.rotate is not None and self.turn_head:
            phi = {**phi, "weight": self.rotate.back(phi["weight"])}
        if phi is psi.phi:
            return psi
        # φ_i⁰ may depend on θ. An inner step takes the partial derivative at θ, with φ_i held still: at an alias of θ
        # that φ_i⁰ knows nothing of.
        return Psi({name: p.view_as(p) for name, p in psi.theta.items()}, phi)

    def support_features(self, theta: Params, t: int) -> Tensor:
        """Return f_θ of the support as φ_i is to see it, rotated or not: [s, m]; t is the inner step."""
        z = self.bare_support_features(theta, t)
        return z if self.rotate is None or self.turn_head else self.rotate(z)

    def bare_support_features(self, theta: Params, t: int, plays: str = "support") -> Tensor:
        """Return f_θ of the support, unrotated: [s, m]; ISI masks it as the side that it ``plays``."""
        return self.network.features(theta, self.support.x, self._masks(plays, t), NormPass(step=t, seen=self.seen))

    def head_loss(self, phi: Params, z: Tensor) -> Tensor:
        """Return the support loss of a head on features z [s, m]."""
        return self.network.loss(self.network.logits(phi, z), self.support.y)

    def support_loss(self, psi: Psi, t: int) -> Tensor:
        """Return L_S(ψ) in inner step t."""
        return self.head_loss(psi.phi, self.support_features(psi.theta, t))

    def query_features(self, theta: Params, t: int) -> Tensor:
        """Return f_θ of the queries after t inner steps, unrotated: [q, m]."""
        masks = self._masks("query", t)
        if self.network.encoder.norm not in ("support", "per-step"):
            return self.network.features(theta, self.query.x, masks, NormPass(step=t, seen=self.seen))
        # The support goes along and gives the statistics: a query's features depend on no other query.
        s = len(self.support.x)
        both = torch.cat([self.support.x, self.query.x])
        return self.network.features(theta, both, masks, NormPass(step=t, given=s))[s:]

    def on(self, support: Examples) -> Problem:
        """Return the same problem with other examples to adapt on; the statistics go to the same place."""
        return replace(self, support=support)

    def silent(self) -> Problem:
        """Return the same problem for passes that are repeated: they leave no statistics."""
        return replace(self, seen=None)

    def _masks(self, side: str, t: int) -> Masks | None:
        """Return the masks of one pass: a pass that is repeated gets the same ones."""
        return None if self.drop is None or not self.drop.isi.acts_on(side) else self.drop.of(side, t)
