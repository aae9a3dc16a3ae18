"""Training views vary, by their own seed alone; test views do not; characters are never mirrored."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from rotogbml.episodes import augment, centre, normalise
from rotogbml.episodes.augment import IMAGENET_MEAN, IMAGENET_STD, POLICIES, Policy


def pixels(n: int = 4, side: int = 18) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def undo(x: Tensor) -> Tensor:
    return x * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)


def test_the_test_view_is_the_normalised_centre() -> None:
    raw = pixels(side=18)
    expected = torch.from_numpy(raw[:, 1:17, 1:17]).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(undo(centre(raw, 16)), expected)
    assert torch.equal(augment(raw, 16, "none", generator()), centre(raw, 16))


def test_normalise_removes_mean_and_deviation() -> None:
    x = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) + torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    torch.testing.assert_close(normalise(x), torch.ones(1, 3, 1, 1))


@pytest.mark.parametrize("kind", ["closer-look", "shape-safe"])
def test_training_views_come_from_the_generator_alone(kind: str) -> None:
    raw = pixels()
    torch.manual_seed(1)
    a = augment(raw, 16, kind, generator(3))
    torch.manual_seed(2)
    b = augment(raw, 16, kind, generator(3))
    assert torch.equal(a, b)
    assert not torch.equal(a, augment(raw, 16, kind, generator(4)))
    assert a.shape == (4, 3, 16, 16)
    assert a.dtype == torch.float32
    assert undo(a).min() >= -1e-5
    assert undo(a).max() <= 1 + 1e-5


@pytest.mark.parametrize("kind", ["closer-look", "shape-safe"])
def test_images_of_a_batch_are_drawn_each_on_its_own(kind: str) -> None:
    one = np.repeat(pixels(1), 6, axis=0)
    views = augment(one, 16, kind, generator())
    assert len({view.numpy().tobytes() for view in views}) == 6


def slope(views: Tensor) -> Tensor:
    """Return right minus left half: the sign tells a ramp from its mirror image."""
    grey = undo(views).mean(1)
    return grey[..., 8:].mean((1, 2)) - grey[..., :8].mean((1, 2))


def test_shape_safe_never_mirrors_and_closer_look_does_half_the_time() -> None:
    ramp = np.broadcast_to(np.linspace(60, 190, 18, dtype=np.uint8)[None, None, :, None], (200, 18, 18, 3))
    assert (slope(augment(ramp, 16, "shape-safe", generator())) > 0).all()
    mirrored = (slope(augment(ramp, 16, "closer-look", generator())) < 0).float().mean()
    assert 0.35 < mirrored < 0.65


def test_a_mirrored_view_is_the_mirror_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "whole", Policy(scale=(1.0, 1.0), flip=True, jitter=0.0))
    # by hand: under the name of the module the package shows the function
    monkeypatch.setattr(sys.modules["rotogbml.episodes.augment"], "_LOG_RATIO", (0.0, 0.0))
    raw = np.repeat(pixels(1, 16), 20, axis=0)
    plain = torch.from_numpy(raw[0]).permute(2, 0, 1) / 255
    kinds = set()
    for view in undo(augment(raw, 16, "whole", generator())):
        straight, flipped = (view - plain).abs().max() < 1e-4, (view - plain.flip(-1)).abs().max() < 1e-4
        assert straight != flipped
        kinds.add(bool(flipped))
    assert kinds == {False, True}
