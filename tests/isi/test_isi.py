"""ISI against a per-patch loop, and its masks against the probabilities they claim."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rotogbml.config import IsiConfig
from rotogbml.encoders.isi import Isi, kept, min_pool
from rotogbml.encoders.patches import Neighbourhood, self_information_density
from rotogbml.errors import UsageError
from rotogbml.native import available


@pytest.fixture(autouse=True, params=["compiled", "torch"])
def passes(request, monkeypatch):
    """Every test holds with the compiled passes and without."""
    if request.param == "torch":
        monkeypatch.setattr("rotogbml.native.passes.library", lambda: None)
    elif not available():
        pytest.skip("no C compiler here")


def make(**changes: Any) -> Isi:
    settings: dict[str, Any] = {
        "layers": 2,
        "rate": 0.3,
        "T": 0.5,
        "radius": 2,
        "bandwidth": 1.0,
        "patch": 3,
        "normalize": "image",
    }
    return Isi(IsiConfig(**{**settings, **changes}))


def maps(seed: int, *shape: int) -> torch.Tensor:
    """Return random maps with a flat corner, where patches recur exactly."""
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))
    x[:, :, : shape[2] // 2, : shape[3] // 2] = 0.25
    return x


def density_by_loops(x: np.ndarray, patch: int, radius: int, bandwidth: float, over: str) -> np.ndarray:
    """Write eq. 9-10 out: one patch, one neighbour, one entry at a time."""
    b, c, h, w = x.shape
    half, reach = patch // 2, range(-radius, radius + 1)

    def window(i: int, y: int, x0: int) -> np.ndarray:
        return np.array(
            [
                x[i, channel, min(max(y + dy, 0), h - 1), min(max(x0 + dx, 0), w - 1)]
                for channel in range(c)
                for dy in range(-half, half + 1)
                for dx in range(-half, half + 1)
            ]
        )

    D = np.zeros((b, h, w, len(reach) ** 2))
    for i, y, x0 in itertools.product(range(b), range(h), range(w)):
        p = window(i, y, x0)
        for j, (dy, dx) in enumerate(itertools.product(reach, reach)):
            D[i, y, x0, j] = ((p - window(i, y + dy, x0 + dx)) ** 2).sum()
    mean = D.mean(axis=(1, 2, 3), keepdims=True) if over == "image" else D.mean()
    return np.exp(-D / mean / (2 * bandwidth**2)).mean(axis=-1)


@pytest.mark.parametrize(
    ("shape", "patch", "radius"),
    [((2, 3, 7, 5), 3, 2), ((3, 1, 6, 9), 5, 1), ((1, 2, 5, 4), 1, 3), ((2, 4, 2, 3), 3, 3), ((1, 2, 1, 6), 3, 1)],
)
@pytest.mark.parametrize("over", ["image", "batch"])
def test_density_is_the_loops(shape, patch, radius, over, monkeypatch):
    x = maps(0, *shape)
    expected = torch.from_numpy(density_by_loops(x.numpy(), patch, radius, 0.7, over))
    torch.testing.assert_close(self_information_density(x, patch, radius, 0.7, over), expected, rtol=0, atol=1e-13)
    single = self_information_density(x.float(), patch, radius, 0.7, over)
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=1e-5)
    # In groups of one image, too.
    monkeypatch.setattr("rotogbml.encoders.patches._CACHE_FLOATS", 1)
    torch.testing.assert_close(self_information_density(x, patch, radius, 0.7, over), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("T", [0.03, 1.0, "inf"])
@pytest.mark.parametrize("out", [(7, 5), (3, 2), (4, 3)])
def test_weights_and_probability_are_the_loops(T, out):
    x = maps(1, 2, 3, 7, 5)
    q = density_by_loops(x.numpy(), 3, 2, 1.0, "image")
    if out != (7, 5):
        pooled = np.zeros((2, *out))
        for y, x0 in itertools.product(range(out[0]), range(out[1])):
            pooled[:, y, x0] = q[:, 2 * y : 2 * y + 2, 2 * x0 : 2 * x0 + 2].min(axis=(1, 2))
        q = pooled
    power = q ** (1 / float(T))
    w = power / power.sum(axis=(1, 2), keepdims=True)
    k = int(0.3 * out[0] * out[1])
    isi = make(T=T)
    torch.testing.assert_close(isi.drop_weights(x, out), torch.from_numpy(w), rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(isi.drop_probability(x, out), torch.from_numpy(1 - (1 - w) ** k), rtol=1e-9, atol=1e-14)
    if T == "inf":
        assert torch.equal(isi.drop_weights(x, out), torch.full((2, *out), 1 / (out[0] * out[1]), dtype=torch.float64))


def test_float32_holds_small_temperatures():
    x = maps(2, 2, 3, 9, 9)
    double, single = make(T=0.03).drop_weights(x, (9, 9)), make(T=0.03).drop_weights(x.float(), (9, 9))
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-6)
    assert torch.isfinite(make(T=1e-6).drop_probability(x.float(), (4, 4))).all()


def test_flat_regions_go_and_outlines_stay():
    x = torch.zeros(1, 3, 20, 20)
    x[:, :, 5:15, 9:11] = 1.0
    p = make(T=0.2).drop_probability(x, (20, 20))[0]
    assert float(p[0, 0]) > 2 * float(p[9, 9])
    assert float(p[0, 0]) == pytest.approx(float(p[19, 0]), rel=1e-5)


def test_no_structure_is_uniform():
    flat = torch.full((2, 3, 6, 6), 0.7)
    w = make(T=0.03).drop_weights(flat, (3, 3))
    torch.testing.assert_close(w, torch.full((2, 3, 3), 1 / 9))
    # One neighbour only, the patch itself.
    assert torch.equal(make(radius=0).drop_weights(maps(3, 1, 2, 4, 4), (4, 4)), torch.full((1, 4, 4), 1 / 16).double())


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_images_do_not_depend_on_their_neighbours(seed, count):
    x = maps(seed, count + 1, 2, 6, 7)
    alone, together = make(), make()
    for i in range(count + 1):
        torch.testing.assert_close(
            together.drop_probability(x, (3, 3))[i], alone.drop_probability(x[i : i + 1], (3, 3))[0], rtol=1e-10, atol=0
        )
    batch = make(normalize="batch")
    scaled = x.clone()
    scaled[0] *= 10
    assert not torch.allclose(batch.drop_probability(x, (3, 3))[-1], batch.drop_probability(scaled, (3, 3))[-1])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([0.03, 0.5, "inf"]), st.floats(0, 2))
def test_weights_are_a_distribution(seed, c, T, rate):
    x = maps(seed, 2, c, 8, 6)
    isi = make(T=T, rate=rate)
    w, p = isi.drop_weights(x, (4, 3)), isi.drop_probability(x, (4, 3))
    torch.testing.assert_close(w.sum(dim=(1, 2)), torch.ones(2).double())
    assert float(p.min()) >= 0
    assert float(p.max()) <= 1
    assert bool((p.sum(dim=(1, 2)) <= int(rate * 12) + 1e-9).all())


@pytest.mark.parametrize(
    ("size", "out"), [((7, 5), (3, 2)), ((7, 5), (4, 3)), ((6, 6), (2, 2)), ((9, 9), (7, 7)), ((5, 8), (5, 4))]
)
def test_min_pool_covers_and_never_rises(size, out):
    q = torch.from_numpy(np.random.default_rng(4).random((2, *size)))
    pooled = min_pool(q, out)
    assert pooled.shape == (2, *out)
    assert set(pooled.flatten().tolist()) <= set(q.flatten().tolist())
    low = torch.ones(1, *size, dtype=torch.float64)
    low[0, 0, 0] = 0.1
    assert float(min_pool(low, out)[0, 0, 0]) == 0.1
    assert min_pool(q, size) is q


def test_a_layer_that_enlarges_is_refused():
    with pytest.raises(ValueError, match="do not enlarge"):
        make().drop_probability(maps(5, 1, 2, 4, 4), (8, 8))


def test_masks_follow_the_probability():
    """Each position's count of dropped neurons lies within 5.5 standard deviations of its binomial."""
    x = maps(6, 1, 3, 6, 6)
    isi, channels, repeats = make(T=0.3, rate=0.6), 500, 40
    p = isi.drop_probability(x, (3, 3))[0]
    mask, count = isi.draw(7), torch.zeros(3, 3)
    z = torch.ones(1, channels, 3, 3)
    for _ in range(repeats):
        count += (mask(0, x, z) == 0).sum(dim=(0, 1))
    n = channels * repeats
    assert bool(((count - n * p).abs() < 5.5 * (n * p * (1 - p)).sqrt()).all())
    assert float(p.max() / p.min()) > 2


