"""Rivals of ω against algebra and brute force, and what holds for every one of them."""

from __future__ import annotations

import importlib.util
import io
import itertools
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rotogbml.config import HomogenizerConfig, ReweightConfig
from rotogbml.errors import UsageError
from rotogbml.homogenizer import Homogenizer, Plain, TaskStatistics, create_homogenizer, gramian
from rotogbml.homogenizer.rivals import NAMES
from rotogbml.homogenizer.rivals.losses import EPOCH
from rotogbml.homogenizer.rivals.rival import SPELT

SOURCES = ("greek", "lao", "latin", "nko", "tifinagh")
SOLVERS = {"cagrad": ("cvxpy", "clarabel"), "nash-mtl": ("cvxpy", "ecos")}
SOLVERS |= dict.fromkeys(("upgrad", "dualproj"), ("qpsolvers", "quadprog"))
INSTALL = {"cagrad": "cagrad", "nash-mtl": "nash-mtl", "upgrad": "quadprog-projector", "dualproj": "quadprog-projector"}
RIVALS = [name for name in NAMES if name != "mean"]
OWN_SCALE = ("sum", "clip", "nash-mtl", "unit")

pytest.importorskip("torchjd", reason="torchjd is not installed: pip install 'rotogbml[rivals]'")


def solvable(name: str) -> bool:
    return all(importlib.util.find_spec(package) for package in SOLVERS.get(name, ()))


def rival(name: str, sources: tuple[str, ...] = SOURCES, n: int = 4, **more: Any) -> Homogenizer:
    if not solvable(name):
        pytest.skip(f"{name} needs {' and '.join(SOLVERS[name])}")
    config = HomogenizerConfig(None, None, combine=cast(Any, name), slots="source", **more)
    return create_homogenizer(config, sources=sources, tasks_per_batch=n, feature_dim=3, n_way=5, seed=7)


def stats(g: torch.Tensor, losses: Any = None, sources: Any = None, step: int = 0) -> TaskStatistics:
    n = len(g)
    L = torch.ones(n) if losses is None else torch.as_tensor(losses, dtype=torch.float64)
    return TaskStatistics(
        tuple(sources or SOURCES[:n]), L, g.double().norm(dim=1), torch.zeros(n, 3), gram=gramian(g), step=step
    )


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def direction(h: Homogenizer, g: torch.Tensor, **more: Any) -> torch.Tensor:
    s = stats(g, **more)
    return h.combine([g], h.weights(s), s)[0]


def test_the_mean_is_plain():
    assert isinstance(rival("mean"), Plain)
    g = random(0, 4, 30).float()
    assert torch.equal(direction(rival("mean"), g), g.mean(0))


def test_sum_unit_and_clip_are_what_they_say():
    g = random(1, 3, 20) * torch.tensor([1.0, 10.0, 0.1])[:, None]
    torch.testing.assert_close(direction(rival("sum"), g), g.sum(0))
    torch.testing.assert_close(direction(rival("unit"), g), (g / g.norm(dim=1, keepdim=True)).mean(0))
    clipped = torch.stack([row * min(1.0, 2.0 / float(row.norm())) for row in g])
    torch.testing.assert_close(direction(rival("clip", clip=2.0), g), clipped.mean(0))
    c = float(g.norm(dim=1).median())
    clipped = torch.stack([row * min(1.0, c / float(row.norm())) for row in g])
    torch.testing.assert_close(direction(rival("clip"), g), clipped.mean(0))


@pytest.mark.parametrize("name", [name for name in RIVALS if name not in OWN_SCALE])
def test_equal_gradients_give_that_gradient(name: str):
    g = random(2, 1, 40).repeat(3, 1)
    # CAGrad adds c times the gradient that it protects, here the same one.
    length = 1.5 if name == "cagrad" else 1.0
    torch.testing.assert_close(direction(rival(name), g), length * g[0], rtol=1e-3, atol=1e-3)


