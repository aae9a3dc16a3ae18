"""What holds for every reading of ω and γ at once: Σω = N, ω > 0, γ in SO(m), order of tasks, exact resume."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rotogbml.config import HomogenizerConfig, ReweightConfig, RotateConfig
from rotogbml.errors import UsageError
from rotogbml.homogenizer import Homogenizer, TaskStatistics, create_homogenizer
from rotogbml.homogenizer.compare import COMPARE

NAMES = ("greek", "lao", "latin", "nko", "tifinagh")
M, N_WAY = 6, 3
SLOTS = st.sampled_from(["source", "position", "minibatch"])


@st.composite
def weighings(draw: st.DrawFn) -> ReweightConfig:
    """Draw any reading of ω."""
    slots = draw(SLOTS)
    update = draw(st.sampled_from(["gradient", "closed-form", "fixed"]))
    if update == "fixed" and slots == "minibatch":
        update = "closed-form"
    fixed = None
    if update == "fixed":
        fixed = [0.1, 0.5, 0.3, 0.4, 0.2] if slots == "source" else [0.1, 0.5, 0.3, 0.4]
    return ReweightConfig(
        beta=draw(st.floats(-2, 2)),
        relative_loss=draw(st.sampled_from(["mean", "sum"])),
        update=update,
        lr=draw(st.sampled_from([0.0, 0.01, 0.3, 5.0])),
        slots=slots,
        fixed=fixed,
        optimizer=draw(st.sampled_from(["proximal", "sgd", "adam"])),
        smoothing=0.0 if slots == "minibatch" else draw(st.sampled_from([0.0, 0.5, 0.99])),
    )


@st.composite
def turns(draw: st.DrawFn) -> RotateConfig:
    """Draw any reading of γ."""
    slots, compare = draw(SLOTS), draw(st.sampled_from(COMPARE))
    return RotateConfig(
        align="rotated" if compare == "prototype" else draw(st.sampled_from(["rotated", "shared"])),
        lr=draw(st.sampled_from([5e-4, 0.1, 2.0])),
        decay=draw(st.sampled_from([1.0, 0.9])),
        slots=slots,
        rotate_support=slots != "minibatch" and draw(st.booleans()),
        rotation_dim=draw(st.sampled_from([None, 1, 4])),
        update=draw(st.sampled_from(["plane", "gradient"])),
        compare=compare,
    )


def create(config: HomogenizerConfig) -> Homogenizer:
    return create_homogenizer(config, sources=NAMES, tasks_per_batch=4, feature_dim=M, n_way=N_WAY)


def batch(seed: int, step: int, per_class: bool, sources: tuple[str, ...] | None = None) -> TaskStatistics:
    rng = np.random.default_rng([seed, step])
    drawn = tuple(rng.permutation(NAMES)[:4].tolist())
    shape = (4, N_WAY, M) if per_class else (4, M)
    return TaskStatistics(
        sources or drawn,
        torch.from_numpy(rng.uniform(0.2, 2, 4)),
        torch.from_numpy(rng.uniform(0.1, 5, 4)),
        torch.from_numpy(rng.standard_normal(shape)),
    )


def per_class(config: RotateConfig) -> bool:
    return config.compare != "mean"


def off_so(γ: torch.Tensor) -> float:
    return float((γ.double().T @ γ.double() - torch.eye(len(γ), dtype=torch.float64)).abs().max())


@settings(deadline=None, max_examples=60)
@given(weighings(), st.integers(0, 10**6))
def test_every_omega_is_positive_and_sums_to_n(config, seed):
    ω = create(HomogenizerConfig(config, None))
    for i in range(6):
        s = batch(seed, i, False)
        w = ω.weights(s)
        assert float(w.sum()) == pytest.approx(4, abs=1e-9)
        assert float(w.min()) > 0
        ω.update(s)


@settings(deadline=None, max_examples=30)
@given(turns(), st.integers(0, 10**6))
def test_every_gamma_stays_in_so(config, seed):
    γ = create(HomogenizerConfig(None, config))
    for i in range(5):
        s = batch(seed, i, per_class(config))
        made = γ.fresh_rotations(s.feature_gradients) if γ.needs_features_first else γ.rotations(s.sources)
        assert made is not None
        for one in made:
            assert off_so(one) < 1e-5
            assert float(torch.linalg.det(one.double())) == pytest.approx(1, abs=1e-4)
        γ.update(s)


@settings(deadline=None, max_examples=30)
@given(weighings(), turns(), st.permutations(range(4)), st.integers(0, 10**6))
def test_the_order_of_tasks_is_the_order_of_weights_and_rotations(ω, γ, order, seed):
    """By position that is so of what is made of one minibatch; by source and minibatch always."""
    order = list(order)
    if ω.slots == "position":
        ω = replace(ω, slots="source", fixed=[0.1, 0.5, 0.3, 0.4, 0.2] if ω.fixed else None)
    γ = replace(γ, slots="source" if γ.slots == "position" else γ.slots)
    one, other = create(HomogenizerConfig(ω, γ)), create(HomogenizerConfig(ω, γ))
    for i in range(3):
        s = batch(seed, i, per_class(γ))
        t = TaskStatistics(
            tuple(s.sources[j] for j in order), s.losses[order], s.norms[order], s.feature_gradients[order]
        )
        torch.testing.assert_close(one.weights(s)[order], other.weights(t), rtol=1e-9, atol=1e-9)
        if one.needs_features_first:
            here, there = one.fresh_rotations(s.feature_gradients), other.fresh_rotations(t.feature_gradients)
        else:
            here, there = one.rotations(s.sources), other.rotations(t.sources)
        assert here is not None
        assert there is not None
        for j, turned in zip(order, there, strict=True):
            torch.testing.assert_close(here[j], turned, rtol=0, atol=1e-5)
        one.update(s)
        other.update(t)


@settings(deadline=None, max_examples=25)
@given(weighings(), turns(), st.integers(0, 10**6))
def test_equal_tasks_keep_omega_one_and_gamma_the_identity(ω, γ, seed):
    ω = replace(ω, update="gradient", fixed=None)
    h = create(HomogenizerConfig(ω, γ))
    first = batch(seed, 0, per_class(γ))
    for _ in range(4):
        same = TaskStatistics(
            NAMES[:4],
            first.losses[:1].repeat(4),
            first.norms[:1].repeat(4),
            first.feature_gradients[:1].expand(4, *first.feature_gradients.shape[1:]),
        )
        assert h.weights(same).tolist() == [1.0] * 4
        made = h.fresh_rotations(same.feature_gradients) if h.needs_features_first else h.rotations(same.sources)
        assert made is not None
        for one in made:
            assert torch.equal(one, torch.eye(len(one)))
        h.update(same)


@settings(deadline=None, max_examples=25)
@given(weighings(), turns(), st.integers(0, 10**6))
def test_every_state_goes_on_to_the_bit(ω, γ, seed):
    def fresh() -> Homogenizer:
        return create(HomogenizerConfig(ω, γ))

    whole, first, second = fresh(), fresh(), fresh()
    for i in range(8):
        whole.update(batch(seed, i, per_class(γ)))
    for i in range(4):
        first.update(batch(seed, i, per_class(γ)))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    first.update(batch(seed, 99, per_class(γ)))  # what was saved is no longer its own
    for i in range(4, 8):
        second.update(batch(seed, i, per_class(γ)))
    assert same(whole.state_dict(), second.state_dict())


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize(("update", "compare"), [("gradient", "mean"), ("plane", "class")])
def test_in_so_after_ten_thousand_updates(update, compare):
    align = "rotated" if compare == "prototype" else "shared"
    config = RotateConfig(align, 0.05, 1.0, "source", False, None, update, compare)
    γ = create_homogenizer(
        HomogenizerConfig(None, config), sources=NAMES[:2], tasks_per_batch=2, feature_dim=5, n_way=2
    )
    rng = np.random.default_rng(0)
    u = torch.from_numpy(rng.standard_normal((10_000, 2, 5) if compare == "mean" else (10_000, 2, 2, 5)))
    for one in u:
        γ.update(TaskStatistics(NAMES[:2], torch.ones(2), torch.ones(2), one))
    rotations = γ.rotations(NAMES[:2])
    assert rotations is not None
    for one in rotations:
        assert off_so(one) < 1e-5
        assert float((one - torch.eye(5)).norm()) > 0.1


def test_smoothing_needs_slots_and_a_share_of_the_past():
    config = ReweightConfig(1.0, "mean", "closed-form", 0.1, "minibatch", None, "proximal", 0.5)
    with pytest.raises(UsageError, match=r"smoothing=0\.5 needs slots that last"):
        create(HomogenizerConfig(config, None))
    with pytest.raises(UsageError, match=r"smoothing=1\.0: give a share"):
        create(HomogenizerConfig(replace(config, smoothing=1.0), None))


def test_a_smoothed_closed_form_forgets_one_odd_minibatch():
    """After many alike minibatches one in which a norm is tenfold moves ω by a hundredth of what it would."""

    def moved(smoothing: float) -> float:
        config = ReweightConfig(0.0, "mean", "closed-form", 0.1, "source", None, "proximal", smoothing)
        ω = create(HomogenizerConfig(config, None))

        def step(norms: list[float]) -> torch.Tensor:
            s = TaskStatistics(NAMES[:4], torch.ones(4), torch.tensor(norms), torch.zeros(4, M))
            ω.update(s)
            return ω.weights(s)

        for _ in range(50):
            before = step([1.0, 1.0, 1.0, 1.0])
        return float((step([10.0, 1.0, 1.0, 1.0]) - before).abs().max())

    assert moved(0.0) > 0.5
    assert moved(0.99) < 0.1


def test_a_state_moved_in_another_way_is_refused():
    ω = ReweightConfig(1.0, "mean", "gradient", 0.1, "source", None, "adam", 0.0)
    with pytest.raises(UsageError, match="moved in another way"):
        create(HomogenizerConfig(replace(ω, optimizer="sgd"), None)).load_state_dict(
            create(HomogenizerConfig(ω, None)).state_dict()
        )
    γ = RotateConfig("shared", 0.1, 1.0, "source", False, None, "gradient", "mean")
    with pytest.raises(UsageError, match="moved in another way"):
        create(HomogenizerConfig(None, replace(γ, update="plane"))).load_state_dict(
            create(HomogenizerConfig(None, γ)).state_dict()
        )


def test_prototypes_are_brought_together_after_gamma_alone():
    γ = RotateConfig("shared", 0.1, 1.0, "source", False, None, "plane", "prototype")
    with pytest.raises(UsageError, match=r"set rotate\.align to rotated"):
        create(HomogenizerConfig(None, γ))


def test_cayley_at_many_features_is_told(caplog):
    γ = RotateConfig("shared", 0.1, 1.0, "minibatch", False, None, "gradient", "mean")
    create_homogenizer(HomogenizerConfig(None, γ), sources=NAMES, tasks_per_batch=4, feature_dim=1600, n_way=5)
    assert "a system of 1600×1600 for each task of each step: rotate fewer features with rotation_dim" in caplog.text
