"""The encoders' convolution: stock's numbers under 32, rounded ones under bf16-mixed, both twice differentiable."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from benchmarks.oracles import make_network, make_task
from torch import Tensor, nn

from rotogbml.cli import main
from rotogbml.encoders import Convolution, convolution, create_encoder, set_precision
from rotogbml.episodes import Examples
from rotogbml.errors import UsageError
from rotogbml.learners import create_learner
from rotogbml.training.naming import method_name
from rotogbml.training.run import RunFolder

SHAPES = [(4, 3, 5, 3, 1, 1, 8, 6), (1, 2, 3, 3, 2, 1, 7, 9), (3, 4, 2, 1, 2, 0, 5, 5), (2, 3, 4, 7, 2, 3, 11, 8)]
"""b, c_in, c, kernel, stride, padding, h, w."""


def make(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float64, precision: str = "32", seed: int = 0
) -> tuple[Convolution, Tensor]:
    b, c_in, c, kernel, stride, padding, h, w = shape
    conv = Convolution(c_in, c, kernel, stride, padding).to(dtype)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(conv.weight.shape, generator=g, dtype=torch.float64))
    x = torch.randn(b, c_in, h, w, generator=g, dtype=torch.float64).to(dtype)
    set_precision(conv, precision)
    return conv, x.contiguous(memory_format=torch.channels_last)


def everything(f: Callable[[Tensor], Tensor], weight: Tensor, x: Tensor, of_images: bool) -> list[Tensor]:
    """Return y, the gradients at x and w, and the derivatives of a random mixture of those at x, w and ∂y."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_(of_images)
    inputs = [x, weight] if of_images else [weight]
    y = f(x)
    g = torch.Generator().manual_seed(1)
    back = torch.randn(y.shape, generator=g, dtype=torch.float64).to(y.dtype).requires_grad_()
    first = torch.autograd.grad((y * back + y.square()).sum(), inputs, create_graph=True)
    mixture = [torch.randn(t.shape, generator=g, dtype=torch.float64).to(t.dtype) for t in first]
    return [y, *first, *torch.autograd.grad(first, [*inputs, back], mixture)]


def stock(conv: Convolution) -> Callable[[Tensor], Tensor]:
    return lambda x: nn.Conv2d.forward(conv, x)


