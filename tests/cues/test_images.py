"""Altered images: what each alteration keeps and what it takes away."""

from __future__ import annotations

import numpy as np
import pytest

from rotogbml.cues.conflict import patches, spectrum, textures
from rotogbml.cues.images import DISTORTIONS, blurred, edges, low_pass, luminance, recoloured, shuffled


def photos(n: int = 3, side: int = 18, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3, side, side), dtype=np.float32)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_every_distortion_is_a_pure_function_and_stays_an_image(name: str) -> None:
    x = photos()
    before = x.copy()
    one, two = (DISTORTIONS[name].act(x, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(x, before)
    assert one.shape == x.shape
    assert one.dtype == np.float32
    assert one.min() >= 0
    assert one.max() <= 1 + 1e-6
    assert (name == "clean") == np.array_equal(one, x)


def test_shuffling_moves_whole_tiles_and_nothing_else() -> None:
    x = photos(side=18)
    out = shuffled(x, np.random.default_rng(0))
    for before, after in zip(x, out, strict=True):
        tiles = [
            sorted(image[:, r : r + 4, c : c + 4].tobytes() for r in range(0, 16, 4) for c in range(0, 16, 4))
            for image in (before, after)
        ]
        assert tiles[0] == tiles[1]
        np.testing.assert_array_equal(before[:, 16:], after[:, 16:])
    assert not np.array_equal(x, out)


def test_edges_are_sobels_and_know_neither_colour_nor_brightness() -> None:
    step = np.zeros((1, 3, 8, 8), np.float32)
    step[..., 4:] = 0.5
    out = edges(step)[0]
    expected = np.zeros((8, 8), np.float32)
    expected[:, 3:5] = 1
    np.testing.assert_allclose(out, np.stack([expected] * 3), atol=1e-6)
    np.testing.assert_allclose(edges(0.5 * photos() + 0.3), edges(photos()), atol=1e-4)
    assert not edges(np.full((1, 3, 8, 8), 0.7, np.float32)).any()


def test_a_gaussian_keeps_means_and_takes_the_deviation_it_should() -> None:
    flat = np.full((1, 3, 20, 20), 0.4, np.float32)
    np.testing.assert_allclose(blurred(flat), flat, atol=1e-6)
    dot = np.zeros((1, 41, 41), np.float32)
    dot[0, 20, 20] = 1
    out = low_pass(dot, 2.0)[0]
    at = np.arange(41) - 20
    assert out.sum() == pytest.approx(1, abs=1e-5)
    assert np.sqrt((out.sum(0) * at**2).sum()) == pytest.approx(2, rel=0.03)
    np.testing.assert_allclose(out, out.T, atol=1e-7)


def test_recolouring_keeps_the_mean_of_the_channels_and_their_patterns() -> None:
    x = 0.35 + 0.1 * photos()  # nothing is cut off
    out = recoloured(x, np.random.default_rng(1))
    np.testing.assert_allclose(np.sort(out.mean((2, 3))), np.sort(x.mean((2, 3))), atol=1e-5)
    for before, after in zip(x.reshape(3, 3, -1), out.reshape(3, 3, -1), strict=True):
        correlation = np.corrcoef(before, after)[:3, 3:]
        np.testing.assert_allclose(np.sort(correlation.max(1)), [1, 1, 1], atol=1e-4)


def test_a_spectrum_mix_has_phases_of_one_and_amplitudes_of_the_other() -> None:
    shape, texture = 0.4 + 0.02 * photos(seed=1), 0.4 + 0.02 * photos(seed=2)  # nothing is cut off
    mixed = np.fft.fft2(spectrum(shape, texture).astype(np.float64))
    np.testing.assert_allclose(np.abs(mixed), np.abs(np.fft.fft2(texture.astype(np.float64))), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(spectrum(shape, shape), shape, atol=1e-6)
    turned = np.exp(1j * (np.angle(mixed) - np.angle(np.fft.fft2(shape.astype(np.float64)))))
    assert turned.real.min() > 0.99


def test_a_patch_mix_has_outlines_of_one_on_the_colours_of_the_other() -> None:
    shape = np.full((1, 3, 32, 32), 0.2, np.float32)
    shape[..., 16:] = 0.5
    texture = np.stack([np.full((1, 32, 32), c, np.float32) for c in (0.3, 0.5, 0.7)], axis=1)
    out = patches(shape, texture, np.random.default_rng(0))
    np.testing.assert_allclose(out[..., :4], texture[..., :4], atol=1e-4)  # far from the outline: the texture alone
    assert (out[..., 16] > texture[..., 16] + 0.05).all()
    assert (out[..., 15] < texture[..., 15] - 0.05).all()
    np.testing.assert_allclose(luminance(out).mean(), luminance(texture).mean(), atol=0.01)


def test_textures_are_of_another_class_each_equally_often() -> None:
    y = np.repeat(np.arange(4), 3000)
    worn = textures(y, 4, np.random.default_rng(0))
    count = np.histogram2d(y, worn, bins=4)[0]
    assert not count.diagonal().any()
    assert count[~np.eye(4, dtype=bool)] == pytest.approx(1000, rel=0.12)
