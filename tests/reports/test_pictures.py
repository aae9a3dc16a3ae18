from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from rotogbml.reports.pictures import SIDE, episode_picture, heat, mask_pictures, png
from rotogbml.reports.record import Example


def decode(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB"))


def example(n_way: int = 2, k_shot: int = 1, n_query: int = 3) -> Example:
    query_y = np.tile(np.arange(n_way), n_query)
    ours = query_y.copy()
    ours[0] = (ours[0] + 1) % n_way
    grey = np.arange(n_way, dtype=np.uint8) * (200 // n_way) + 20
    return Example(
        target="lao",
        classes=[f"class {i}" for i in range(n_way)],
        support_x=np.broadcast_to(grey.repeat(k_shot)[:, None, None, None], (n_way * k_shot, 20, 20, 3)).copy(),
        support_y=np.arange(n_way).repeat(k_shot),
        query_x=np.broadcast_to(grey[query_y][:, None, None, None], (len(query_y), 20, 20, 3)).copy(),
        query_y=query_y,
        predictions={"ours": ours, "all wrong": (query_y + 1) % n_way},
    )


def test_a_png_keeps_few_colours_exactly_and_is_bounded() -> None:
    pixels = np.zeros((30, 20, 3), np.uint8)
    pixels[:, 10:] = (200, 10, 60)
    assert np.array_equal(decode(png(pixels)), pixels)
    assert decode(png(np.zeros((300, 200, 3), np.uint8))).shape == (SIDE, SIDE * 2 // 3, 3)


def test_an_episode_marks_right_and_wrong_under_the_true_class() -> None:
    picture = episode_picture(example(), "ours")
    assert (picture.right, picture.total) == (5, 6)
    assert picture.others == [("all wrong", 0)]
    first, second = picture.strips
    assert [query.right for query in first.queries] == [False, True, True]
    assert first.queries[0].predicted == "class 1"
    assert all(query.right for query in second.queries)
    assert decode(second.queries[0].uri)[0, 0].tolist() == [120, 120, 120]


def test_a_large_episode_is_cut_and_says_by_how_much() -> None:
    picture = episode_picture(example(n_way=30, k_shot=7, n_query=9), "ours")
    assert len(picture.strips) == 20
    assert picture.more_classes == 10
    strip = picture.strips[0]
    assert (len(strip.support), strip.more_support) == (1, 6)
    assert (len(strip.queries), strip.more_queries) == (2, 7)
    assert picture.total == 270


def test_heat_is_brightest_where_the_weight_is_largest() -> None:
    weight = np.zeros((4, 4))
    weight[3, 3] = 1.0
    laid = heat(np.full((8, 8, 3), 128, np.uint8), weight).astype(int).sum(axis=-1)
    assert laid[7, 7] == laid.max() > laid[0, 0] == laid.min()
    flat = heat(np.full((8, 8, 3), 128, np.uint8), np.full((4, 4), 0.1))
    assert (flat == flat[0, 0]).all()


def test_masks_hand_images_between_0_and_1_and_give_their_range() -> None:
    seen: list[np.ndarray] = []

    def drop(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return np.linspace(0.1, 0.4, 100).reshape(1, 10, 10)

    pictures = mask_pictures([example(), example()], drop, most=3)
    assert len(pictures) == 3
    assert seen[0].shape == (1, 3, 20, 20)
    assert seen[0].dtype == np.float32
    assert seen[0].max() == np.float32(20 / 255)
    assert (pictures[0].low, pictures[0].high) == pytest.approx((0.1, 0.4))
    assert pictures[0].name == "lao: class 0"