def test_infinite_temperature_is_dropout():
    """Chi-square of neuron counts against dropout's, and of pairs in a channel against independence."""
    n, h = 40_000, 4
    isi = make(T="inf", rate=0.25)
    rate = 1 - (1 - 1 / h**2) ** 4
    kept = isi.draw(1)(0, torch.zeros(10, 1, h, h), torch.ones(10, n // 10, h, h)).flatten(0, 1).flatten(1)
    dropped = (kept == 0).double()
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    chi = ((dropped.sum(0) - n * rate) ** 2 / (n * rate * (1 - rate))).sum()
    assert float(chi) < 16 + 6 * math.sqrt(2 * 16)
    dropout = 1 - torch.nn.functional.dropout(torch.ones(n, h * h), rate).gt(0).double()
    per_channel = [torch.bincount(d.sum(1).long(), minlength=17).double() for d in (dropped, dropout)]
    assert float(((per_channel[0] - per_channel[1]) ** 2 / (per_channel[0] + per_channel[1]).clamp_min(1)).sum()) < 60
    covariance = torch.cov(dropped.T) - torch.eye(16) * rate * (1 - rate)
    assert float(covariance.abs().max()) < 6 * rate * (1 - rate) / math.sqrt(n) * 2


def test_rare_and_certain_drops():
    bits = np.random.SFC64(3)
    p = torch.tensor([[[0.0, 1.0, 2.0**-18, 0.5]]])
    z = torch.empty(1, 2**18, 1, 4)
    count = torch.stack([kept(p, z, bits).eq(0).sum(dim=(0, 1, 2)) for _ in range(64)]).sum(dim=0)
    n = 64 * 2**18
    assert count[0] == 0
    assert count[1] == n
    # All neurons of a position share the rounding of one draw, so the rare drop comes in 64 lots of 1/4.
    assert 0 < int(count[2]) < 3 * n * 2**-18
    assert abs(int(count[3]) - n / 2) < 5 * math.sqrt(n) / 2


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_whatever_compares_the_same_are_dropped(monkeypatch: pytest.MonkeyPatch, channels: int):
    """Own passes where there is a compiler, torch's operators where there is none, or a GPU."""
    p = torch.linspace(0, 1, 60).reshape(3, 5, 4)
    before = p.clone()
    z = torch.empty(3, channels, 5, 4)
    ours = kept(p, z, np.random.SFC64(7))
    monkeypatch.setattr("rotogbml.native.passes.library", lambda: None)
    theirs = kept(p, z, np.random.SFC64(7))
    assert torch.equal(ours, theirs)
    assert torch.equal(p, before)
    assert ours[0, :, 0, 0].all()
    assert not ours[-1, :, -1, -1].any()


def test_mean_of_a_rare_drop_is_exact():
    p = torch.full((1, 64, 64), 2.0**-18)
    bits = np.random.SFC64(5)
    z = torch.empty(1, 256, 64, 64)
    count = sum(int(kept(p, z, bits).eq(0).sum()) for _ in range(16))
    expected = 16 * 256 * 64 * 64 * 2.0**-18
    assert abs(count - expected) < 5 * math.sqrt(expected)


def test_nothing_is_rescaled_and_no_gradient_passes_the_mask():
    x = maps(8, 2, 3, 6, 6).requires_grad_()
    z = maps(9, 2, 5, 3, 3).add(3.0).requires_grad_()
    out = make().draw(2)(0, x, z)
    dropped = out == 0
    assert 0 < int(dropped.sum()) < dropped.numel()
    assert torch.equal(out[~dropped], z[~dropped])
    through, weights = torch.autograd.grad(out.pow(2).sum(), [z, x], allow_unused=True)
    assert weights is None
    assert torch.equal(through, torch.where(dropped, 0.0, 2 * z))
    assert not make().drop_probability(x, (3, 3)).requires_grad


def test_layers_and_the_tensor_itself():
    x, z = maps(10, 2, 3, 8, 8), maps(11, 2, 5, 4, 4)
    before = z.clone()
    two, every, none = make().draw(3), make(layers="all").draw(3), make(layers=0).draw(3)
    assert [two(layer, x, z) is z for layer in range(4)] == [False, False, True, True]
    assert not any(every(layer, x, z) is z for layer in range(4))
    assert all(none(layer, x, z) is z for layer in range(4))
    assert torch.equal(make(rate=0.0).draw(3)(0, x, z), z)
    assert torch.equal(z, before)


def test_draws_are_the_seeds_own():
    x, z = maps(12, 2, 3, 8, 8), torch.ones(2, 5, 4, 4)
    state = torch.random.get_rng_state(), repr(np.random.get_state())

    def run(seed: int) -> list[torch.Tensor]:
        mask = make().draw(seed)
        return [mask(0, x, z) for _ in range(3)]

    first, again, other = run(4), run(4), run(5)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert repr(np.random.get_state()) == state[1]


def test_images_seen_again_are_masked_as_images_seen_anew():
    x, z = maps(5, 3, 3, 12, 12), torch.ones(3, 8, 6, 6)
    again, anew = make(layers=2).draw(3), make(layers=2).draw(3)
    for other in (x, x, maps(6, 3, 3, 12, 12), x):
        assert torch.equal(again(0, other, z), anew(0, other.clone(), z))


def test_second_derivatives_pass():
    x, z = maps(13, 1, 2, 4, 4), maps(14, 1, 2, 2, 2).requires_grad_()

    def masked(z: torch.Tensor) -> torch.Tensor:
        return make().draw(6)(0, x, z).pow(3).sum()

    assert torch.autograd.gradgradcheck(masked, z)


def test_half_of_the_shifts_stand_for_all():
    near = Neighbourhood((3, 10, 8), 3, 2)
    both = set(near.shifts) | {(-dy, -dx) for dy, dx in near.shifts}
    assert both | {(0, 0)} == set(itertools.product(range(-2, 3), repeat=2))
    assert len(near.shifts) == 12


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": -1}, r"isi\.layers=-1"),
        ({"rate": -0.1}, r"isi\.rate=-0\.1"),
        ({"T": 0.0}, "temperature > 0"),
        ({"radius": -1}, r"isi\.radius"),
        ({"bandwidth": 0.0}, r"isi\.bandwidth"),
        ({"patch": 4}, "odd number of pixels"),
        ({"normalize": "both"}, "'image' or 'batch'"),
        ({"T": None}, r"isi\.T=None"),
    ],
)
def test_what_cannot_be_used_is_named(change, said):
    with pytest.raises(UsageError, match=said):
        make(**change)
