"""ISI at "each layer" of every encoder: called once a layer, its masks act, its windows lie where the layer looks."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from rotogbml.config import IsiConfig
from rotogbml.encoders import Encoder, create_encoder, list_encoders
from rotogbml.encoders.isi import Isi, min_pool
from rotogbml.learners import LinearHead, Network

SIZE = 32
WIDTH = 4


class Mine(nn.Sequential):
    """A user's module that names its layers."""

    isi_layers = ("0", "2")

    def __init__(self) -> None:
        conv = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 5, stride=3)
        super().__init__(*conv, nn.AdaptiveAvgPool2d(2), nn.Flatten())


ENCODERS = [*list_encoders(), "mine"]


def make(name: str) -> Encoder:
    if name == "mine":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return create_encoder(Mine().double(), size=SIZE)
    encoder = create_encoder(name, size=SIZE, width=WIDTH, norm="layer")
    Network(encoder, LinearHead(encoder.feature_dim, 3)).initialise(0)
    with torch.no_grad():
        for _, p in encoder.named_parameters():
            if p.ndim == 1:
                p.add_(torch.rand(p.shape, generator=torch.Generator().manual_seed(1)))
    return encoder.to(torch.float64)


def isi(**changes: object) -> Isi:
    settings = {"layers": "all", "rate": 0.9, "T": 1.0, "radius": 1, "bandwidth": 1.0, "patch": 3, "normalize": "image"}
    return Isi(IsiConfig(**{**settings, **changes}))


def images() -> Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@torch.no_grad()
@pytest.mark.parametrize("name", ENCODERS)
def test_each_layer_is_called_for_once_and_its_mask_acts(name: str) -> None:
    encoder, x = make(name), images()
    mask = isi().draw(1)
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    dropped: list[tuple[int, int]] = []

    def watch(layer: int, x: Tensor, z: Tensor) -> Tensor:
        assert layer == len(shapes)
        shapes.append((tuple(x.shape), tuple(z.shape)))
        kept = mask(layer, x, z)
        gone = (kept == 0) & (z != 0)
        assert torch.equal(kept[~gone], z[~gone])  # nothing is rescaled
        dropped.append((int(gone.sum()), z.shape[-1] * z.shape[-2]))
        return kept

    z = encoder(x, watch)
    assert len(shapes) == encoder.layers
    assert shapes[0][0] == tuple(x.shape)
    if name != "mine":  # a layer's output is the next one's input, and the last one's is what is pooled or flattened
        assert all(out == into for (_, out), (into, _) in itertools.pairwise(shapes))
    # Of a map of one position, int(0.9 · 1) = 0 are dropped.
    assert all(bool(gone) == (positions > 1) for gone, positions in dropped)
    assert not torch.equal(z, encoder(x))
    assert torch.equal(encoder(x, isi(rate=0.0).draw(1)), encoder(x))


@torch.no_grad()
@pytest.mark.parametrize("name", list_encoders())
def test_what_a_layer_drops_is_lost_to_all_that_follow(name: str) -> None:
    encoder, x = make(name), images()
    for chosen in range(encoder.layers):
        z = encoder(x, lambda layer, x, z, chosen=chosen: z * 0 if layer == chosen else z)
        # Blank maps have no place: every image gives the same features, and after the last layer none at all.
        assert float((z - z[0]).abs().max()) < 1e-12
        assert bool(z.any()) == (chosen < encoder.layers - 1)


@pytest.mark.parametrize("name", ENCODERS)
def test_gradients_pass_the_masks_and_are_finite_to_the_second(name: str) -> None:
    encoder = make(name)
    parameters = [p for _, p in encoder.named_parameters()]
    loss = encoder(images(), isi().draw(2)).pow(2).mean()
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    second = torch.autograd.grad(sum(g.pow(2).sum() for g in gradient), parameters, allow_unused=True)
    assert all(bool(g.isfinite().all()) for g in [*gradient, *(s for s in second if s is not None)])
    assert all(bool(g.any()) for g, p in zip(gradient, parameters, strict=True) if p.ndim == 4)


def uses(n: int, m: int) -> Tensor:
    """[m, n] whether the weight of an output position changes with an input position, one axis of ``min_pool``."""
    q = torch.ones(n, n) - torch.eye(n)
    return min_pool(q[:, :, None], (m, 1))[:, :, 0].T == 0


@pytest.mark.parametrize("n", [*range(1, 101), 224])
def test_windows_lie_within_what_an_output_position_looks_at(n: int) -> None:
    """For every layer there is: its output side m, and the first and last input that output i depends on."""
    layers = {
        "3×3 and pool by 2": (n // 2, lambda i: (2 * i - 1, 2 * i + 2)),
        "3×3 by 2": (-(-n // 2), lambda i: (2 * i - 1, 2 * i + 1)),
        "7×7 by 2 and pool by 2": (-(-n // 4), lambda i: (4 * i - 5, 4 * i + 5)),
        "3×3": (n, lambda i: (i - 1, i + 1)),
    }
    for what, (m, field) in layers.items():
        if m == 0 or ("7×7" in what and n < 16):
            continue
        windows = uses(n, m)
        for i, window in enumerate(windows):
            at = window.nonzero().flatten().tolist()
            first, last = field(i)
            assert at, (what, i)
            assert first <= at[0] <= at[-1] <= last, (what, i)
        assert not (windows.sum(0) > 1).any(), what  # no position counts twice
        assert int(windows.sum()) > n - n / m - 1, what  # and less than a window is left out at the end
