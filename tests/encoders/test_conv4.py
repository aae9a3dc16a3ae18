"""conv4: its feature size, its order of operations, its weights, what it shows to ISI."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.encoders import create_encoder, fused, list_encoders
from rotogbml.errors import UsageError
from rotogbml.learners import LinearHead, Network


def images(size: int, n: int = 4) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("size", "width", "m"),
    [(16, 64, 64), (28, 64, 64), (42, 64, 256), (84, 64, 1600), (17, 4, 4), (31, 4, 4), (33, 4, 16)],
)
def test_the_feature_size_is_worked_out(size: int, width: int, m: int) -> None:
    encoder = create_encoder("conv4", size=size, width=width)
    assert encoder.feature_dim == m
    assert encoder(images(size, 2)).shape == (2, m)


@pytest.mark.parametrize("size", [1, 15])
def test_an_image_that_cannot_be_halved_four_times_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"{size} px is too small, pack with --size 16 or more"):
        create_encoder("conv4", size=size)


def test_an_unknown_encoder_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"no encoder 'conv5' \(did you mean 'conv4'\?\)"):
        create_encoder("conv5", size=16)
    assert list_encoders() == [
        "conv4",
        "conv4-np",
        "resnet10",
        "resnet10-small",
        "resnet12",
        "resnet18",
        "resnet18-small",
    ]


@pytest.mark.parametrize("how", ["stock", "small maps", "large maps", "compiled"])
def test_relu_before_the_pool_gives_the_same_to_the_bit(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for large maps and compiled passes, which scale and shift after the pool: those to rounding."""
    monkeypatch.setenv("ROTOGBML_FUSED", "0" if how == "stock" else "1")
    monkeypatch.setattr(fused, "_TINY", 0)
    monkeypatch.setattr(fused, "_COMPILED", 0)
    if how == "large maps":
        monkeypatch.setattr(fused, "_LARGE", 0)
    if how != "compiled":
        monkeypatch.setattr("rotogbml.native.passes.library", lambda: None)
    encoder = create_encoder("conv4", size=28, width=8)
    with torch.no_grad():
        for p in encoder.parameters():
            if p.ndim == 1:
                p.add_(0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
        x = images(28).contiguous(memory_format=torch.channels_last)
        expected = x
        for block in encoder.blocks:
            z = F.conv2d(expected, block.conv.weight, padding=1)
            z = F.batch_norm(z, None, None, block.weight, block.bias, training=True)
            expected = F.max_pool2d(F.relu(z), 2)
        if how in ("large maps", "compiled"):
            torch.testing.assert_close(encoder(x), expected.flatten(1), rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(encoder(x), expected.flatten(1))


def test_normalisation_takes_the_batch_at_hand_and_keeps_nothing() -> None:
    encoder = create_encoder("conv4", size=16, width=4)
    x = images(16)
    before = encoder(x)
    encoder(10 * images(16) + 5)
    assert torch.equal(encoder(x), before)
    assert not list(encoder.buffers())
    assert not torch.allclose(encoder(x[:2]), before[:2], atol=1e-3)  # others in the batch matter


def test_the_convolution_has_no_bias_since_normalisation_would_remove_it() -> None:
    encoder = create_encoder("conv4", size=16, width=4)
    names = [name for name, _ in encoder.named_parameters()]
    assert names == [f"blocks.{i}.{p}" for i in range(4) for p in ("weight", "bias", "conv.weight")]


def test_the_drop_sees_every_layers_input_and_output_and_may_change_it() -> None:
    encoder = create_encoder("conv4", size=33, width=4)
    seen: list[tuple[int, Tensor, Tensor]] = []

    def watch(layer: int, x: Tensor, z: Tensor) -> Tensor:
        seen.append((layer, x, z))
        return z

    x = images(33)
    plain = encoder(x)
    assert torch.equal(encoder(x, watch), plain)
    assert [layer for layer, _, _ in seen] == [0, 1, 2, 3]
    assert torch.equal(seen[0][1], x)
    for (_, _, z), (_, following, _) in itertools.pairwise(seen):
        assert following is z
    assert [tuple(z.shape) for _, _, z in seen] == [(4, 4, s, s) for s in (16, 8, 4, 2)]
    assert torch.equal(seen[3][2].flatten(1), plain)
    zeroed = encoder(x, lambda layer, x, z: z * 0 if layer == 3 else z)
    assert not zeroed.any()
    assert plain.any()


def weights(seed: int, width: int = 4) -> dict[str, Tensor]:
    encoder = create_encoder("conv4", size=16, width=width)
    network = Network(encoder, LinearHead(encoder.feature_dim, 3))
    network.initialise(seed)
    theta, phi = network.psi()
    return {**theta, **phi}


def test_weights_come_from_the_named_seed_alone() -> None:
    torch.manual_seed(1)
    a = weights(0)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    create_encoder("conv4", size=16, width=4)
    torch.set_rng_state(state)
    b, other = weights(0), weights(1)
    assert all(torch.equal(a[name], b[name]) for name in a)
    drawn = [name for name in a if a[name].ndim > 1]
    assert len(drawn) == 5
    assert not any(torch.equal(a[name], other[name]) for name in drawn)
    # blocks of one shape do not start alike
    assert not torch.equal(a["blocks.1.conv.weight"], a["blocks.2.conv.weight"])


def test_weights_have_the_spread_that_he_and_a_linear_layer_ask_for() -> None:
    drawn = weights(0, width=64)
    for i, fan_in in enumerate([27, 576, 576, 576]):
        assert drawn[f"blocks.{i}.conv.weight"].std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
    assert drawn["weight"].abs().max() <= 1 / 8  # 64 features
    assert drawn["weight"].abs().max() > 0.9 / 8
    assert not drawn["bias"].any()
