"""SmoothGrad (RotoGBML eq. 14): S(x) = (1/n) Σ_i ∂f(x + δ_i)/∂x with δ_i ~ N(0, σ²), by captum.

f is the score of the image's true class after adaptation to the episode's support. Under a norm of the batch a query's
score depends on the queries beside it: those stay clean and constant, and the image alone is varied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rotogbml.episodes import Episode
from rotogbml.errors import UsageError
from rotogbml.evaluation.methods import Adapted
from rotogbml.learners.meta_gradient import leaves
from rotogbml.learners.problem import Problem
from rotogbml.methods import Compared
from rotogbml.seeds import derive

if TYPE_CHECKING:
    from captum.attr import NoiseTunnel

Score = Callable[[Tensor], Tensor]

INSTALL = "pip install 'rotogbml[explain]'"


def smooth_grad(score: Score, x: Tensor, label: int, samples: int, sigma: float, seed: int) -> Tensor:
    """Return S(x) with its sign, [3, h, w].

    Args:
        score: images [1, 3, h, w] → scores [1, n_way].
        x: one image, [3, h, w].
        label: the class whose score is explained.
        samples: n.
        sigma: σ, in the units of x.
        seed: of the noise.

    Raises:
        UsageError: captum is not installed.
    """
    tunnel = _tunnel(score)
    # captum draws from torch's global stream: it is lent one, and the global one is as it was afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "smoothgrad"))
        found = tunnel.attribute(
            x[None].clone().requires_grad_(),
            nt_type="smoothgrad",
            nt_samples=samples,
            nt_samples_batch_size=1,
            stdevs=sigma,
            target=label,
            abs=False,
        )
    return found[0].detach()


def scores_of(method: Adapted, episode: Episode) -> Callable[[int], Score]:
    """Adapt a run to an episode and return, for query i, its scores as a function of its image.

    Raises:
        UsageError: the run judges queries in a way that this cannot follow.
    """
    learner = method.learner
    if isinstance(learner, Compared):
        raise UsageError(f"explain follows learners, and {learner.name} is a compared method: leave it out")
    if learner.judges_alone:
        raise UsageError(
            f"{learner.name} judges each query beside the support alone: explain needs --learner.transductive true"
        )
    psi = leaves(method.psi)
    adapted = learner.adapt(psi, episode.support, learner.test_steps, n_way=episode.n_way)
    theta, phi = ({name: p.detach() for name, p in group.items()} for group in adapted)
    t = learner.test_steps if learner.group_moves_encoder else 0
    problem = Problem.of(learner.network, episode).silent()
    queries = episode.query.x

    def of(i: int) -> Score:
        def score(x: Tensor) -> Tensor:
            rows = torch.cat([queries[:i], x, queries[i + 1 :]])
            at = Problem(
                problem.network,
                problem.support,
                type(episode.query)(rows, episode.query.y),
                problem.n_way,
                problem.key,
                seen=None,
            )
            return learner.network.logits(phi, at.query_features(theta, t))[i : i + 1]

        return score

    return of


def strength(s: Tensor) -> np.ndarray:
    """Return how strong a saliency map is at each pixel: the sum over channels of its size, float64 [h, w]."""
    return s.abs().sum(0).double().numpy()


def share_inside(strong: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of a map [h, w] that lies in a mask [h, w] of weights 0..1; NaN for a map of zeros."""
    total = strong.sum()
    return float((strong * mask).sum() / total) if total > 0 else float("nan")


def require_captum() -> None:
    """Raise UsageError with the install line where captum is absent."""
    try:
        import captum.attr  # noqa: F401
    except ImportError as error:
        raise UsageError(f"saliency maps need captum: {INSTALL}") from error


def _tunnel(score: Score) -> NoiseTunnel:
    require_captum()
    from captum.attr import NoiseTunnel, Saliency

    return NoiseTunnel(Saliency(score))
