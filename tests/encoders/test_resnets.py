"""The residual encoders: sizes and parameter counts by formula, and each written out in plain functions."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders import NormPass, create_encoder, list_encoders
from rotogbml.errors import UsageError
from rotogbml.learners import LinearHead, Network

RESNETS = ["resnet10", "resnet10-small", "resnet12", "resnet18", "resnet18-small"]


def make(name: str, size: int = 16, width: int = 2, norm: str = "batch", sets: int = 1) -> Network:
    """Return a float64 network with scales and shifts of either sign, so that no symmetry hides a mistake."""
    encoder = create_encoder(name, size=size, width=width, norm=norm, sets=sets)
    network = Network(encoder, LinearHead(encoder.feature_dim, 3))
    network.initialise(0)
    encoder.double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in encoder.parameters():
            if p.ndim < 4:
                p.add_(0.5 * torch.randn(p.shape, generator=g, dtype=torch.float64))
    return network


def images(n: int, size: int) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def count(name: str, w: int, sets: int = 1) -> int:
    """Sum filters, and two numbers a channel for each norm, from the published tables."""
    if name in ("conv4", "conv4-np"):
        return 9 * (3 * w + 3 * w * w) + 4 * 2 * w * sets
    if name == "resnet12":
        channels = [3, w, 5 * w // 2, 5 * w, 10 * w]
        return sum(10 * a * b + 18 * b * b + 4 * 2 * b * sets for a, b in itertools.pairwise(channels))
    blocks = 2 if "18" in name else 1
    total = 3 * w * (9 if "small" in name else 49) + 2 * w * sets
    for stage in range(4):
        c = w * 2**stage
        c_in = w if stage == 0 else c // 2
        total += 9 * c_in * c + 9 * c * c + 2 * 2 * c * sets  # the first block
        total += (blocks - 1) * (2 * 9 * c * c + 2 * 2 * c * sets)
        total += 0 if c_in == c else c_in * c + 2 * c * sets  # its shortcut
    return total


def parameters(encoder: torch.nn.Module) -> int:
    return sum(p.numel() for p in encoder.parameters())


@pytest.mark.parametrize("name", list_encoders())
@pytest.mark.parametrize(("width", "norm", "sets"), [(64, "batch", 1), (6, "per-step", 3), (3, "none", 1)])
def test_the_number_of_parameters_is_the_formulas(name: str, width: int, norm: str, sets: int) -> None:
    with torch.device("meta"):
        encoder = create_encoder(name, size=84, width=width, norm=norm, sets=sets)
    assert parameters(encoder) == count(name, width, sets)


def test_the_published_sizes() -> None:
    published = {  # resnet18: torchvision's 11,689,512 less its classifier's 513,000
        "conv4": (112_832, 1600),
        "conv4-np": (112_832, 64 * 19 * 19),
        "resnet10": (4_905_792, 512),
        "resnet10-small": (4_898_112, 512),
        "resnet12": (12_424_320, 640),
        "resnet18": (11_689_512 - 513_000, 512),
        "resnet18-small": (11_168_832, 512),
    }
    with torch.device("meta"):
        made = {name: create_encoder(name, size=84) for name in list_encoders()}
    assert {name: (parameters(e), e.feature_dim) for name, e in made.items()} == published


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("size", [16, 17, 31, 42])
def test_any_size_from_16_gives_the_same_number_of_features(name: str, size: int) -> None:
    network = make(name, size=size)
    z = network.encoder(images(3, size))
    assert z.shape == (3, network.feature_dim)
    assert network.feature_dim == (20 if name == "resnet12" else 16)
    assert z.isfinite().all()


@pytest.mark.parametrize(("name", "said"), [("resnet10-small", "resnets halve"), ("resnet12", "resnet12 halves")])
def test_smaller_images_are_refused(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"{said}.*15 px is too small, pack with --size 16 or more"):
        create_encoder(name, size=15)
    with pytest.raises(UsageError, match="width=0"):
        create_encoder(name, size=16, width=0)


@pytest.mark.parametrize(
    ("name", "size", "maps"),
    [
        ("resnet10", 224, [56, 56, 28, 14, 7]),
        ("resnet10", 84, [21, 21, 11, 6, 3]),
        ("resnet10-small", 84, [42, 42, 21, 11, 6]),
        ("resnet18-small", 42, [21, 21, 21, 11, 11, 6, 6, 3, 3]),
        ("resnet12", 84, [42, 21, 10, 5]),
    ],
)
def test_the_maps_are_as_large_as_published(name: str, size: int, maps: list[int]) -> None:
    seen: list[int] = []

    def watch(layer: int, x: Tensor, z: Tensor) -> Tensor:
        assert layer == len(seen)
        seen.append(z.shape[-1])
        return z

    create_encoder(name, size=size, width=1)(torch.zeros(1, 3, size, size), watch)
    assert seen == maps


def normed(theta: dict[str, Tensor], norm: str, z: Tensor) -> Tensor:
    mean, variance = z.mean((0, 2, 3), keepdim=True), z.var((0, 2, 3), correction=0, keepdim=True)
    weight, bias = theta[f"{norm}.weight"], theta[f"{norm}.bias"]
    return (z - mean) / (variance + 1e-5).sqrt() * weight[:, None, None] + bias[:, None, None]


def by_hand(name: str, theta: dict[str, Tensor], x: Tensor) -> Tensor:
    """Apply ReLU before the pool, as published; norms from primitives."""
    if name == "resnet12":
        for i in range(4):
            z = x
            for j in range(3):
                z = F.conv2d(z, theta[f"blocks.{i}.convs.{j}.weight"], padding=1)
                z = normed(theta, f"blocks.{i}.norms.{j}", z)
                z = F.leaky_relu(z, 0.1) if j < 2 else z
            beside = normed(theta, f"blocks.{i}.shortcut_norm", F.conv2d(x, theta[f"blocks.{i}.shortcut.weight"]))
            x = F.max_pool2d(F.leaky_relu(z + beside, 0.1), 2)
        return x.flatten(2).mean(2)
    small, filters = "small" in name, theta["stem.conv.weight"]
    x = F.conv2d(x, filters, padding=1) if small else F.conv2d(x, filters, stride=2, padding=3)
    x = F.relu(normed(theta, "stem.norm", x))
    x = F.max_pool2d(x, 2) if small else F.max_pool2d(x, 3, 2, 1)
    for i in range(4 if "10" in name else 8):
        b = f"blocks.{i}"
        halves = f"{b}.shortcut.weight" in theta
        assert halves == (i in ((1, 2, 3) if "10" in name else (2, 4, 6)))
        z = F.conv2d(x, theta[f"{b}.conv1.weight"], stride=2 if halves else 1, padding=1)
        z = normed(
            theta, f"{b}.norm2", F.conv2d(F.relu(normed(theta, f"{b}.norm1", z)), theta[f"{b}.conv2.weight"], padding=1)
        )
        if halves:
            x = normed(theta, f"{b}.shortcut_norm", F.conv2d(x, theta[f"{b}.shortcut.weight"], stride=2))
        x = F.relu(z + x)
    return x.flatten(2).mean(2)


@pytest.mark.parametrize("name", RESNETS)
def test_each_is_what_plain_functions_make_of_it(name: str) -> None:
    network, x = make(name, size=33), images(4, 33)
    theta = network.psi().theta
    z, expected = network.features(theta, x), by_hand(name, theta, x)
    torch.testing.assert_close(z, expected, rtol=1e-9, atol=1e-10)
    ours, theirs = (torch.autograd.grad(f.pow(2).sum(), list(theta.values())) for f in (z, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("norm", ["support", "group", "per-step"])
def test_second_derivatives_by_central_differences(name: str, norm: str) -> None:
    """H v along a random v, the product that iMAML and second-order MAML take."""
    network, x, at = make(name, size=32, norm=norm, sets=2), images(3, 32), NormPass(step=1, given=2)
    theta = network.psi().theta
    g = torch.Generator().manual_seed(3)
    # Short steps: a longer one would cross kinks of ReLU and max-pool, of which there are thousands.
    v, u = ({n: 0.01 * torch.randn(p.shape, generator=g, dtype=torch.float64) for n, p in theta.items()} for _ in "vu")

    def slope(point: dict[str, Tensor], graph: bool) -> Tensor:
        gradient = torch.autograd.grad(
            network.features(point, x, None, at).pow(2).mean(), list(point.values()), create_graph=graph
        )
        return torch.stack([(a * b).sum() for a, b in zip(gradient, u.values(), strict=True)]).sum()

    along = torch.autograd.grad(slope(theta, True), list(theta.values()))
    ours = sum((a * b).sum().item() for a, b in zip(along, v.values(), strict=True))
    ε = 1e-6
    up, down = (slope({n: p + s * v[n] for n, p in theta.items()}, False).item() for s in (ε, -ε))
    assert ours == pytest.approx((up - down) / (2 * ε), rel=1e-5)


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("norm", ["batch", "per-step"])
def test_filters_are_drawn_by_name_and_norms_start_at_one_and_nought(name: str, norm: str) -> None:
    encoder = create_encoder(name, size=16, width=16, norm=norm, sets=2)
    network = Network(encoder, LinearHead(encoder.feature_dim, 3))
    network.initialise(0)
    for n, p in network.psi().theta.items():
        if p.ndim == 4:
            fan_in = p[0].numel()
            # Five standard deviations of the spread of so many draws.
            assert p.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=5 / (2 * p.numel()) ** 0.5), n
        else:
            assert torch.equal(p, torch.full_like(p, float(n.endswith("weight")))), n
            assert p.ndim == (2 if norm == "per-step" else 1)
    names = {n for n, p in network.psi().theta.items() if p.ndim == 4 and "conv" in n}
    again = create_encoder(name, size=16, width=16)
    other = Network(again, LinearHead(again.feature_dim, 3))
    other.initialise(1)
    assert not any(torch.equal(network.psi().theta[n], other.psi().theta[n]) for n in names)
