"""Fine-tuning of the whole network on a test task's support (BSCD-FSL's recipe, Guo et al. 2020).

    a new linear head   SGD 0.01, momentum and dampening 0.9, weight decay 1e-3   (``fit.py``)
    the encoder         SGD 0.01, plain

for 100 passes over the support in minibatches of 4. ``finetune`` begins with given weights, ``random-finetuned`` with
untrained ones. Under the norm ``moving`` a minibatch's passes go by its own statistics and move averages of the task's
own, by which the queries then go, as in that code; under the other norms all passes go as they do elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders import MOVING
from rotogbml.encoders.norm import NormPass, Seen
from rotogbml.episodes import Episode
from rotogbml.learners import Network, Params, Psi
from rotogbml.learners.network import called
from rotogbml.methods import fit
from rotogbml.methods.compared import Compared, Options

MOMENTUM = 0.1
"""Of the moving averages: torch's own."""


class FineTuned(Compared):
    """The whole network moves."""

    draws = "nothing"
    moves_encoder = True

    def __init__(self, name: str, network: Network, options: Options) -> None:
        super().__init__(name, network, options)
        self.fit = fit.Fit.of(options)

    def steps(self, images: int) -> int:
        """Return the steps of the fit."""
        return self.fit.steps(images)

    def predict(self, psi: Psi, episode: Episode) -> Tensor:
        """Return the scores of a network of the task's own."""
        return self.ready(psi, episode)(episode.query.x)

    def ready(self, psi: Psi, episode: Episode) -> Callable[[Tensor], Tensor]:
        """Tune a network of the task's own, and return what then scores images."""
        x, y, key = episode.support.x, episode.support.y, episode.key
        encoder = self.network.encoder
        theta = {name: p.detach().clone().requires_grad_() for name, p in psi.theta.items()}
        averages = {name: t.clone() for name, t in encoder.named_buffers()} if encoder.norm == MOVING else {}
        head = [t.requires_grad_() for t in fit.new_head(episode.n_way, encoder.feature_dim, key, x)]
        buffers: list[Tensor] = []
        for rows in self.fit.minibatches(len(y), key):
            seen: Seen | None = {} if averages else None
            with torch.enable_grad():
                z = called(encoder, theta | averages, x[rows], None, NormPass(seen=seen))
                loss = F.cross_entropy(F.linear(z, *head), y[rows])
            tensors = [*theta.values(), *head]
            gradients = torch.autograd.grad(loss, tensors)
            fit.move(head, gradients[len(theta) :], buffers, self.fit.lr)
            with torch.no_grad():
                for p, g in zip(theta.values(), gradients, strict=False):
                    p.sub_(g, alpha=self.fit.lr)
                _average(averages, seen or {})

        @torch.no_grad()
        def judge(query: Tensor) -> Tensor:
            both = torch.cat([x, query])
            z = called(encoder, theta | averages, both, None, NormPass(given=len(x)))[len(x) :]
            return F.linear(z, *head)

        return judge


def _average(averages: Params, seen: Seen) -> None:
    for name, passes in seen.items():
        for mean, variance in passes:
            averages[f"{name}.running_mean"].lerp_(mean, MOMENTUM)
            averages[f"{name}.running_var"].lerp_(variance, MOMENTUM)
