"""ω against autograd, brute force and its exact properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rotogbml.config import ReweightConfig
from rotogbml.errors import UsageError
from rotogbml.homogenizer import Reweight, Slots, TaskStatistics
from rotogbml.homogenizer.descent import step, subgradient, targets
from rotogbml.homogenizer.reweight import FLOOR, closed_form, relative_loss

NAMES = ("greek", "lao", "latin", "nko", "tifinagh")
positive = st.floats(0.05, 20.0)
some = st.integers(1, 6)


def vectors(count: int, n: int) -> st.SearchStrategy[list[torch.Tensor]]:
    one = st.lists(positive, min_size=n, max_size=n).map(lambda v: torch.tensor(v, dtype=torch.float64))
    return st.lists(one, min_size=count, max_size=count)


def stats(L, G, sources=None) -> TaskStatistics:
    L, G = torch.as_tensor(L, dtype=torch.float64), torch.as_tensor(G, dtype=torch.float64)
    return TaskStatistics(tuple(sources or NAMES[: len(L)]), L, G, torch.zeros(len(L), 2))


def make(update="gradient", slots="source", how="mean", β=1.5, lr=0.01, fixed=None, n=5) -> Reweight:
    config = ReweightConfig(beta=β, relative_loss=how, update=update, lr=lr, slots=slots, fixed=fixed)
    return Reweight(config, Slots(slots, NAMES[:n], n), n_way=5)


@settings(deadline=None, max_examples=60)
@given(vectors(3, 4), st.floats(-2, 2), st.sampled_from(["mean", "sum"]))
def test_subgradient_is_autograds(values, β, how):
    ω, G, L = values
    I = relative_loss(L, 5, how)  # noqa: E741
    held = targets(ω, G, I, β)
    free = ω.clone().requires_grad_()
    (free * G - held).abs().sum().backward()
    assert free.grad is not None
    at_target = (ω * G - held).abs() <= 1e-9 * held
    torch.testing.assert_close(subgradient(ω, G, I, β), torch.where(at_target, 0.0, free.grad))


def test_relative_loss_is_equation_6():
    L = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    L̂ = L / math.log(5)
    torch.testing.assert_close(relative_loss(L, 5, "sum"), L̂ / L̂.sum())
    torch.testing.assert_close(relative_loss(L, 5, "mean"), L̂ / L̂.mean())


@pytest.mark.parametrize("β", [-1.5, 0.0, 0.1, 1.5])
def test_closed_form_is_the_brute_force_minimiser(β):
    """On a grid of the simplex Σω = N nothing has a smaller objective, with ḡ taken at the point itself."""
    G, I = torch.tensor([0.7, 1.3, 2.0]).double(), relative_loss(torch.tensor([1.2, 1.0, 1.6]).double(), 5, "mean")  # noqa: E741
    best = closed_form(G, I, β)
    grid = torch.linspace(0.01, 2.98, 298, dtype=torch.float64)
    a, b = torch.meshgrid(grid, grid, indexing="ij")
    ω = torch.stack([a, b, 3 - a - b], dim=-1).reshape(-1, 3)
    ω = ω[ω[:, 2] > 0]
    # Scaled so that the targets' mean is ḡ itself, as the closed form's are up to the common factor.
    goal = I**β / (I**β).mean()
    objective = (ω * G - (ω * G).mean(dim=1, keepdim=True) * goal).abs().sum(dim=1)
    assert float((ω[objective.argmin()] - best).abs().max()) < 0.011
    assert float((best * G - (best * G).mean() * goal).abs().sum()) < 1e-12


@settings(deadline=None, max_examples=60)
@given(vectors(3, 4), st.floats(-2, 2), st.floats(1e-4, 10.0))
def test_step_is_the_literal_one_until_the_kink(values, β, lr):
    ω, G, L = values
    I = relative_loss(L, 5, "mean")  # noqa: E741
    new, literal = step(ω, G, I, β, lr), ω - lr * subgradient(ω, G, I, β)
    goal = targets(ω, G, I, β) / G
    crossed = (literal - goal) * (ω - goal) < 0
    torch.testing.assert_close(new, torch.where(crossed, goal, literal))


@settings(deadline=None, max_examples=60)
@given(
    vectors(2, 4),
    vectors(2, 4),
    st.sampled_from(["gradient", "closed-form"]),
    st.sampled_from(["source", "position", "minibatch"]),
)
def test_sum_is_n_and_positive_always(first, second, update, slots):
    ω = make(update, slots, lr=0.3)
    for L, G in (first, second):
        s = stats(L, G)
        w = ω.weights(s)
        assert float(w.sum()) == pytest.approx(4, abs=1e-12)
        assert float(w.min()) > 0
        ω.update(s)
        if slots != "minibatch":
            assert sum(ω.values().values()) == pytest.approx(5, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    some,
    positive,
    positive,
    st.sampled_from(["gradient", "closed-form"]),
    st.sampled_from(["mean", "sum"]),
    st.floats(-2, 2),
)
def test_equal_tasks_keep_one_exactly(n, L, G, update, how, β):
    for slots in ("source", "position", "minibatch"):
        ω = Reweight(
            ReweightConfig(beta=β, relative_loss=how, update=update, lr=0.1, slots=slots),
            Slots(slots, [str(i) for i in range(n)], n),
            n_way=5,
        )
        s = stats([L] * n, [G] * n, [str(i) for i in range(n)])
        for _ in range(8):
            assert ω.weights(s).tolist() == [1.0] * n
            ω.update(s)
        assert set(ω.values().values()) <= {1.0}


@settings(deadline=None, max_examples=40)
@given(
    vectors(2, 5),
    st.permutations(range(5)),
    st.sampled_from(["gradient", "closed-form"]),
    st.sampled_from(["source", "minibatch"]),
)
def test_permuting_tasks_permutes_weights(values, order, update, slots):
    L, G = values
    straight, permuted = make(update, slots, lr=0.2), make(update, slots, lr=0.2)
    order = list(order)
    here, there = stats(L, G), stats(L[order], G[order], [NAMES[i] for i in order])
    for _ in range(3):
        torch.testing.assert_close(straight.weights(here)[order], permuted.weights(there), rtol=1e-12, atol=1e-12)
        straight.update(here)
        permuted.update(there)


UNEQUAL = ([1.0, 1.1, 1.2, 1.4], [2.0, 1.0, 0.8, 1.5])
"""Losses and norms of four tasks; the third has the smallest gradient."""


def settled(how: str, β: float, update: str = "gradient") -> torch.Tensor:
    ω = make(update, "position", how, β, n=4)
    for _ in range(1000):
        ω.update(stats(*UNEQUAL))
    return torch.tensor(list(ω.values().values()), dtype=torch.float64)


@pytest.mark.parametrize(("β", "off"), [(0.0, 1e-9), (0.1, 0.01), (1.5, 0.01), (-1.5, 0.1)])
def test_with_the_mean_the_gradient_reaches_the_closed_form(β, off):
    """Up to how far the mean of I^β is from 1: what the targets ask for beyond Σω = N someone must go without."""
    torch.testing.assert_close(settled("mean", β), settled("mean", β, "closed-form"), rtol=off, atol=0)


def test_with_the_sum_the_smallest_gradient_takes_over():
    """Renormalisation keeps Σω = N but does not mend the sum: the two do not meet."""
    ω = settled("sum", 1.5)
    assert float(ω.sum()) == pytest.approx(4)
    assert float(ω[2]) > 0.9 * 4
    I = relative_loss(torch.tensor(UNEQUAL[0]).double(), 5, "sum")  # noqa: E741
    G = torch.tensor(UNEQUAL[1]).double()
    met = [0, 1, 3]
    torch.testing.assert_close((ω * G)[met], targets(ω, G, I, 1.5)[met], rtol=0.1, atol=0)


@pytest.mark.parametrize("β", [0.0, 1.5])
def test_closed_form_is_the_same_for_sum_and_mean(β):
    torch.testing.assert_close(settled("sum", β, "closed-form"), settled("mean", β, "closed-form"))


def test_the_literal_sum_without_renormalisation_collapses():
    """Eq. 5–6 to the letter: every target is about ḡ/8 at N = 4, β = 1.5, so all ω fall to zero."""
    G, L = torch.tensor([2.0, 1.0, 0.8, 1.5]).double(), torch.tensor([1.0, 1.1, 1.2, 1.4]).double()
    ω = torch.ones(4, dtype=torch.float64)
    for _ in range(300):
        ω = ω - 0.01 * subgradient(ω, G, relative_loss(L, 5, "sum"), 1.5)
        ω = ω.clamp_min(0.0)
    assert float(ω.max()) < 0.02
    ours = make("gradient", "position", "sum", n=4)
    for _ in range(300):
        ours.update(stats(L, G))
    assert sum(ours.values().values()) == pytest.approx(4)


def test_one_task_has_weight_one():
    for update in ("gradient", "closed-form"):
        for slots in ("source", "position", "minibatch"):
            ω = make(update, slots, n=1)
            ω.update(stats([1.3], [0.2]))
            assert ω.weights(stats([1.3], [0.2])).tolist() == [1.0]


@pytest.mark.parametrize("update", ["gradient", "closed-form"])
@pytest.mark.parametrize(
    ("L", "G"),
    [
        ([1.0, 1.0, 2.0], [0.0, 1.0, 2.0]),
        ([1.0, 1.0, 2.0], [float("nan"), 1.0, 2.0]),
        ([1.0, float("inf"), 2.0], [1.0, 1.0, 2.0]),
        ([0.0, 1.0, 2.0], [1.0, 1e-12, 1e12]),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]),
    ],
)
def test_unusable_numbers_never_reach_the_weights(update, L, G):
    for β in (-1.5, 0.0, 1.5):
        for slots in ("position", "minibatch"):
            ω = make(update, slots, β=β, n=3, lr=1.0)
            for _ in range(5):
                ω.update(stats(L, G))
            w = ω.weights(stats(L, G))
            assert torch.isfinite(w).all()
            assert float(w.sum()) == pytest.approx(3)
            assert float(w.min()) > FLOOR / 4


def test_a_task_without_gradient_keeps_its_weight_while_others_balance():
    w = make("closed-form", "minibatch", β=0.0).weights(stats([1.0, 1.0, 1.0], [0.0, 1.0, 3.0]))
    assert w.tolist() == pytest.approx([1.0, 1.5, 0.5])


def test_huge_gradients_do_not_throw_weights_about():
    """A literal step of lr·G = 10 would put every ω at an end; ours stops where norms are equal."""
    ω = make("gradient", "position", β=0.0, lr=0.01, n=2)
    for _ in range(60):
        ω.update(stats([1.0, 1.0], [1000.0, 1100.0]))
    w = ω.weights(stats([1.0, 1.0], [1000.0, 1100.0]))
    assert float(w[0] * 1000 / (w[1] * 1100)) == pytest.approx(1, abs=1e-3)


def test_only_drawn_slots_move_and_keep_their_total():
    ω = make("gradient", lr=0.1)
    ω.update(stats([1.0, 2.0, 1.0, 1.5, 1.0], [1.0, 2.0, 3.0, 1.0, 0.5]))
    before = ω.values()
    ω.update(stats([1.0, 2.0], [2.0, 1.0], ("lao", "nko")))
    after = ω.values()
    assert {k: v for k, v in after.items() if k not in ("lao", "nko")} == {
        k: v for k, v in before.items() if k not in ("lao", "nko")
    }
    assert after["lao"] + after["nko"] == pytest.approx(before["lao"] + before["nko"])
    assert after["lao"] < before["lao"]


def test_tasks_sharing_a_slot_move_it_by_their_average():
    together, apart = make("closed-form", β=0.0), make("closed-form", β=0.0)
    together.update(stats([1.0] * 3, [1.0, 1.0, 4.0], ("greek", "greek", "lao")))
    apart.update(stats([1.0] * 2, [1.0, 4.0], ("greek", "lao")))
    assert together.values() == pytest.approx(apart.values())
    w = together.weights(stats([1.0] * 3, [1.0] * 3, ("greek", "greek", "lao")))
    assert w[0] == w[1]
    assert float(w.sum()) == pytest.approx(3)


def test_minibatch_gradient_is_one_step_from_one():
    ω = make("gradient", "minibatch", lr=5e-4)
    s = stats([1.0, 2.0, 1.5], [1.0, 2.0, 0.5])
    w = ω.weights(s)
    ω.update(s)
    assert float((w - 1).abs().max()) < 0.002
    assert ω.weights(s).tolist() == w.tolist()
    assert ω.values() == {}


def test_fixed_is_scaled_and_never_moves():
    ω = make("fixed", "position", fixed=[0.1, 0.5, 0.3, 0.4], n=4)
    s = stats([1.0, 2.0, 3.0, 1.0], [1.0, 2.0, 3.0, 4.0])
    for _ in range(3):
        torch.testing.assert_close(ω.weights(s), torch.tensor([0.1, 0.5, 0.3, 0.4]).double() * 4 / 1.3)
        ω.update(s)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"update": "fixed"}, "needs reweight.fixed: 5 weights"),
        ({"update": "fixed", "fixed": [1.0, 2.0]}, "has 2 weights; give 5"),
        ({"update": "fixed", "fixed": [1.0, 2.0, 3.0, 4.0, 0.0]}, "must be finite and > 0"),
        ({"update": "fixed", "fixed": [1.0], "slots": "minibatch"}, "source or position"),
        ({"update": "gradient", "fixed": [1.0] * 5}, "only with update=fixed"),
        ({"update": "newton"}, "'newton' is unknown"),
        ({"β": None}, "beta is not set"),
        ({"β": float("nan")}, "beta must be finite"),
        ({"lr": -1.0}, "≥ 0"),
    ],
)
def test_what_cannot_be_used_is_named(change, said):
    with pytest.raises(UsageError, match=said):
        make(**change)


def test_state_goes_on_bit_for_bit():
    def batch(i: int) -> TaskStatistics:
        rng = np.random.default_rng(i)
        return stats(torch.from_numpy(rng.uniform(0.5, 2, 5)), torch.from_numpy(rng.uniform(0.5, 2, 5)))

    whole, first, second = make(lr=0.1), make(lr=0.1), make(lr=0.1)
    for i in range(20):
        whole.update(batch(i))
    for i in range(9):
        first.update(batch(i))
    second.load_state_dict(first.state_dict())
    for i in range(9, 20):
        second.update(batch(i))
    assert second.values() == whole.values()
    with pytest.raises(UsageError, match="belongs to slots"):
        make(n=4).load_state_dict(whole.state_dict())
