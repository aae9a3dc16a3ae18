"""Heads fitted at test against torch's own optimizer, and fine-tuning of the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from rotogbml.config import EncoderConfig
from rotogbml.encoders import Norm, NormPass, update_running
from rotogbml.episodes import Episode
from rotogbml.methods import fit

Create = Callable[..., Any]
Make = Callable[..., Episode]


def sgd(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9, dampening=0.9, weight_decay=1e-3)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(10, 6, generator=generator, dtype=torch.float64), torch.arange(10) % 5


def test_the_linear_fit_is_torchs_sgd_step_by_step() -> None:
    z, y = data()
    how = fit.Fit(epochs=7, batch=4, lr=0.3)
    weight, bias = (t.clone().requires_grad_() for t in fit.new_head(5, 6, 9, z))
    optimizer = sgd([weight, bias], 0.3)
    steps = 0
    for rows in how.minibatches(10, 9):
        optimizer.zero_grad()
        F.cross_entropy(F.linear(z[rows], weight, bias), y[rows]).backward()
        optimizer.step()
        steps += 1
    assert steps == how.steps(10) == 21
    for found, expected in zip(fit.linear(z, y, 5, how, 9), (weight, bias), strict=True):
        torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-14)


def test_the_cosine_fit_is_torchs_sgd_step_by_step() -> None:
    z, y = data()
    how, scale = fit.Fit(epochs=5, batch=4, lr=0.3), torch.tensor(10.0, dtype=torch.float64)
    weight = fit.new_head(5, 6, 9, z)[0].clone().requires_grad_()
    optimizer = sgd([weight], 0.3)
    for rows in how.minibatches(10, 9):
        optimizer.zero_grad()
        logits = scale * F.cosine_similarity(z[rows][:, None], weight[None], dim=2)
        F.cross_entropy(logits, y[rows]).backward()
        optimizer.step()
    torch.testing.assert_close(fit.cosine(z, y, 5, how, 9, scale), weight.detach(), rtol=1e-10, atol=1e-12)


def test_every_image_comes_once_in_each_pass_and_the_order_is_the_tasks_own() -> None:
    how = fit.Fit(epochs=2, batch=4, lr=0.1)
    orders = [torch.cat(list(how.minibatches(10, key))).tolist() for key in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0][:10]) == sorted(orders[0][10:]) == list(range(10))
    assert orders[0][:10] != orders[0][10:]


def test_baseline_plus_plus_judges_by_angle_alone(create: Create, episode: Make) -> None:
    method = create("baseline++")
    z, y = data()
    scores = method.scores(method.network.psi(), z, y % 3, z, 3, 0)
    longer = method.scores(method.network.psi(), 3 * z, y % 3, 5 * z, 3, 0)
    torch.testing.assert_close(scores, longer)


@pytest.mark.parametrize("norm", ["support", "as-published", "group"])
def test_fine_tuning_in_no_pass_is_the_new_head_and_in_some_is_sgd_on_the_whole(
    create: Create, episode: Make, norm: str
) -> None:
    task = episode()
    encoder = EncoderConfig(width=4, norm=norm)
    still = create("random-finetuned", encoder=encoder, method={"test_epochs": 0})
    z = still.features(still.network.psi().theta, task)[1].detach()
    head = fit.new_head(3, z.shape[1], task.key, z)
    torch.testing.assert_close(still.predict(still.network.psi(), task), F.linear(z, *head))

    method = create("random-finetuned", encoder=encoder, method={"test_epochs": 2, "test_batch": 4})
    other = create("random-finetuned", encoder=encoder).network.encoder
    weight, bias = (t.clone().requires_grad_() for t in head)
    optimizers = [sgd([weight, bias], 0.01), torch.optim.SGD(list(other.parameters()), lr=0.01)]
    for rows in fit.Fit(2, 4, 0.01).minibatches(6, task.key):
        for optimizer in optimizers:
            optimizer.zero_grad()
        seen: Any = {} if norm == "as-published" else None
        z = other(task.support.x[rows], at=NormPass(seen=seen))
        F.cross_entropy(F.linear(z, weight, bias), task.support.y[rows]).backward()
        for optimizer in optimizers:
            optimizer.step()
        if seen:
            update_running(other, [seen])
    before = {name: p.clone() for name, p in method.network.psi().theta.items()}
    found = method.predict(method.network.psi(), task)
    with torch.no_grad():
        both = torch.cat([task.support.x, task.query.x])
        expected = F.linear(other(both, at=NormPass(given=6))[6:], weight, bias)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    assert all(torch.equal(p, before[name]) for name, p in method.network.psi().theta.items())


def test_moving_is_torchs_batch_norm_in_training_and_at_test() -> None:
    """But for the variance, which torch keeps unbiased."""
    ours, torchs = Norm(4, "moving").double(), torch.nn.BatchNorm2d(4).double()
    for seed in range(3):
        x = torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + 1
        seen: Any = {}
        torch.testing.assert_close(ours(x, NormPass(seen=seen)), torchs.train()(x))
        update_running(ours, [seen])
    torch.testing.assert_close(ours.running_mean, torchs.running_mean)
    torch.testing.assert_close((ours.running_var - 0.9**3) * 180 / 179, torchs.running_var - 0.9**3)
    torchs.running_var.copy_(ours.running_var)
    torch.testing.assert_close(ours(x), torchs.eval()(x))
