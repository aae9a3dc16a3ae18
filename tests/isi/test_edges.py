"""The control mask: the same probabilities as ISI's, by edge magnitude; and which passes are dropped in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rotogbml.config import IsiConfig
from rotogbml.encoders.edges import by_edges, edge_magnitude
from rotogbml.encoders.isi import Isi
from rotogbml.errors import UsageError


def make(**changes: Any) -> Isi:
    base: dict[str, Any] = {"layers": 2, "rate": 0.5, "T": 0.5, "radius": 2, "bandwidth": 1.0, "patch": 3}
    return Isi(IsiConfig(**{**base, "normalize": "image", **changes}))


def image(seed: int, *shape: int) -> torch.Tensor:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    x[..., : shape[-1] // 2] = 0.5
    return x


def test_magnitude_is_the_slope_of_a_plane_and_zero_where_flat():
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    plane = torch.stack([3 * rows, 4 * columns])[None].double()
    torch.testing.assert_close(edge_magnitude(plane)[0, 1:-1, 1:-1], torch.full((4, 5), 5.0).double())
    assert not edge_magnitude(torch.full((2, 3, 5, 5), 0.7)).any()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 6), st.integers(2, 6))
def test_as_many_are_dropped_and_the_flattest_most(seed, b, h, w):
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(b, h, w, generator=generator, dtype=torch.float64)
    edges = torch.randint(0, 4, (b, h, w), generator=generator).double()
    out = by_edges(p, edges)
    torch.testing.assert_close(out.sum((1, 2)), p.sum((1, 2)))
    for one, e in zip(out, edges, strict=True):
        for a in e.unique():
            assert float(one[e == a].max() - one[e == a].min()) < 1e-12  # ties share
            if (e > a).any():
                assert float(one[e == a].min()) >= float(one[e > a].max()) - 1e-12


def test_without_ties_they_are_the_very_numbers():
    p = torch.rand(2, 4, 4)
    assert torch.equal(by_edges(p, torch.rand(2, 4, 4)).flatten(1).sort(1).values, p.flatten(1).sort(1).values)


@pytest.mark.parametrize("out", [(12, 12), (6, 6)])
def test_the_mask_drops_as_much_as_isi_elsewhere(out):
    x = image(0, 3, 2, 12, 12)
    isi, edges = make().drop_probability(x, out), make(mask="edges").drop_probability(x, out)
    torch.testing.assert_close(edges.sum((1, 2)), isi.sum((1, 2)))
    assert not torch.allclose(edges, isi)
    assert float(edges[..., : out[1] // 3].mean()) > 2 * float(edges[..., -out[1] // 3 :].mean())


def test_uniform_probabilities_stay_uniform():
    x = image(1, 2, 1, 8, 8)
    torch.testing.assert_close(
        make(T="inf", mask="edges").drop_probability(x, (8, 8)), make(T="inf").drop_probability(x, (8, 8))
    )


def test_sides():
    assert [make().acts_on(side) for side in ("support", "query")] == [True, True]
    assert [make(side="support").acts_on(side) for side in ("support", "query")] == [True, False]
    assert [make(side="query").acts_on(side) for side in ("support", "query")] == [False, True]
    with pytest.raises(UsageError, match=r"isi\.side=left cannot be used"):
        make(side="left")
    with pytest.raises(UsageError, match=r"isi\.mask=corners cannot be used"):
        make(mask="corners")
