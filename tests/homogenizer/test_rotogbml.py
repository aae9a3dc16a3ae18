"""The two halves together, and what may not be combined."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from rotogbml import presets
from rotogbml.config import HomogenizerConfig, ReweightConfig, RotateConfig
from rotogbml.errors import UsageError
from rotogbml.homogenizer import Homogenizer, Plain, RotoGBML, Slots, TaskStatistics, create_homogenizer

NAMES = ("greek", "lao", "latin", "nko", "tifinagh")


def filled(preset: presets.Preset = "default", shift: presets.Shift = "strong", **changes) -> HomogenizerConfig:
    return replace(presets.fill(HomogenizerConfig(), "homogenizer", preset, shift), **changes)


def create(config: HomogenizerConfig | None, m: int = 6, sources=NAMES) -> Homogenizer:
    return create_homogenizer(config, sources=sources, tasks_per_batch=4, feature_dim=m, n_way=5)


def batch(step: int) -> TaskStatistics:
    rng = np.random.default_rng(step)
    sources = tuple(rng.choice(NAMES, 4, replace=False).tolist())
    return TaskStatistics(
        sources,
        torch.from_numpy(rng.uniform(0.5, 2, 4)),
        torch.from_numpy(rng.uniform(0.5, 2, 4)),
        torch.from_numpy(rng.standard_normal((4, 6))),
    )


@pytest.mark.parametrize("config", [None, HomogenizerConfig(None, None)])
def test_off_is_plain(config):
    plain = create(config)
    assert isinstance(plain, Plain)
    assert plain.weights(batch(0)).tolist() == [1.0] * 4
    assert plain.rotations(NAMES[:4]) is None
    assert plain.fresh_rotations(torch.ones(4, 6)) is None
    plain.update(batch(0))
    assert plain.omega() == plain.gamma() == plain.state_dict() == {}
    assert not plain.rotates_support
    assert not plain.needs_features_first
    with pytest.raises(UsageError, match="the saved homogenizer has"):
        plain.load_state_dict(create(filled()).state_dict())


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("shift", ["weak", "strong"])
def test_every_preset_runs_and_resumes_bit_for_bit(preset, shift):
    whole, first, second = (create(filled(preset, shift)) for _ in range(3))
    assert whole.rotates_support == (preset == "default")
    for i in range(12):
        w = whole.weights(batch(i))
        assert float(w.sum()) == pytest.approx(4)
        whole.update(batch(i))
    for i in range(5):
        first.update(batch(i))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for i in range(5, 12):
        second.update(batch(i))
    assert second.omega() == whole.omega()
    assert second.gamma() == whole.gamma()
    most = 12 * whole.rotate.lr if preset == "default" else math.pi  # Adam's rate is no angle
    assert all(0 < turn <= most for turn in whole.gamma().values())
    for sources in (NAMES[:4], NAMES[1:]):
        a, b = whole.rotations(sources), second.rotations(sources)
        assert a is not None
        assert b is not None
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_either_half_alone():
    only_ω = create(filled(rotate=None))
    only_γ = create(filled(reweight=None))
    for i in range(3):
        only_ω.update(batch(i))
        only_γ.update(batch(i))
    assert only_ω.rotations(NAMES[:4]) is None
    assert not only_ω.rotates_support
    assert set(only_ω.omega()) == set(only_γ.gamma()) == set(NAMES)
    assert only_ω.gamma() == {}
    assert set(only_ω.state_dict()) == {"reweight"}
    assert only_γ.omega() == {}
    assert only_γ.weights(batch(0)).tolist() == [1.0] * 4
    with pytest.raises(UsageError, match=r"has \[reweight\], this run has \[rotate\]"):
        only_γ.load_state_dict(only_ω.state_dict())


def test_minibatch_slots_keep_nothing():
    config = filled()
    assert config.reweight is not None
    assert config.rotate is not None
    config = HomogenizerConfig(
        replace(config.reweight, slots="minibatch", update="closed-form"),
        replace(config.rotate, slots="minibatch", rotate_support=False),
    )
    homogenizer = create(config)
    assert homogenizer.needs_features_first
    assert homogenizer.rotations(NAMES[:4]) is None
    rotations = homogenizer.fresh_rotations(batch(0).feature_gradients)
    assert rotations is not None
    assert len(rotations) == 4
    s = batch(1)
    w = homogenizer.weights(s)
    torch.testing.assert_close(w * s.norms / s.losses**1.5, (w * s.norms / s.losses**1.5)[0].expand(4))
    homogenizer.update(s)
    assert homogenizer.omega() == homogenizer.gamma() == {}
    assert config.rotate is not None
    with pytest.raises(UsageError, match="rotate_support"):
        create(HomogenizerConfig(None, replace(config.rotate, rotate_support=True)))


def test_large_rotations_are_told(caplog):
    create(filled(reweight=None), m=4096)
    assert "γ takes 320 MiB (5 rotations of 4096×4096): rotate fewer features with rotation_dim" in caplog.text


def test_positions_and_sources():
    assert Slots("source", NAMES, 4).index(("nko", "greek", "nko")).tolist() == [3, 0, 3]
    assert Slots("position", NAMES, 4).index(("nko", "greek")).tolist() == [0, 1]
    assert Slots("minibatch", NAMES, 4).index(("nko", "greek")).tolist() == [0, 1]
    assert Slots("position", NAMES, 3).names == ("0", "1", "2")
    with pytest.raises(UsageError, match="did you mean 'latin'"):
        Slots("source", NAMES, 4).index(("latni",))
    with pytest.raises(UsageError, match="raise tasks_per_batch to 5"):
        Slots("position", NAMES, 4).index(NAMES)
    with pytest.raises(UsageError, match="choose source, position or minibatch"):
        Slots(cast(Any, "sources"), NAMES, 4)


def test_unresolved_configuration_is_named():
    with pytest.raises(UsageError, match=r"ReweightConfig\.slots is not set"):
        RotoGBML(HomogenizerConfig(ReweightConfig()), sources=NAMES, tasks_per_batch=4, feature_dim=6, n_way=5)
    with pytest.raises(UsageError, match=r"RotateConfig\.slots is not set"):
        create(HomogenizerConfig(None, RotateConfig()))


def test_statistics_are_checked_and_exact():
    s = TaskStatistics(("a",), torch.ones(1, requires_grad=True), torch.ones(1), torch.ones(1, 3))
    assert s.losses.dtype == torch.float64
    assert not s.losses.requires_grad
    with pytest.raises(ValueError, match="the first axis must be the task"):
        TaskStatistics(("a", "b"), torch.ones(2), torch.ones(1), torch.ones(2, 3))
