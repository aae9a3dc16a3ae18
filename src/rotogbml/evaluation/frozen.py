"""Features of an encoder that stands still at test: computed once.

ANIL's encoder does not adapt, nor does any in no inner step. Whether a feature is then the image's own is up to the
norm policy:

    running, group, layer, none, moving   each image by itself: its features are computed once for all test episodes
    support, per-step             the support's statistics: one pass of support and queries for each episode
    batch, as given               the pass's own: one pass of the support and one of the queries for each episode

Images of the first kind go through the encoder in passes of ``PASS`` images, full ones always: a convolution rounds
otherwise for another number of images, but not for other neighbours or another place among them. So a feature does not
depend on which episode asked for it first, in which process. That is checked once, and where it does not hold they go
one by one.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from rotogbml.encoders import Drop, NormPass
from rotogbml.episodes import Episode, Examples
from rotogbml.learners import Learner, Network, Params, Psi
from rotogbml.methods import Compared

PASS = 8
"""Images in a pass: one by one takes up to three times as long, and the last pass of an episode is filled up."""

_ALONE = ("running", "group", "layer", "none", "moving")
"""Norm policies under which an image's features are its own."""

_BYTES = 512 << 20
"""Features kept for one method in one process; what does not fit is computed again."""


def stands_still(learner: Learner | Compared) -> bool:
    """Say whether a test leaves θ as it is, so that ``still`` may stand for the learner.

    Of a compared method only where an image's features are its own: else it passes each episode by itself anyway.
    """
    if isinstance(learner, Compared):
        return not learner.moves_encoder and learner.network.encoder.norm in _ALONE
    return (learner.test_steps == 0 or not learner.group_moves_encoder) and not learner.judges_alone


def still(learner: Learner | Compared, psi: Psi) -> Frozen | Remembered:
    """Return what stands for a learner that ``stands_still``."""
    return Remembered(learner, psi) if isinstance(learner, Compared) else Frozen(learner, psi)


class Features:
    """Features of an encoder, those of images by themselves kept.

    Args:
        network: f.
        theta: θ; must not change any more.
    """

    def __init__(self, network: Network, theta: Params) -> None:
        self.network, self.theta = network, theta
        self._kept: dict[tuple[str, int], Tensor] = {}
        self._pass: int | None = None

    @torch.no_grad()
    def features(self, episode: Episode) -> tuple[Tensor, Tensor]:
        """Return features of the support, [s, m], and of the queries, [q, m]."""
        support, query, norm = episode.support.x, episode.query.x, self.network.encoder.norm
        s = len(support)
        if norm in _ALONE:
            both = self._of_images(episode)
        elif norm in ("support", "per-step"):
            both = self.network.features(self.theta, torch.cat([support, query]), at=NormPass(given=s))
        else:
            return self._passed(support), self._passed(query)
        return both[:s], both[s:]

    def _of_images(self, episode: Episode) -> Tensor:
        """Return features [s + q, m]; a source's row, always in the test view, names an image."""
        keys = [(episode.source, int(row)) for rows in episode.indices for row in rows]
        images = torch.cat([episode.support.x, episode.query.x])
        found = {key: self._kept[key] for key in keys if key in self._kept}
        new = [i for i, key in enumerate(keys) if key not in found]
        if self._pass is None:
            self._pass = self._images_in_a_pass(images)
        for first in range(0, len(new), self._pass):
            at = new[first : first + self._pass]
            full = at + at[-1:] * (self._pass - len(at))
            for i, z in zip(at, self._passed(images[full]), strict=False):
                found[keys[i]] = z
                if (len(self._kept) + 1) * z.numel() * z.element_size() <= _BYTES:
                    self._kept[keys[i]] = z.clone()  # by itself: a row of a pass would keep all of it
        return torch.stack([found[key] for key in keys])

    def _images_in_a_pass(self, images: Tensor) -> int:
        """Return ``PASS`` where neither its neighbours nor its place change an image's features to the bit, else 1."""
        some = images[torch.arange(PASS) % len(images)]
        together, turned = self._passed(some), self._passed(some.flip(0)).flip(0)
        alone = self._passed(some[:1].expand(PASS, -1, -1, -1))
        return PASS if torch.equal(together, turned) and torch.equal(together[0], alone[-1]) else 1

    def _passed(self, x: Tensor) -> Tensor:
        return self.network.features(self.theta, x)


class Frozen(Features):
    """A learner whose encoder stands still, on features in place of images.

    Args:
        learner: one that ``stands_still``.
        psi: the initialisation; θ must not change any more.
    """

    def __init__(self, learner: Learner, psi: Psi) -> None:
        super().__init__(learner.network, psi.theta)
        features = Network(_Already(learner.network.feature_dim), learner.network.head)
        self.learner, self.psi = replace(learner, network=features), Psi({}, psi.phi)

    def predict(self, episode: Episode) -> Tensor:
        """Return what ``learner.predict`` returns, [q, n_way], to rounding."""
        support, query = self.features(episode)
        support.requires_grad_()  # where φ_i⁰ comes of it (prototypes), φ_i⁰ adapts
        x = replace(episode, support=Examples(support, episode.support.y), query=Examples(query, episode.query.y))
        return self.learner.predict(self.psi, x)


class Remembered(Features):
    """A compared method whose encoder stands still, on features in place of images.

    Args:
        method: one that ``stands_still``.
        psi: as trained.
    """

    def __init__(self, method: Compared, psi: Psi) -> None:
        super().__init__(method.network, psi.theta)
        self.method, self.psi = method, psi

    def predict(self, episode: Episode) -> Tensor:
        """Return what ``method.predict`` returns, [q, n_way], to rounding."""
        support, query = self.features(episode)
        y, n_way = episode.support.y, episode.n_way
        return self.method.scores(self.psi, support, y, query, n_way, episode.key).detach()


class _Already(nn.Module):
    """An encoder of features: they are already there."""

    layers, norm = 0, "none"

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim

    def forward(self, x: Tensor, drop: Drop | None = None, at: NormPass | None = None) -> Tensor:
        """[b, m] → the same."""
        return x
