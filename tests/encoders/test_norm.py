"""Norm policies: by hand, by finite differences, and what their buffers do within and after a step."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from rotogbml.encoders import NORMS, Norm, NormPass, Seen, create_encoder, update_running
from rotogbml.encoders.conv4 import Block
from rotogbml.errors import UsageError
from rotogbml.learners import LinearHead, Network


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(policy: str, channels: int = 6, sets: int = 3) -> Norm:
    """Return a norm whose scales, shifts and buffers are all different."""
    norm = Norm(channels, policy, sets).double()
    with torch.no_grad():
        for i, t in enumerate([*norm.parameters(), *norm.buffers()]):
            t.add_(0.3 * draw(i, *t.shape).abs())
    return norm


def by_hand(z: Tensor, over: tuple[int, ...], rows: int | None = None) -> Tensor:
    given = z if rows is None else z[:rows]
    mean = given.mean(over, keepdim=True)
    return (z - mean) / ((given - mean).square().mean(over, keepdim=True) + 1e-5).sqrt()


def affine(norm: Norm, z: Tensor, k: int | None = None) -> Tensor:
    weight, bias = (norm.weight, norm.bias) if k is None else (norm.weight[k], norm.bias[k])
    return z * weight[:, None, None] + bias[:, None, None]


def test_each_policy_by_hand() -> None:
    z = draw(9, 5, 6, 4, 3).add(2.0)
    hand = {
        "batch": (None, by_hand(z, (0, 2, 3))),
        "support": (NormPass(given=2), by_hand(z, (0, 2, 3), rows=2)),
        "layer": (None, by_hand(z, (1, 2, 3))),
        "group": (None, by_hand(z, (2, 3))),  # six groups of one channel
        "none": (None, z),
    }
    for policy, (at, expected) in hand.items():
        norm = make(policy)
        torch.testing.assert_close(norm(z, at), affine(norm, expected), rtol=1e-12, atol=1e-12)
    running = make("running")
    m, v = running.running_mean[:, None, None], running.running_var[:, None, None]
    torch.testing.assert_close(running(z), affine(running, (z - m) / (v + 1e-5).sqrt()), rtol=1e-12, atol=1e-12)
    assert set(hand) | {"running", "per-step"} == set(NORMS)


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (10, 5), (7, 7), (11, 1), (20, 5), (2, 2)])
def test_groups_are_the_most_up_to_eight_that_share_the_channels_evenly(channels: int, groups: int) -> None:
    z = draw(1, 2, channels, 3, 3)
    expected = by_hand(z.reshape(2, groups, -1), (2,)).reshape(z.shape)
    torch.testing.assert_close(Norm(channels, "group").double()(z), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_batch_is_the_function_of_torch_to_the_bit(layout: torch.memory_format) -> None:
    z = draw(3, 4, 6, 5, 5).float().contiguous(memory_format=layout).requires_grad_()
    norm = make("batch").float()
    for at in (None, NormPass(step=2, given=1, seen={})):
        ours, expected = norm(z, at), F.batch_norm(z, None, None, norm.weight, norm.bias, training=True)
        assert torch.equal(ours, expected)
        inputs = [z, norm.weight, norm.bias]

        def second(out: Tensor, inputs: list[Tensor] = inputs) -> list[Tensor]:
            first = torch.autograd.grad(out.pow(3).sum(), inputs, create_graph=True)
            return list(torch.autograd.grad(torch.stack([g.pow(2).sum() for g in first]).sum(), inputs))

        assert all(torch.equal(a, b) for a, b in zip(second(ours), second(expected), strict=True))


def test_a_block_of_conv4_is_convolution_norm_pool_relu_to_the_second_derivative() -> None:
    block = Block(3, 4)
    torch.nn.init.normal_(block.conv.weight, generator=torch.Generator().manual_seed(0))
    x = draw(4, 5, 3, 7, 7).float()
    inputs = list(block.parameters())

    def second(out: Tensor) -> list[Tensor]:
        first = torch.autograd.grad(out.pow(3).sum(), inputs, create_graph=True)
        return list(torch.autograd.grad(torch.stack([g.pow(2).sum() for g in first]).sum(), inputs))

    z = F.batch_norm(F.conv2d(x, block.conv.weight, padding=1), None, None, block.weight, block.bias, training=True)
    ours, theirs = block(x), F.relu(F.max_pool2d(z, 2))
    assert torch.equal(ours, theirs)
    assert all(torch.equal(a, b) for a, b in zip(second(ours), second(theirs), strict=True))


def test_support_with_all_rows_given_is_batch() -> None:
    z = draw(5, 4, 6, 3, 5)
    batch, support = make("batch"), make("support")
    for at in (None, NormPass(), NormPass(given=4)):
        torch.testing.assert_close(support(z, at), batch(z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("policy", NORMS)
@pytest.mark.parametrize("step", [0, 1])
def test_first_and_second_derivatives_by_finite_differences(policy: str, step: int) -> None:
    norm = make(policy, channels=4, sets=2)
    z = draw(6, 3, 4, 2, 2).requires_grad_()

    def f(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        at = NormPass(step=step, given=2, seen={})
        return functional_call(norm, {"weight": weight, "bias": bias}, (z, at))

    inputs = (z, norm.weight.detach().clone().requires_grad_(), norm.bias.detach().clone().requires_grad_())
    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


def test_under_support_the_gradient_of_a_query_reaches_the_support_through_its_statistics() -> None:
    z = draw(7, 3, 4, 2, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(make("support", 4)(z, NormPass(given=2))[2].pow(2).sum(), z)
    assert gradient[:2].abs().min() > 0


def test_sets_are_used_in_order_and_the_last_one_stays() -> None:
    norm, z = make("per-step", sets=3), draw(8, 2, 6, 3, 3)
    for step, k in enumerate([0, 1, 2, 2, 2]):
        expected = affine(norm, by_hand(z, (0, 2, 3)), k)
        torch.testing.assert_close(norm(z, NormPass(step=step)), expected, rtol=1e-12, atol=1e-12)
        (gradient,) = torch.autograd.grad(norm(z, NormPass(step=step)).pow(3).sum(), norm.weight)
        assert gradient.abs().sum(1).bool().tolist() == [i == k for i in range(3)]
    assert torch.equal(norm(z), norm(z, NormPass(step=0)))
    assert make("running").running_mean.shape == (6,)  # it knows one set, whatever the number of steps


@pytest.mark.parametrize("step", [0, 1])
def test_every_step_takes_the_statistics_of_the_rows_that_are_given(step: int) -> None:
    norm, z = make("per-step", sets=2), draw(9, 5, 6, 3, 3)
    m = z[:2].mean((0, 2, 3), keepdim=True)
    v = (z[:2] - m).square().mean((0, 2, 3), keepdim=True)
    expected = affine(norm, (z - m) / (v + 1e-5).sqrt(), step)
    torch.testing.assert_close(norm(z, NormPass(step=step, given=2)), expected, rtol=1e-12, atol=1e-12)


def test_running_statistics_are_the_pooled_ones_of_all_rows() -> None:
    norm = make("running")
    before = [b.clone() for b in norm.buffers()]
    passes = [[draw(10 * task + i, 3, 6, 2, 2).mul(1 + task).add(i) for i in range(3)] for task in range(4)]
    tasks: list[Seen] = []
    for task in passes:
        seen: Seen = {}
        for z in task:
            norm(z, NormPass(step=1, seen=seen))
        tasks.append(seen)
    assert all(torch.equal(a, b) for a, b in zip(norm.buffers(), before, strict=True))
    assert not any(t.requires_grad for seen in tasks for pairs in seen.values() for pair in pairs for t in pair)
    update_running(norm, tasks, momentum=0.25)
    rows = torch.cat([z for task in passes for z in task]).permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(norm.running_mean, 0.75 * before[0] + 0.25 * rows.mean(1))
    torch.testing.assert_close(norm.running_var, 0.75 * before[1] + 0.25 * rows.var(1, correction=0))


def test_tasks_count_alike_however_many_passes_each_had() -> None:
    norm = Norm(1, "running").double()
    pair = lambda m, v: (torch.tensor([m]).double(), torch.tensor([v]).double())  # noqa: E731
    update_running(norm, [{"": [pair(1.0, 2.0), pair(3.0, 4.0)]}, {"": [pair(5.0, 1.0)]}, {}], momentum=1.0)
    assert norm.running_mean.item() == pytest.approx((2 + 5) / 2)
    # E[v + m²] − mean²
    assert norm.running_var.item() == pytest.approx(((2 + 1 + 4 + 9) / 2 + 1 + 25) / 2 - 3.5**2)


def test_order_of_tasks_does_not_matter_and_momentum_one_forgets() -> None:
    encoder = create_encoder("conv4", size=16, width=4, norm="running").double()
    tasks: list[Seen] = []
    for task in range(3):
        seen: Seen = {}
        encoder(draw(task, 4, 3, 16, 16), None, NormPass(seen=seen))
        tasks.append(seen)
    assert set(tasks[0]) == {f"blocks.{i}" for i in range(4)}
    again = copy.deepcopy(encoder)
    update_running(encoder, tasks, momentum=1.0)
    update_running(again, tasks[:1])
    update_running(again, tasks[::-1], momentum=1.0)
    for (name, a), (_, b) in zip(encoder.named_buffers(), again.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        assert name.startswith("blocks.")


def test_a_graph_built_before_the_buffers_moved_is_still_good() -> None:
    norm, z = make("running"), draw(11, 3, 6, 2, 2).requires_grad_()
    seen: Seen = {}
    out = norm(z, NormPass(seen=seen))
    (expected,) = torch.autograd.grad(out.pow(2).sum(), norm.weight, retain_graph=True)
    update_running(norm, [seen])
    (after,) = torch.autograd.grad(out.pow(2).sum(), norm.weight)
    assert torch.equal(after, expected)


@pytest.mark.parametrize("policy", NORMS)
def test_scales_start_at_one_and_shifts_at_zero_under_every_policy(policy: str) -> None:
    encoder = create_encoder("conv4", size=16, width=4, norm=policy, sets=3)
    network = Network(encoder, LinearHead(encoder.feature_dim, 3))
    plain = create_encoder("conv4", size=16, width=4)
    other = Network(plain, LinearHead(plain.feature_dim, 3))
    network.initialise(0)
    other.initialise(0)
    shape = (3, 4) if policy == "per-step" else (4,)
    for i in range(4):
        theta = network.psi().theta
        assert torch.equal(theta[f"blocks.{i}.weight"], torch.ones(shape))
        assert torch.equal(theta[f"blocks.{i}.bias"], torch.zeros(shape))
        # Filters are drawn by name: the norm does not change them.
        assert torch.equal(theta[f"blocks.{i}.conv.weight"], other.psi().theta[f"blocks.{i}.conv.weight"])
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.features(theta, x), network.features(theta, x, None, NormPass()))
    assert encoder.norm == policy


def test_what_cannot_be_used_is_named() -> None:
    with pytest.raises(UsageError, match=r"no norm 'bach' \(did you mean 'batch'\?\): there are batch, support"):
        create_encoder("conv4", size=16, norm="bach")
    with pytest.raises(UsageError, match="0 sets cannot be used: give one set for each step"):
        Norm(4, "per-step", 0)
    for given in (0, 4):
        with pytest.raises(ValueError, match=rf"given={given} for 3 images: give 1 … 3"):
            make("support", 4)(draw(0, 3, 4, 2, 2), NormPass(given=given))
    with pytest.raises(ValueError, match="step=-1: inner steps count from 0"):
        make("per-step", 4)(draw(0, 3, 4, 2, 2), NormPass(step=-1))
    with pytest.raises(ValueError, match="momentum=2"):
        update_running(make("running"), [], momentum=2)