def test_two_conflicting_gradients_for_pcgrad_by_hand():
    """g₁ loses its part along g₂ and the other way round; the mean of the two is the step."""
    g = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    # g₁ − (g₁·g₂/‖g₂‖²) g₂ = (½, ½);   g₂ − (g₂·g₁/‖g₁‖²) g₁ = (0, 1)
    torch.testing.assert_close(direction(rival("pcgrad"), g), torch.tensor([0.25, 0.75], dtype=torch.float64))
    agree = torch.tensor([[1.0, 0.5], [0.2, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(direction(rival("pcgrad"), agree), agree.mean(0))


@pytest.mark.parametrize("seed", range(4))
def test_mgda_is_the_shortest_vector_of_the_hull_by_brute_force(seed: int):
    g = random(seed, 3, 5) + 0.3
    grid = [(a / 60, b / 60, 1 - (a + b) / 60) for a, b in itertools.product(range(61), repeat=2) if a + b <= 60]
    shortest = min(float((torch.tensor(w, dtype=torch.float64) @ g).norm()) for w in grid)
    found = direction(rival("mgda"), g)
    assert float(found.norm()) <= shortest * 1.03 + 1e-6
    w = rival("mgda").weights(stats(g)) / 3
    assert float(w.sum()) == pytest.approx(1)
    assert float(w.min()) >= 0


def test_imtl_g_projects_equally_on_every_task_and_config_too():
    g = random(5, 3, 12)
    units = g / g.norm(dim=1, keepdim=True)
    for name in ("imtl-g", "config"):
        along = units @ direction(rival(name), g)
        torch.testing.assert_close(along, along.mean().expand(3), rtol=1e-6, atol=1e-9)


def test_config_is_torchjds_own_over_n():
    from torchjd.aggregation import ConFIG

    g = random(6, 4, 50)
    torch.testing.assert_close(direction(rival("config"), g), ConFIG()(g) / 4, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["upgrad", "dualproj", "pcgrad", "mgda"])
def test_two_conflicting_gradients_do_not_conflict_with_the_step(name: str):
    g = torch.tensor([[1.0, 0.1], [-0.9, 0.2]], dtype=torch.float64)
    assert float((g @ g.mean(0)).min()) < 0
    assert float((g @ direction(rival(name), g)).min()) > -1e-3


def test_graddrop_keeps_one_sign_a_number_and_draws_anew_each_step():
    g = torch.stack([torch.full((400,), 2.0), torch.full((400,), -1.0)])
    h = rival("graddrop")
    first = direction(h, g)
    assert set(first.unique().tolist()) == {-0.5, 1.0}
    assert float((first > 0).double().mean()) == pytest.approx(2 / 3, abs=0.08)
    assert torch.equal(first, direction(h, g))
    assert not torch.equal(first, direction(h, g, step=1))
    s = stats(g)
    head = random(8, 2, 3)
    torch.testing.assert_close(h.combine([g, head], h.weights(s), s)[1], head.mean(0))


def test_famo_raises_the_task_that_falls_slowest():
    h, g = rival("famo"), random(9, 4, 10)
    for step in range(60):
        losses = [1.6 * 0.95**step, 1.6, 1.6 * 0.95**step, 1.6 * 0.95**step]
        h.update(stats(g, losses, step=step))
    even = [1.0] * 4
    w = h.weights(stats(g, even))
    assert float(w[1]) > 1.2 * float(w[0])


def test_dwa_weighs_by_what_fell_from_epoch_to_epoch():
    h, g = rival("dwa", SOURCES[:2], n=2), random(10, 2, 10)
    for step in range(2 * EPOCH):
        assert h.weights(stats(g, [1.0, 1.0])).tolist() == [1.0, 1.0]
        h.update(stats(g, [1.0, 1.0] if step < EPOCH else [0.5, 1.0], step=step))
    rates = torch.tensor([0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(h.weights(stats(g)), 2 * torch.softmax(rates / 2, 0))


def test_uncertainty_comes_to_rest_at_one_over_the_loss():
    h, g = rival("uncertainty", SOURCES[:2], n=2), random(11, 2, 10)
    for step in range(2000):
        h.update(stats(g, [0.5, 2.0], step=step))
    w = h.weights(stats(g, [0.5, 2.0]))
    torch.testing.assert_close(w, torch.tensor([1.6, 0.4], dtype=torch.float64), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["famo", "dwa", "uncertainty"])
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_weights_of_losses_are_positive_and_sum_to_n(name: str, seed: int):
    h, rng = rival(name), np.random.default_rng(seed)
    for step in range(8):
        s = stats(random(seed, 4, 5), rng.uniform(0, 3, 4), rng.permutation(SOURCES)[:4].tolist(), step)
        w = h.weights(s)
        assert float(w.sum()) == pytest.approx(4)
        assert float(w.min()) > 0
        h.update(s)


@pytest.mark.parametrize("name", RIVALS)
def test_the_order_of_tasks_is_the_order_of_weights(name: str):
    one, other, rng = rival(name), rival(name), np.random.default_rng(3)
    for step in range(4):
        g, L, order = random(step, 4, 9), rng.uniform(0.5, 2, 4), rng.permutation(4).tolist()
        sources = rng.permutation(SOURCES)[:4].tolist()
        a = stats(g, L, sources, step)
        b = stats(g[order], L[order], [sources[i] for i in order], step)
        torch.testing.assert_close(one.weights(a)[order], other.weights(b), rtol=1e-6, atol=1e-8)
        there = other.combine([g[order]], other.weights(b), b)[0]
        torch.testing.assert_close(one.combine([g], one.weights(a), a)[0], there, rtol=1e-6, atol=1e-8)
        one.update(a)
        other.update(b)


@pytest.mark.parametrize("name", RIVALS)
def test_states_go_on_to_the_bit_and_global_draws_are_left_alone(name: str):
    def minibatch(i: int) -> TaskStatistics:
        rng = np.random.default_rng(i)
        return stats(random(i, 4, 9), rng.uniform(0.5, 2, 4), rng.permutation(SOURCES)[:4].tolist(), i)

    whole, first, second = rival(name), rival(name), rival(name)
    before = torch.get_rng_state()
    for i in range(6):
        whole.weights(minibatch(i))
        whole.update(minibatch(i))
    for i in range(3):
        first.update(minibatch(i))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    first.update(minibatch(77))
    for i in range(3, 6):
        second.update(minibatch(i))
    assert torch.equal(torch.get_rng_state(), before)
    last = minibatch(9)
    assert torch.equal(whole.weights(last), second.weights(last))
    g = random(9, 4, 9)
    assert torch.equal(
        whole.combine([g], whole.weights(last), last)[0], second.combine([g], second.weights(last), last)[0]
    )
    other = rival("unit" if name != "unit" else "sum")
    with pytest.raises(UsageError, match=f"saved state is of combine={name}"):
        other.load_state_dict(whole.state_dict())


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_weights_do_not_depend_on_the_size_of_all_gradients(name: str, scale: float):
    if name in ("nash-mtl", "unit"):
        pytest.skip("its scale is its own")
    g = random(12, 4, 9)
    a, b = rival(name).weights(stats(g)), rival(name).weights(stats(scale * g))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", RIVALS)
def test_no_gradient_at_all_and_a_single_task_give_finite_weights(name: str):
    for g in (torch.zeros(4, 6), random(13, 1, 6), torch.cat([random(14, 3, 6).float(), torch.zeros(1, 6)])):
        h = rival(name, n=len(g))
        s = stats(g)
        assert h.weights(s).isfinite().all()
        assert h.combine([g], h.weights(s), s)[0].isfinite().all()
        h.update(s)


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_a_missing_solver_is_named_at_construction_with_the_line_that_installs_it(name: str, monkeypatch):
    monkeypatch.setattr("torchjd._mixins.find_spec", lambda package: None)
    config = HomogenizerConfig(None, None, combine=cast(Any, name), slots="source")
    with pytest.raises(UsageError, match=rf'pip install "torchjd\[{INSTALL[name]}\]"'):
        create_homogenizer(config, sources=SOURCES, tasks_per_batch=4, feature_dim=3, n_way=5)


def test_missing_torchjd_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchjd.aggregation", None)
    with pytest.raises(UsageError, match=r"pip install 'rotogbml\[rivals\]'"):
        rival("pcgrad")


def test_what_cannot_be_used_is_named():
    both = HomogenizerConfig(ReweightConfig(1.0, "mean", "gradient", 0.1, "source"), None, combine="pcgrad")
    with pytest.raises(UsageError, match=r"takes the place of ω: set homogenizer\.reweight to null"):
        create_homogenizer(both, sources=SOURCES, tasks_per_batch=4, feature_dim=3, n_way=5)
    with pytest.raises(UsageError, match="did you mean 'pcgrad'"):
        rival("pcgard")
    with pytest.raises(UsageError, match=r"clip=1\.0 is used only with combine=clip; combine is unit"):
        rival("unit", clip=1.0)
    with pytest.raises(UsageError, match=r"clip=0\.0: give a length above 0"):
        rival("clip", clip=0.0)


def test_every_rival_has_a_name_for_the_tables():
    from typing import get_args

    from rotogbml.config import Combine

    assert set(SPELT) == set(get_args(Combine))