@pytest.mark.parametrize("of_images", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_and_both_derivatives_are_stocks(
    shape: tuple[int, ...], of_images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "_LARGE", 0)
    conv, x = make(shape)
    assert "_Convolution" in type(conv(x).grad_fn).__name__
    for layout in (x, x.contiguous()):
        found = everything(conv, conv.weight, layout, of_images)
        for i, (a, b) in enumerate(zip(found, everything(stock(conv), conv.weight, layout, of_images), strict=True)):
            assert (a - b).abs().max() <= 1e-12 * b.abs().max(), i


def test_the_first_derivative_is_stocks_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_LARGE", 0)
    conv, x = make((5, 16, 32, 3, 1, 1, 12, 12), torch.float32)
    conv = conv.to(memory_format=torch.channels_last)
    ours, theirs = (everything(f, conv.weight, x, True)[:3] for f in (conv, stock(conv)))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("shape", SHAPES)
def test_finite_differences(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_LARGE", 0)
    conv, x = make((2, *shape[1:6], *(min(n, 5) for n in shape[6:])))
    side = convolution._Side(*shape[3:6])

    def f(x: Tensor, w: Tensor) -> Tensor:
        return convolution._Convolution.apply(x, w, (side, None))

    inputs = (x.requires_grad_(), conv.weight)
    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
@pytest.mark.parametrize("at", range(3))
def test_a_third_derivative_raises_whatever_it_is_asked_for(
    precision: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "_LARGE", 0)
    conv, x = make(SHAPES[0], torch.float32, precision)
    y = conv(x.requires_grad_())
    back = torch.ones_like(y, requires_grad=True)
    first = torch.autograd.grad((y * back).sum(), (x, conv.weight), create_graph=True)
    wanted = [x, conv.weight, back]
    second = torch.autograd.grad(sum(t.sin().sum() for t in first), wanted, create_graph=True)
    for t in second:
        with pytest.raises(RuntimeError, match="no third derivative: take precision 32 and set ROTOGBML_FUSED=0"):
            torch.autograd.grad(t.sin().sum(), wanted[at], retain_graph=True)


def test_where_32_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(conv: Convolution, x: Tensor) -> bool:
        return "_Convolution" in type(conv(x).grad_fn).__name__

    large, small = (16, 3, 16, 3, 1, 1, 32, 32), (16, 3, 16, 3, 2, 1, 32, 32)
    assert taken(*make(large))
    assert taken(*make(large, torch.float32))
    assert not taken(*make(small))
    conv, x = make(large)
    assert not taken(conv.to("meta"), x.to("meta"))
    conv, x = make(large)
    y = torch.func.grad(lambda w: torch.func.functional_call(conv, {"weight": w}, x).square().sum())(conv.weight)
    assert y.isfinite().all()  # a function without the rules of torch.func would raise
    monkeypatch.setenv("ROTOGBML_FUSED", "0")
    assert not taken(conv, x)


@pytest.mark.parametrize("of_images", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_bf16_rounds_what_goes_in_and_what_comes_out(shape: tuple[int, ...], of_images: bool) -> None:
    """All is of float32 and within bfloat16's eight bits of float64, and not nearer than they allow."""
    conv, x = make(shape, torch.float32, "bf16-mixed")
    exact, _ = make(shape)
    found = everything(conv, conv.weight, x, of_images)
    for a, b in zip(found, everything(exact, exact.weight, x.double(), of_images), strict=True):
        assert a.dtype == torch.float32
        error = ((a - b).norm() / b.norm()).item()
        assert 2**-12 < error < 2**-6
    y = found[0]
    assert torch.equal(y, y.bfloat16().float())
    rounded = nn.functional.conv2d(
        x.bfloat16().double(), conv.weight.bfloat16().double(), None, conv.stride, conv.padding
    )
    torch.testing.assert_close(y.double(), rounded, rtol=2**-8, atol=1e-5)


def test_the_second_derivative_in_a_low_type_is_that_of_its_own_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing rounded what is left is the structure: the float64 numbers."""
    conv, x = make(SHAPES[0])
    side = convolution._Side(3, 1, 1)
    monkeypatch.setattr(convolution, "_widened", lambda x, how: x.double())

    def low(x: Tensor) -> Tensor:
        return convolution._Convolution.apply(x, conv.weight, (side, torch.float32))

    for a, b in zip(everything(low, conv.weight, x, True), everything(stock(conv), conv.weight, x, True), strict=True):
        assert (a - b).norm() <= 1e-6 * b.norm()


@pytest.mark.parametrize("name", ["conv4", "resnet10-small", "resnet12"])
def test_every_convolution_of_an_encoder_is_rounded_and_no_weight(name: str) -> None:
    encoder = create_encoder(name, size=32, width=4, precision="bf16-mixed")
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    assert {type(m) for m in convolutions} == {Convolution}
    assert {getattr(m, "precision", "") for m in convolutions} == {"bf16-mixed"}
    assert {p.dtype for _, p in encoder.named_parameters()} == {torch.float32}
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    z = encoder(x)
    set_precision(encoder, "32")
    exact = encoder(x)
    assert z.dtype == torch.float32
    assert 1e-5 < (z - exact).norm() / exact.norm() < 0.1


@pytest.mark.parametrize("options", [{}, {"first_order": True}, {"checkpoint": True}], ids=str)
def test_meta_gradients_point_where_the_exact_ones_do(options: dict[str, bool]) -> None:
    """On a network without kinks, where rounding is all that can turn them."""
    gradients = []
    for dtype, precision in ((torch.float64, "32"), (torch.float32, "bf16-mixed")):
        network, task = make_network("linear", smooth=True), make_task()
        network.encoder.to(dtype)
        network.head.to(dtype)
        set_precision(network.encoder, precision)
        support, query = (Examples(part.x.to(dtype), part.y) for part in (task.support, task.query))
        learner = create_learner("maml", network, inner_lr=0.1, inner_steps=2, **options)
        psi = network.psi()
        prepared = learner.prepare(psi, replace(task, support=support, query=query))
        gradients.append(torch.cat([g.flatten().double() for g in learner.meta_gradient(psi, prepared).theta_gradient]))
    exact, rounded = gradients
    assert 1e-4 < (rounded - exact).norm() / exact.norm() < 0.05


def test_what_does_not_fit_is_refused() -> None:
    conv, x = make(SHAPES[0], precision="bf16-mixed")
    with pytest.raises(UsageError, match="takes float32 images and filters, not torch"):
        conv(x)
    with pytest.raises(UsageError, match=r"no precision 'bf16' \(did you mean 'bf16-mixed'\?\): there are 32, bf16"):
        create_encoder("conv4", size=16, precision="bf16")
    with pytest.raises(UsageError, match=r"precision=bf16-mixed with an encoder of your own .*: leave precision out"):
        create_encoder(nn.Flatten(), size=16, precision="bf16-mixed")


def test_a_processor_without_bfloat16_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    convolution._tell_where_slow.cache_clear()
    conv, x = make(SHAPES[0], torch.float32, "bf16-mixed")
    with caplog.at_level(logging.WARNING):
        conv(x)
        conv(x)
    assert [r.getMessage() for r in caplog.records] == [
        "this processor has no instructions for bfloat16 (avx512_bf16): precision 32 is faster here"
    ]
    convolution._tell_where_slow.cache_clear()


def test_a_run_keeps_its_precision(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ω, γ and ISI; another precision is another run, and a run of an earlier version is of 32."""
    out, low = tmp_path / "run", ["--encoder.precision", "bf16-mixed"]
    assert main(["train", *tiny, "--steps", "2", "--out", str(out), *low]) == 0
    folder = RunFolder(out)
    assert folder.read_config().encoder.precision == "bf16-mixed"
    assert method_name(folder.read_config()) == "maml (bf16) + RotoGBML"
    assert main(["train", *tiny, "--steps", "3", "--out", str(out), *low]) == 0
    assert main(["train", *tiny, "--steps", "4", "--out", str(out)]) == 2
    assert "encoder.precision is bf16-mixed there, 32 here" in capsys.readouterr().err
    assert main(["evaluate", str(out), "--episodes", "3", "--n_query", "2"]) == 0
    assert "maml (bf16)" in " ".join(capsys.readouterr().out.split())
    tree = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    del tree["encoder"]["precision"]
    folder.config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert folder.read_config().encoder.precision == "32"


def test_a_precision_that_yaml_reads_as_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("sources: [glyphs]\nout: run\nencoder: {precision: 32}\n", encoding="utf-8")
    assert main(["train", "--config", str(file)]) == 2
    assert "'encoder.precision' cannot be '32': in a file write it in quotes, '32'" in capsys.readouterr().err


def test_bf16_and_32_begin_alike_and_train_apart(tiny: list[str], tmp_path: Path) -> None:
    losses = []
    for precision in ("32", "bf16-mixed"):
        out = tmp_path / precision
        assert main(["train", *tiny, "--steps", "2", "--out", str(out), "--encoder.precision", precision]) == 0
        state = torch.load(out / "checkpoints" / "last.pt", weights_only=True)
        losses.append(state["theta"]["blocks.0.conv.weight"])
        assert {p.dtype for p in state["theta"].values()} == {torch.float32}
    assert 0 < (losses[0] - losses[1]).norm() < 0.1 * losses[0].norm()
