"""Compiled passes against torch's, whatever the type, the shape and the number of threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rotogbml.encoders import fused
from rotogbml.encoders.patches import self_information_density
from rotogbml.native import available, passes

pytestmark = pytest.mark.skipif(not available(), reason="no C compiler here")

SHAPES = st.tuples(st.integers(1, 5), st.integers(2, 9), st.integers(2, 9), st.sampled_from([1, 3, 64, 70, 130]))
TYPES = st.sampled_from([torch.float32, torch.float64])


def near(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> None:
    rtol, atol = (1e-13, 1e-13) if dtype == torch.float64 else (1e-5, 1e-4)
    torch.testing.assert_close(a.to(dtype), b.to(dtype), rtol=rtol, atol=atol)


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, dtype=TYPES, tied=st.booleans(), seed=st.integers(0, 999))
def test_each_pass_is_torchs(shape: tuple[int, int, int, int], dtype: torch.dtype, tied: bool, seed: int) -> None:
    b, c = shape[0], shape[3]
    g = torch.Generator().manual_seed(seed)
    y, u = torch.randn(2, *shape, generator=g, dtype=dtype)
    y = (3 * y).round() if tied else y + 100  # means far from 0 must not spoil variances
    sign = torch.randn(c, generator=g).sign().to(dtype)
    seen = int(torch.randint(1, b + 1, (), generator=g))
    best, where, mean, variance = passes.pool(y, sign, seen)
    _, index = torch.nn.functional.max_pool2d((y * sign).permute(0, 3, 1, 2), 2, return_indices=True)
    assert torch.equal(best, fused._winners(y, index))
    assert torch.equal(passes.winners(u, where), fused._winners(u, index))
    measured = y[:seen].double().reshape(-1, c)
    near(mean, measured.mean(0), dtype)
    near(variance, measured.var(0, correction=0), dtype)

    plain, along = passes.sums(u, y, mean)
    near(plain, u.double().sum((0, 1, 2)), dtype)
    near(along, (u.double() * (y.double() - mean.double())).sum((0, 1, 2)), dtype)

    slope, level, by = torch.randn(3, c, generator=g, dtype=dtype)
    at = torch.randn(best.shape, generator=g, dtype=dtype)
    for more in (None, (u, by)):
        ours = passes.dense_and_winners(y, seen, slope, level, at, where, more)
        near(ours, fused._dense_and_winners(y, seen, slope, level, at, index, more), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_of_threads_does_not_matter(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "_ALONE", 0)
    g = torch.Generator().manual_seed(0)
    y, u = torch.randn(2, 5, 8, 7, 12, generator=g, dtype=dtype)
    sign, slope, level, by = torch.randn(4, 12, generator=g, dtype=dtype)
    fates = torch.randint(0, 2**15, (5, 8, 7, 12), generator=g, dtype=torch.int16)
    threshold = torch.randint(0, 2**15, (5, 8, 7), generator=g, dtype=torch.int32)

    def everything(threads: int) -> list[torch.Tensor]:
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        best, where, *moments = passes.pool(y, sign.sign(), 3)
        return [
            *(best, where, *moments, *passes.sums(u, y, sign), passes.winners(u, where)),
            passes.dense_and_winners(y, 3, slope, level, best, where, (u, by)),
            *passes.pool_each(y, sign.sign()),
            passes.dense_and_winners(y, 5, u[:, :1, :1], y[:, :1, :1], best, where, (u, u[:, 1:2, 1:2])),
            *passes.density(y.permute(0, 3, 1, 2), 3, 2, 1.0, None),
            passes.kept(fates, threshold, y),
        ]

    alone = everything(1)
    for threads in (2, 3, 5, 8):
        for a, b in zip(everything(threads), alone, strict=True):
            assert torch.equal(a, b)


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, dtype=TYPES, seed=st.integers(0, 999))
def test_images_with_numbers_of_their_own_are_done_one_by_one(
    shape: tuple[int, int, int, int], dtype: torch.dtype, seed: int
) -> None:
    b, c = shape[0], shape[3]
    g = torch.Generator().manual_seed(seed)
    y, u = torch.randn(2, *shape, generator=g, dtype=dtype)
    y += (
        100 * torch.arange(b).to(dtype)[:, None, None, None]
    )  # a mean far from its neighbours' must not spoil variances
    sign = torch.randn(c, generator=g).sign().to(dtype)
    slope, level, by = torch.randn(3, b, 1, 1, c, generator=g, dtype=dtype)
    best, where, mean, variance = passes.pool_each(y, sign)
    dense = passes.dense_and_winners(y, b, slope, level, best, where, (u, by))
    for i in range(b):
        one = slice(i, i + 1)
        alone = passes.pool(y[one], sign, 1)
        assert torch.equal(best[one], alone[0])
        assert torch.equal(where[one], alone[1])
        measured = y[i].double().reshape(-1, c)
        near(mean[i], measured.mean(0), dtype)
        near(variance[i], measured.var(0, correction=0), dtype)
        of = slope[i].flatten(), level[i].flatten(), best[one], where[one], (u[one], by[i].flatten())
        assert torch.equal(dense[one], passes.dense_and_winners(y[one], 1, *of))


@pytest.mark.parametrize("channels", [1, 3, 15, 16, 17, 64])
@pytest.mark.parametrize("channels_last", [False, True])
def test_density_takes_any_layout(channels: int, channels_last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, channels, 9, 11, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    laid = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    ours = self_information_density(laid, 3, 2, 1.0, "image")
    monkeypatch.setattr(passes, "library", lambda: None)
    torch.testing.assert_close(ours, self_information_density(x, 3, 2, 1.0, "image"), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("at", [0, 1, 777])
def test_one_place_far_from_all_others_does_not_spoil_a_variance(dtype: torch.dtype, at: int) -> None:
    """The first above all, which once was the centre: 1.5 % off in float32."""
    y = torch.ones(8, 42, 42, 3, dtype=dtype)
    y.view(-1, 3)[at] = torch.tensor([5.3, -40.0, 1000.0], dtype=dtype)
    variance = passes.pool(y, torch.ones(3, dtype=dtype), 8)[3].double()
    expected = y.double().var((0, 1, 2), correction=0)
    assert ((variance - expected).abs() <= 64 * torch.finfo(dtype).eps * expected).all()


def test_what_is_not_finite_stays_so() -> None:
    """Else a run that has exploded would go on in silence."""
    for bad in (float("nan"), float("inf")):
        y = torch.zeros(2, 4, 4, 3)
        y[1, 2, 3, 1] = bad
        _, _, mean, variance = passes.pool(y, torch.ones(3), 2)
        assert not mean[1].isfinite()
        assert not variance[1].isfinite()
        assert mean[[0, 2]].isfinite().all()
        assert not passes.sums(y, torch.ones_like(y), torch.zeros(3))[0][1].isfinite()


def test_only_what_has_a_pass_is_taken() -> None:
    assert passes.takes(torch.zeros(1))
    assert passes.takes(torch.zeros(1, dtype=torch.float64))
    assert not passes.takes(torch.zeros(1, dtype=torch.bfloat16))
    assert not passes.takes(torch.zeros(1, device="meta"))
