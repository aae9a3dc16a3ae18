"""A module of the user's: what it gives, what cannot work, and that nothing outside it moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from rotogbml.encoders import Given, NormPass, create_encoder
from rotogbml.errors import UsageError
from rotogbml.learners import LinearHead, Network

SIZE = 8


class Net(nn.Module):
    """A convolution, a norm with statistics, a fixed buffer and dropout; two layers for ISI."""

    isi_layers = ("first", "second.0")

    def __init__(self, size: int = SIZE) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.second = nn.Sequential(nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.ReLU())
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("shift", torch.full((1, 5, 1, 1), 0.25))
        self.register_buffer("count", torch.tensor([1, 2, 3]))
        self.made_for = size

    def forward(self, x: Tensor) -> Tensor:
        z = self.second(torch.relu(self.bn(self.first(x)))) + self.shift
        return self.dropout(z.mean((2, 3)))


def images(n: int = 4) -> Tensor:
    return torch.randn(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def build(forward: Any, **parts: Any) -> nn.Module:
    """Return a module named Mine with these parts, whose forward pass is ``forward(self, x)``."""
    module = type("Mine", (nn.Module,), {"forward": forward})()
    for name, part in ({"conv": nn.Conv2d(3, 2, 3)} | parts).items():
        if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
            module.register_buffer(name, part)
        else:
            setattr(module, name, part)
    return module


def pooled(self: Any, x: Tensor) -> Tensor:
    return self.conv(x).mean((2, 3))


def test_it_gives_what_the_module_gives_in_eval_mode() -> None:
    module = Net()
    with torch.no_grad():
        module.bn.running_mean.fill_(0.5)
    encoder = create_encoder(module, size=SIZE)
    assert isinstance(encoder, Given)
    assert (encoder.feature_dim, encoder.layers, encoder.norm) == (5, 2, "as given")
    encoder.train()
    assert encoder.training
    assert not any(m.training for m in module.modules())
    expected = module(images())
    for at in (None, NormPass(step=1, given=2, seen={})):
        assert torch.equal(encoder(images(), None, at), expected)
    again = create_encoder(encoder, size=SIZE)
    assert isinstance(again, Given)
    assert again.module is module


def test_making_it_leaves_weights_buffers_hooks_and_generators_alone() -> None:
    module = Net()
    before = {name: t.clone() for name, t in module.state_dict().items()}
    state = torch.get_rng_state()
    network = Network(create_encoder(module, size=SIZE), LinearHead(5, 3))
    network.initialise(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    assert not any(m._forward_hooks for m in module.modules())
    assert all(p.grad is None for p in module.parameters())
    assert network.head.weight.any()


def test_explicit_parameters_with_fixed_buffers_to_the_second_derivative() -> None:
    module = Net().double()
    encoder = create_encoder(module, size=SIZE)
    network = Network(encoder, LinearHead(5, 3))
    theta = network.psi().theta
    assert set(theta) == {f"module.{name}" for name, _ in module.named_parameters()}
    x = images().double()
    buffers = {name: b.clone() for name, b in module.named_buffers()}
    moved = {name: p.detach() + 0.1 for name, p in theta.items()}
    inner = {name.removeprefix("module."): p for name, p in moved.items()}
    assert torch.equal(network.features(moved, x), functional_call(module, {**inner, **buffers}, x))
    assert not torch.equal(network.features(moved, x), network.features(theta, x))
    names = list(theta)

    def f(*values: Tensor) -> Tensor:
        return network.features(dict(zip(names, values, strict=True)), x[:2]).pow(2).sum()

    g = torch.Generator().manual_seed(1)
    values = [torch.randn(p.shape, generator=g).mul(0.5).double().requires_grad_() for p in theta.values()]
    assert torch.autograd.gradgradcheck(f, values)
    assert all(torch.equal(b, buffers[name]) for name, b in module.named_buffers())


def test_isi_acts_on_the_layers_that_are_named_and_leaves_no_hook() -> None:
    module = Net()
    encoder = create_encoder(module, size=SIZE)
    seen: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []

    def half(layer: int, x: Tensor, z: Tensor) -> Tensor:
        seen.append((layer, tuple(x.shape), tuple(z.shape)))
        return z * 0.5 if layer == 1 else z

    z = encoder(images(), half)
    assert seen == [(0, (4, 3, 8, 8), (4, 4, 8, 8)), (1, (4, 4, 8, 8), (4, 5, 4, 4))]
    # The last named layer is a convolution under a ReLU: half of it is half of what is above the shift.
    torch.testing.assert_close(z - 0.25, (module(images()) - 0.25) / 2)
    assert not any(m._forward_hooks for m in module.modules())

    def fail(layer: int, x: Tensor, z: Tensor) -> Tensor:
        raise KeyError(layer)

    with pytest.raises(KeyError):
        encoder(images(), fail)
    assert not any(m._forward_hooks for m in module.modules())


def test_without_named_layers_isi_is_refused() -> None:
    encoder = create_encoder(build(pooled), size=SIZE)
    assert encoder.layers == 0
    with pytest.raises(UsageError, match="ISI cannot act on Mine, which names no layers: give it an attribute isi"):
        encoder(images(), lambda layer, x, z: z)


def counting(self: Any, x: Tensor) -> Tensor:
    self.n += 1
    return pooled(self, x)


def touching(self: Any, x: Tensor) -> Tensor:
    self.n.mul_(1)  # the same value, but a graph that holds the buffer is spoilt
    return pooled(self, x)


def replacing(self: Any, x: Tensor) -> Tensor:
    self.n = self.n + 0
    return pooled(self, x)


def in_place_batch_norm(self: Any, x: Tensor) -> Tensor:
    return F.batch_norm(self.conv(x), self.mean, self.variance, training=True).pow(2).mean((2, 3))


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "a map": (
        build(lambda self, x: self.conv(x)),
        r"to \[2, 2, 6, 6\], but features are \[2, m\]: end it",
    ),
    "the batch lost": (build(lambda self, x: self.conv(x).mean((0, 2, 3))), r"to \[2\], but features are \[2, m\]"),
    "one image squeezed": (
        build(lambda self, x: pooled(self, x).squeeze()),
        r"\[1, 3, 8, 8\] to \[2\], but",
    ),
    "images in one row": (build(lambda self, x: self.conv(x).reshape(1, -1)), r"to \[1, 144\], but"),
    "m of the batch": (
        build(lambda self, x: self.conv(x).mean((2, 3)).repeat(1, len(x))),
        "2 features for one",
    ),
    "a tuple": (build(lambda self, x: (pooled(self, x), x)), "to tuple, but features are"),
    "integers": (build(lambda self, x: pooled(self, x).long()), "type int64"),
    "not finite": (build(lambda self, x: pooled(self, x) / 0), "not all finite"),
    "no parameters": (nn.Flatten(), "Flatten has no parameters, so there is nothing to learn"),
    "integer parameters": (
        build(pooled, table=nn.Parameter(torch.arange(3), requires_grad=False)),
        "parameter 'table' of Mine is int64.*register_buffer",
    ),
    "complex parameters": (
        build(pooled, phase=nn.Parameter(torch.ones(2, dtype=torch.complex64))),
        "parameter 'phase' of Mine is complex64.*register_buffer",
    ),
    "frozen parameters": (
        build(pooled, conv=nn.Conv2d(3, 2, 3).requires_grad_(False)),
        r"'conv\.weight' of Mine is frozen.*requires_grad_\(True\)",
    ),
    "unused parameters": (
        build(pooled, fc=nn.Linear(2, 2)),
        r"do not depend on its parameter 'fc\.weight' and 1 more: remove",
    ),
    "detached": (build(lambda self, x: pooled(self, x).detach()), r"'conv\.weight' and 1 more.*do not detach"),
    "lazy": (build(pooled, conv=nn.LazyConv2d(2, 3)), "weights without a shape yet: call it once"),
    "a buffer written": (build(counting, n=torch.zeros(())), "'n' of Mine changes in a forward pass, in eval mode"),
    "a buffer touched": (build(touching, n=torch.zeros(())), "'n' of Mine changes"),
    "a buffer replaced": (build(replacing, n=torch.zeros(())), "'n' of Mine changes"),
    "running statistics": (
        build(in_place_batch_norm, mean=torch.zeros(2), variance=torch.ones(2)),
        "'mean' of Mine changes",
    ),
    "noise": (
        build(lambda self, x: pooled(self, x + torch.randn_like(x))),
        "draw nothing at random",
    ),
    "dropout that stays": (build(lambda self, x: pooled(self, F.dropout(x, 0.5))), "draw nothing at random"),
    "images too small": (
        nn.Sequential(nn.Conv2d(3, 2, 11), nn.Flatten()),
        r"Sequential fails on images \[2, 3, 8, 8\] \(.*Kernel size.*\): mend it, or pack images",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_the_mend(case: str) -> None:
    module, said = REFUSED[case]
    state = torch.get_rng_state()
    with pytest.raises(UsageError, match=said) as refusal:
        create_encoder(module, size=SIZE)
    assert "\n" not in str(refusal.value)
    if "random" not in said:
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("first", "is 'first': give a tuple of names"),
        (("frist",), r"names 'frist', which is none of its submodules: there are first, bn, second, second\.0"),
        (("second.0", "first"), r"is second\.0, first, but in a pass there ran: first, second\.0; name each"),
        (("first", "first"), "names 'first' 2 times: name it once"),
        (("dropout",), r"'dropout' maps \[2, 5\] to \[2, 5\]; name submodules whose first argument is a map"),
    ],
)
def test_layers_that_isi_cannot_act_on_are_refused(layers: Any, said: str) -> None:
    module = Net()
    module.isi_layers = layers
    with pytest.raises(UsageError, match=said):
        create_encoder(module, size=SIZE)


def test_a_layer_that_enlarges_its_map_is_refused() -> None:
    module = build(lambda self, x: self.up(self.conv(x)).mean((2, 3)), up=nn.Upsample(scale_factor=2))
    module.isi_layers = ["up"]
    with pytest.raises(UsageError, match=r"'up' enlarges its map, \[2, 2, 6, 6\] to \[2, 2, 12, 12\]"):
        create_encoder(module, size=SIZE)


@pytest.mark.parametrize(("option", "value"), [("norm", "running"), ("width", 32)])
def test_norm_and_width_are_the_modules_own(option: str, value: Any) -> None:
    for name in (Net(), "my_nets:Net"):
        with pytest.raises(UsageError, match=f"{option}={value} with an encoder of your own .*: leave {option} out"):
            create_encoder(name, size=SIZE, **{option: value})
