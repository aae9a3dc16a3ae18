"""What a task hands to γ, against each query's own gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rotogbml.learners.directions import directions


@pytest.fixture
def task() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return z [q, m], y, the head's rows and the gradient of the mean loss at z."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(9, 5, generator=generator, dtype=torch.float64).requires_grad_()
    W = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1, 1, 1, 2, 2, 2])
    return z, y, W, torch.autograd.grad(F.cross_entropy(z @ W.T, y), z)[0]


def own(z, y, W) -> torch.Tensor:
    """Return each query's gradient of its own loss."""
    return torch.stack(
        [torch.autograd.grad(F.cross_entropy(z @ W.T, y, reduction="none")[i], z)[0][i] for i in range(9)]
    )


def test_mean_and_class_means_are_of_each_querys_own_gradient(task):
    z, y, W, g = task
    each = own(z, y, W)
    torch.testing.assert_close(directions("mean", [g], [z], y, 3), each.mean(0))
    for compare in ("class", "class-mean"):
        found = directions(compare, [g], [z], y, 3)
        torch.testing.assert_close(found, torch.stack([each[y == c].mean(0) for c in range(3)]))


def test_prototypes_are_class_means_of_the_last_points_features(task):
    z, y, _, g = task
    found = directions("prototype", [g, g], [z * 2, z], y, 4)
    torch.testing.assert_close(found[:3], torch.stack([z[y == c].mean(0) for c in range(3)]).detach())
    assert not found[3].any()
    assert not found.requires_grad
