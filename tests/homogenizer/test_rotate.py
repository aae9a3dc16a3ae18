"""γ over many updates: in SO(m), toward agreement, exact where nothing is to be done."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rotogbml.config import RotateConfig
from rotogbml.errors import UsageError
from rotogbml.homogenizer import Rotate, Slots, TaskStatistics, pull_back, rotate_features
from rotogbml.homogenizer.conflict import by_pair, cosines

NAMES = ("greek", "lao", "latin", "nko")
ALIGN = ("rotated", "shared")


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def stats(u: torch.Tensor, sources=NAMES) -> TaskStatistics:
    n = len(u)
    return TaskStatistics(tuple(sources[:n]), torch.ones(n), torch.ones(n), u)


def make(align, slots="source", m=6, lr=0.05, decay=1.0, support=False, dim=None, dtype=torch.float64, n=4) -> Rotate:
    config = RotateConfig(align, lr, decay, slots, support, dim)
    return Rotate(config, Slots(slots, NAMES[:n], n), m, dtype)


def off_so(γ: torch.Tensor) -> float:
    return float((γ.double().T @ γ.double() - torch.eye(len(γ), dtype=torch.float64)).abs().max())


def test_rotate_features_is_the_matrix_on_each_row():
    z = random(0, 5, 6).requires_grad_()
    γ = torch.linalg.qr(random(1, 4, 4))[0]
    ẑ = rotate_features(z, γ)
    for row, turned in zip(z, ẑ, strict=True):
        torch.testing.assert_close(turned[:4], γ @ row[:4])
        assert torch.equal(turned[4:], row[4:])
    g = random(2, 5, 6)
    (ẑ * g).sum().backward()
    torch.testing.assert_close(z.grad, pull_back(g, γ))
    torch.testing.assert_close(pull_back(g[0], γ)[:4], γ.T @ g[0, :4])
    assert torch.equal(rotate_features(z, torch.eye(6)), z)


@pytest.mark.parametrize("align", ALIGN)
def test_in_so_after_ten_thousand_updates(align):
    for dtype, updates, bound in ((torch.float32, 10_000, 2e-5), (torch.float64, 1500, 1e-11)):
        γ = make(align, m=5, lr=0.05, dtype=dtype, n=2)
        for u in random(3, updates, 2, 5):
            γ.update(stats(u))
        assert γ.turns == [updates, updates]
        for one in γ.γ:
            assert one.dtype == dtype
            assert off_so(one) < bound
            assert float(torch.linalg.det(one.double())) == pytest.approx(1.0, abs=1e-4)
            assert float((one - torch.eye(5)).norm()) > 0.5


@pytest.mark.parametrize("align", ALIGN)
def test_in_so_at_512(align):
    γ = make(align, m=512, lr=5e-4, dtype=torch.float32, n=2)
    base = random(4, 2, 512)
    for i in range(250):
        γ.update(stats(base + 0.3 * random(5 + i, 2, 512)))
    assert max(off_so(one) for one in γ.γ) < 1e-5


@pytest.mark.parametrize("align", ALIGN)
@pytest.mark.parametrize("slots", ["source", "position"])
def test_agreement_rises_every_step_where_it_is_meant_to(align, slots):
    """With constant ∇_z L (rotated) or ∇_ẑ L (shared), as the objective holds it."""
    held = random(6, 4, 6)
    γ, path = make(align, slots), []
    for _ in range(150):
        rotations = γ.rotations(NAMES)
        assert rotations is not None
        if align == "rotated":
            u = torch.stack([r @ g for r, g in zip(rotations, held, strict=True)])
            seen = u
        else:
            u = held
            seen = torch.stack([pull_back(g, r) for r, g in zip(rotations, held, strict=True)])
        pairs = by_pair(cosines(seen), [str(i) for i in range(len(seen))]).values()
        path.append(sum(map(sum, pairs)) / len(pairs))
        γ.update(stats(u))
    assert path[0] is not None
    assert path[0] < 0.5
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(path))
    assert path[-1] > 1 - 1e-6


def test_the_two_alignments_differ():
    held = random(7, 4, 6)
    both = [make(align) for align in ALIGN]
    for γ in both:
        for _ in range(40):
            rotations = γ.rotations(NAMES)
            assert rotations is not None
            γ.update(stats(torch.stack([r @ g for r, g in zip(rotations, held, strict=True)])))
    assert not torch.allclose(both[0].γ[0], both[1].γ[0], atol=1e-3)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 7), st.integers(0, 10**6), st.sampled_from(ALIGN), st.sampled_from(["source", "position"]))
def test_equal_tasks_keep_the_identity_exactly(n, seed, align, slots):
    names = [str(i) for i in range(n)]
    γ = Rotate(RotateConfig(align, 0.1, 1.0, slots, False), Slots(slots, names, n), 5)
    u = random(seed, 1, 5).repeat(n, 1)
    for _ in range(20):
        γ.update(stats(u, names))
    assert all(torch.equal(one, torch.eye(5)) for one in γ.γ)
    fresh = Rotate(RotateConfig(align, 0.1, 1.0, "minibatch", False), Slots("minibatch", names, n), 5)
    assert all(torch.equal(one, torch.eye(5)) for one in fresh.fresh(u))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.permutations(range(4)), st.sampled_from(ALIGN))
def test_permuting_tasks_permutes_rotations(seed, order, align):
    order, names = list(order), [NAMES[i] for i in order]
    one, other = make(align), make(align)
    for i in range(3):
        u = random(seed + i, 4, 6)
        one.update(stats(u))
        other.update(stats(u[order], names))
    here, there = one.rotations(names), other.rotations(names)
    assert here is not None
    assert there is not None
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    u = random(seed, 4, 6)
    fresh = make(align, "minibatch")
    for a, b in zip([fresh.fresh(u)[i] for i in order], fresh.fresh(u[order]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("align", ALIGN)
def test_zero_and_unusable_gradients_turn_nothing(align):
    γ = make(align)
    u = random(8, 4, 6)
    u[1] = 0.0
    u[2, 3] = float("nan")
    γ.update(stats(u))
    eye = torch.eye(6, dtype=torch.float64)
    assert [torch.equal(one, eye) for one in γ.γ] == [False, True, True, False]
    assert γ.turns == [1, 0, 0, 1]
    still = make(align)
    still.update(stats(torch.zeros(4, 6)))
    assert all(torch.equal(one, eye) for one in still.γ)


@pytest.mark.parametrize("align", ALIGN)
def test_one_task_alone_turns_nothing(align):
    γ = make(align, n=1)
    γ.update(stats(random(9, 1, 6)))
    assert torch.equal(γ.γ[0], torch.eye(6, dtype=torch.float64))


@pytest.mark.parametrize("align", ALIGN)
def test_the_step_does_not_depend_on_the_size_of_gradients(align):
    u = random(10, 4, 6)
    big, small = make(align), make(align)
    big.update(stats(1e6 * u))
    small.update(stats(1e-12 * u))
    for a, b in zip(big.γ, small.γ, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("align", ALIGN)
def test_tasks_of_one_slot_are_averaged_first(align):
    a, b, c = random(11, 3, 6)
    split, joined = make(align), make(align)
    split.update(stats(torch.stack([a, b, c, c]), ("greek", "greek", "lao", "lao")))
    joined.update(stats(torch.stack([(a + b) / 2, c]), ("greek", "lao")))
    for x, y in zip(split.γ, joined.γ, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-12)
    assert split.turns == [1, 1, 0, 0]


def test_the_leader_slows_down():
    γ = make("shared", lr=0.1, decay=0.5)
    angles = []
    for _ in range(3):
        angles.append(γ.angle)
        γ.update(stats(random(12, 4, 6)))
    assert angles == [0.1, 0.05, 0.025]


@pytest.mark.parametrize("align", ALIGN)
def test_fresh_is_one_turn_from_the_identity(align):
    u = random(13, 4, 6)
    γ = make(align, "minibatch", lr=0.2)
    assert γ.rotations(NAMES) is None
    rotations = γ.fresh(u)
    for one, g in zip(rotations, u, strict=True):
        # left: γ g turns by 0.2; right: γᵀ g does.
        turned = one @ g if align == "rotated" else one.T @ g
        assert float(cosines(torch.stack([turned, g]))[0, 1]) == pytest.approx(np.cos(0.2))
    γ.update(stats(u))
    assert γ.steps == 1
    for one, again in zip(rotations, γ.fresh(u), strict=True):
        assert torch.equal(one, again)


def test_rotation_dim_leaves_the_rest():
    γ = make("shared", dim=3)
    u = random(14, 4, 6)
    other = u.clone()
    other[:, 3:] = random(15, 4, 3)
    again = make("shared", dim=3)
    γ.update(stats(u))
    again.update(stats(other))
    assert γ.γ[0].shape == (3, 3)
    assert all(torch.equal(a, b) for a, b in zip(γ.γ, again.γ, strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dim": 7}, "rotation_dim=7: the encoder has 6 features, give 1 to 6"),
        ({"dim": 0}, "rotation_dim=0"),
        ({"slots": "minibatch", "support": True}, "set rotate.rotate_support to false"),
        ({"lr": float("nan")}, "lr must be finite"),
        ({"decay": 1.5}, "decay in"),
        ({"decay": None}, "decay is not set"),
    ],
)
def test_what_cannot_be_used_is_named(change, said):
    with pytest.raises(UsageError, match=said):
        make("shared", **change)
    with pytest.raises(UsageError, match="'both' is unknown"):
        make("both")


@pytest.mark.parametrize("align", ALIGN)
def test_state_goes_on_bit_for_bit(align):
    """Across a re-orthogonalisation, which must fall on the same update."""

    def fresh() -> Rotate:
        return make(align, m=4, decay=0.999, dtype=torch.float32, n=2)

    u = random(16, 1010, 2, 4)
    whole, first, second = fresh(), fresh(), fresh()
    for one in u:
        whole.update(stats(one))
    for one in u[:700]:
        first.update(stats(one))
    saved = first.state_dict()
    second.load_state_dict(saved)
    first.update(stats(u[0]))
    for one in u[700:]:
        second.update(stats(one))
    assert all(torch.equal(a, b) for a, b in zip(whole.γ, second.γ, strict=True))
    assert (whole.turns, whole.steps) == (second.turns, second.steps)
    with pytest.raises(UsageError, match="this run turns 3"):
        make(align, m=4, dim=3, n=2).load_state_dict(saved)
    with pytest.raises(UsageError, match="belongs to slots"):
        make(align, m=4, n=3).load_state_dict(saved)


@pytest.mark.parametrize("align", ALIGN)
def test_the_mean_is_over_tasks_not_slots(align):
    """A turn without limit ends exactly at the mean."""
    a, b, c = random(17, 3, 6)
    γ = make(align, lr=4.0)
    γ.update(stats(torch.stack([a, b, c]), ("greek", "greek", "lao")))
    if align == "rotated":
        reached, goal = γ.γ[1] @ c, (a + b + c) / 3
    else:
        greek = (a + b) / 2
        reached, goal = γ.γ[1].T @ c, 2 * greek / greek.norm() + c / c.norm()
    torch.testing.assert_close(reached / c.norm(), goal / goal.norm(), rtol=0, atol=1e-12)
