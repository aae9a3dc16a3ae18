"""What the benchmark compares computes the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from benchmarks.peers import PlainLoop
from benchmarks.stock import features_of, scores
from benchmarks.work import INNER_LR, WORKS, Work, minibatch
from torch import Tensor

from benchmarks import agreement, ways
from rotogbml.episodes import Episode


def tiny(work: Work) -> Work:
    """The work on a network that float64 takes milliseconds for; 24 px leave conv4 one pixel at its end."""
    return replace(work, width=3, size=24, n_query=2, tasks=2, steps=2)


@pytest.mark.parametrize("name", agreement.KINDS)
def test_every_way_computes_the_plain_loops_meta_gradient(name: str) -> None:
    errors = agreement.compare(tiny(WORKS[name]))
    assert {ways.OURS, ways.PAIR, ways.PLAIN_KEEPS} <= set(errors)
    assert max(errors.values()) < 1e-10


def test_a_way_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class FirstOrder(PlainLoop):
        def task(self, episode: Episode, n: int) -> None:
            self.work = replace(self.work, first_order=True)
            super().task(episode, n)

    plain = ways.rows(WORKS["W1"])
    monkeypatch.setattr(
        agreement,
        "mean_gradient",
        lambda work, name, *rest: (
            ways.mean_gradient(work, "strange", *rest) if name == ways.OURS else ways.mean_gradient(work, name, *rest)
        ),
    )
    monkeypatch.setattr(ways, "rows", lambda work: {**plain, "strange": ways.Row(FirstOrder)})
    monkeypatch.setattr(agreement, "small", tiny)
    with pytest.raises(SystemExit, match=r"W1: the meta-gradient of 'ours' is .* from the plain loop's"):
        agreement.every(["W1"])


def test_the_plain_loop_is_the_derivative_of_the_query_loss() -> None:
    """Against central differences: of all ways it is the yardstick."""
    work = replace(tiny(WORKS["W1"]), tasks=1, steps=1)
    (episode,) = minibatch(work, 0, dtype=torch.float64)
    way = PlainLoop(work, torch.float64)
    way.task(episode, 1)
    f, psi = features_of(work), {name: p.detach() for name, p in way.model.named_parameters()}

    def query_loss(shifted: dict[str, Tensor]) -> float:
        start = {name: p.clone().requires_grad_() for name, p in shifted.items()}
        inner = F.cross_entropy(scores(start, f(start, episode.support.x)), episode.support.y)
        gradients = torch.autograd.grad(inner, list(start.values()))
        moved = {name: p.detach() - INNER_LR * g for (name, p), g in zip(start.items(), gradients, strict=True)}
        return float(F.cross_entropy(scores(moved, f(moved, episode.query.x)), episode.query.y))

    for name, g in way.gradient().items():
        d = torch.randn(g.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        up, down = (query_loss({**psi, name: psi[name] + ε * d}) for ε in (1e-6, -1e-6))
        assert float((g * d).sum()) == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-8)
