"""Cue-conflict episodes: exact on drawn sources, a pure function of their names everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rotogbml.cues.altered import altered, partners, pixels
from rotogbml.cues.ink import ink, is_drawn
from rotogbml.errors import UsageError
from rotogbml.evaluation import work
from rotogbml.seeds import numpy_generator
from rotogbml.sources.glyphs.look import look, paint
from rotogbml.sources.packed import open_pack


@pytest.fixture
def on_drawn(drawn: Path) -> work.Test:
    return work.Test(open_pack(drawn)["lao"], "all", 4, 1, 3, 0)


@pytest.fixture
def on_photos(pack: Path) -> work.Test:
    return work.Test(open_pack(pack)["hidden"], "all", 4, 1, 3, 0)


def test_the_ink_is_what_the_images_were_painted_from(drawn: Path) -> None:
    source = open_pack(drawn)["nko"]
    assert is_drawn(source)
    mask = ink(source, np.arange(len(source.images)))
    seed = source.made["seed"]
    again = paint(mask, look("nko", seed), numpy_generator(seed, "glyphs", "nko", "paint"))
    np.testing.assert_array_equal(again, source.images)


def test_photos_have_no_ink(pack: Path) -> None:
    with pytest.raises(UsageError, match="'alpha' was not drawn"):
        ink(open_pack(pack)["alpha"], np.arange(2))


def test_looks_say_the_class_on_the_support_and_another_one_on_queries(on_drawn: work.Test) -> None:
    """Paper and ink of a look are far apart from those of the next: the mean colour of a corner tells them."""
    plain = on_drawn.episode(3)
    by_shape, by_texture, agree = (altered(on_drawn, "look", asks).episode(3) for asks in ("shape", "texture", "both"))
    np.testing.assert_array_equal(by_shape.query.y, plain.query.y)
    assert not (by_shape.query.y == by_texture.query.y).any()
    for one, two in ((by_shape.support.x, by_texture.support.x), (by_shape.query.x, by_texture.query.x)):
        assert torch.equal(one, two)
    corners = {int(y): x[:, :1, :1].flatten() for x, y in zip(by_shape.support.x, by_shape.support.y, strict=True)}

    def nearest(x: torch.Tensor) -> int:
        return min(corners, key=lambda y: float((corners[y] - x[:, :1, :1].flatten()).norm()))

    said = [nearest(x) for x in by_shape.query.x]
    assert np.mean([a == int(b) for a, b in zip(said, by_texture.query.y, strict=True)]) > 0.7
    said = [nearest(x) for x in agree.query.x]
    assert np.mean([a == int(b) for a, b in zip(said, agree.query.y, strict=True)]) > 0.7


def test_the_shape_of_a_repainted_query_is_its_own(on_drawn: work.Test) -> None:
    test = altered(on_drawn, "look")
    episode = test.episode(1)
    masks = ink(test.source, episode.indices[1])
    grey = episode.query.x.mean(1).numpy()
    for one, mask in zip(grey, masks, strict=True):
        others = [abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) for other in masks]
        own = abs(np.corrcoef(one.ravel(), mask.ravel())[0, 1])
        assert own == max(others)
        assert own > 0.7


@pytest.mark.parametrize("way", ["spectrum", "patches"])
def test_photo_episodes_keep_their_support_and_ask_two_questions(on_photos: work.Test, way: str) -> None:
    plain = on_photos.episode(0)
    by_shape, by_texture = (altered(on_photos, way, asks).episode(0) for asks in ("shape", "texture"))
    assert torch.equal(by_shape.support.x, plain.support.x)
    assert torch.equal(by_shape.query.x, by_texture.query.x)
    assert not torch.equal(by_shape.query.x, plain.query.x)
    assert torch.equal(by_shape.query.y, plain.query.y)
    assert not (by_shape.query.y == by_texture.query.y).any()


@pytest.mark.parametrize("name", ["patch-shuffled", "edge-only", "blurred", "recoloured", "noisy"])
def test_distorted_episodes_are_the_same_episodes_with_other_queries(on_photos: work.Test, name: str) -> None:
    plain, once, again = on_photos.episode(2), altered(on_photos, name).episode(2), altered(on_photos, name).episode(2)
    assert torch.equal(once.query.x, again.query.x)
    assert torch.equal(once.support.x, plain.support.x)
    assert torch.equal(once.query.y, plain.query.y)
    assert not torch.equal(once.query.x, plain.query.x)


def test_a_clean_episode_is_the_plain_one(on_photos: work.Test) -> None:
    plain, clean = on_photos.episode(0), altered(on_photos, "clean").episode(0)
    torch.testing.assert_close(clean.query.x, plain.query.x, rtol=0, atol=1e-6)
    np.testing.assert_allclose(pixels(on_photos.source, plain.indices[1]).min(), 0, atol=0.2)


def test_partners_are_other_images_of_the_wanted_class() -> None:
    y = np.array([0, 0, 1, 1, 2])
    of = partners(y, np.array([0, 1, 2, 0, 2]), np.random.default_rng(0))
    assert of[0] == 1
    assert y[of].tolist() == [0, 1, 2, 0, 2]
    assert of[4] == 4  # there is no other
