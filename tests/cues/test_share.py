"""The ratio's interval against the bootstrap, and its plain values."""

from __future__ import annotations

import numpy as np
import pytest

from rotogbml.cues.share import shape_share
from rotogbml.evaluation.results import stratified


def test_the_mean_is_the_ratio_of_sums() -> None:
    shape, texture = np.array([0.5, 0.0, 0.2]), np.array([0.1, 0.0, 0.6])
    assert shape_share(shape, texture).mean() == pytest.approx(0.7 / 1.4)
    assert shape_share(shape, 0 * texture).tolist() == [1, 1, 1]
    assert np.isnan(shape_share(0 * shape, 0 * texture)).all()


def test_the_interval_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    shape = rng.beta(4, 3, 300)
    texture = (1 - shape) * rng.beta(2, 3, 300)
    mean, half = stratified([shape_share(shape, texture)])
    drawn = rng.integers(300, size=(4000, 300))
    ratios = shape[drawn].sum(1) / (shape + texture)[drawn].sum(1)
    assert mean == pytest.approx(ratios.mean(), abs=2e-3)
    assert half == pytest.approx(1.96 * ratios.std(), rel=0.06)


def test_a_paired_difference_of_equal_runs_is_nothing() -> None:
    rng = np.random.default_rng(1)
    shape, texture = rng.random(20) / 2, rng.random(20) / 2
    one = shape_share(shape, texture)
    assert stratified([one - shape_share(shape, texture)]) == (0, 0)
