"""``--profile``: what it writes adds up, and a run is the same to the bit with and without."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml.training import families, profile
from rotogbml.training.assemble import Parts
from rotogbml.training.families import (
    BETWEEN,
    CONVOLUTION,
    FAMILIES,
    NORM,
    REST,
    STEP,
    by_name,
    kernel_seconds,
    seconds_by_family,
)
from rotogbml.training.profile import WATCHED, Profile, autograd_functions, gpu_lines, owner_of
from rotogbml.training.run import RunFolder
from rotogbml.training.trainer import Trainer

GLYPHS = [
    *("train", "--sources", "glyphs", "--threads", "1", "--steps", "6", "--encoder.width", "8"),
    *("--episodes.n_query", "3", "--learner.inner_steps", "2", "--outer.log_every", "2"),
    *("--outer.validate_every", "4", "--outer.validation_episodes", "24"),
]


@pytest.fixture(scope="module")
def runs(start: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Return folder and output of a run with and of one without a profile."""
    folder, found = tmp_path_factory.mktemp("profiles"), {}
    for name, more in (("with", ["--profile"]), ("without", [])):
        run = start([*GLYPHS, "--out", str(folder / name), *more])
        assert run.wait() == 0, run.err.read_text()
        found[name] = folder / name, run.out.read_text()
    return found


def table_of(folder: Path) -> dict[str, tuple[float, float]]:
    rows = re.findall(r"^\| (.+?) \| ([\d.,]+) \| ([\d.]+) \|$", (folder / "profile/table.md").read_text(), re.M)
    return {family: (float(milliseconds.replace(",", "")), float(share)) for family, milliseconds, share in rows}


def trace_of(folder: Path) -> dict[str, Any]:
    return json.loads(gzip.decompress((folder / "profile/trace.json.gz").read_bytes()))


def test_a_run_is_the_same_to_the_bit_with_and_without(runs: dict[str, tuple[Path, str]]) -> None:
    (with_it, said), (without, plain) = runs["with"], runs["without"]
    digests = [re.findall(r"digest ([0-9a-f]+)", text) for text in (said, plain)]
    assert digests[0] == digests[1] != []
    assert (with_it / "metrics.jsonl").read_bytes() == (without / "metrics.jsonl").read_bytes()
    assert not (without / "profile").exists()


def test_families_add_up_to_the_step(runs: dict[str, tuple[Path, str]]) -> None:
    table = table_of(runs["with"][0])
    whole, share = table.pop("a step")
    assert sum(milliseconds for milliseconds, _ in table.values()) == pytest.approx(whole, abs=0.1)
    assert share == 100
    named = {CONVOLUTION, NORM, "ISI", "homogenizer", "data", "optimizer", REST, BETWEEN}
    assert named == set(table)
    assert min(milliseconds for milliseconds, _ in table.values()) > 0
    # Against the trace itself: what a step took, less validation and saving in its middle.
    trace = trace_of(runs["with"][0])["traceEvents"]
    said = [e for e in trace if e.get("cat") == "user_annotation"]  # a GPU's timeline has each range once more
    length = {name: sum(e["dur"] for e in said if e["name"] == name) for name in (STEP, "validation", "saving")}
    assert length["validation"] > 0
    assert 3 * whole == pytest.approx(1e-3 * (length[STEP] - length["validation"] - length["saving"]), rel=1e-3)


def test_the_table_is_shown_and_says_what_memory_it_took(runs: dict[str, tuple[Path, str]]) -> None:
    folder, said = runs["with"]
    assert "mean of 3 steps after 2" in said
    assert "ISI" in said
    page = (folder / "profile/table.md").read_text()
    said = re.findall(r"memory: ([\d,]+) MB between steps, ([\d,]+) MB at", page)[0]
    between, peak = (float(number.replace(",", "")) for number in said)
    assert 0 < between <= peak
    assert "validation" in page.split("in no row:")[1]


def test_of_a_gpu_the_table_says_how_long_it_computed() -> None:
    trace = [
        {"ph": "X", "cat": "user_annotation", "name": STEP, "tid": 1, "ts": 0, "dur": 9000},
        {"ph": "X", "cat": "gpu_user_annotation", "name": STEP, "tid": 7, "ts": 0, "dur": 5000},
        {"ph": "X", "cat": "kernel", "name": "gemm", "tid": 7, "ts": 10, "dur": 3000},
        {"ph": "X", "cat": "gpu_memcpy", "name": "copy", "tid": 7, "ts": 4000, "dur": 1500.5},
    ]
    assert kernel_seconds(trace, 2) == pytest.approx(2.25025e-3)
    assert seconds_by_family(trace)[BETWEEN] == pytest.approx(9e-3)
    (line,) = gpu_lines(kernel_seconds(trace, 2))
    assert line.startswith("the GPU computed 2.25 ms a step; the rows are the processor's")
    assert gpu_lines(0.0) == []


def test_the_trace_names_no_machine(runs: dict[str, tuple[Path, str]]) -> None:
    assert not {"host_name", "traceName"} & trace_of(runs["with"][0]).keys()


def test_a_run_too_short_to_be_profiled_says_so(
    build: Callable[..., Parts], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Trainer(build(steps=2), RunFolder(tmp_path)).fit(Profile(tmp_path / "profile"))
    assert "--profile needs 3 steps, 2 of them to warm up, and this command took 2" in caplog.text
    assert not (tmp_path / "profile").exists()


def test_a_run_that_ends_early_is_profiled_as_far_as_it_went(build: Callable[..., Parts], tmp_path: Path) -> None:
    Trainer(build(steps=4), RunFolder(tmp_path)).fit(Profile(tmp_path / "profile"))
    assert "Mean of 2 steps" in (tmp_path / "profile/table.md").read_text()
    assert not profile._recording


def test_what_is_watched_is_there_and_is_put_back(build: Callable[..., Parts], tmp_path: Path) -> None:
    before = {where: vars(owner_of(where)[0])[owner_of(where)[1]] for where in WATCHED}
    Trainer(build(steps=5), RunFolder(tmp_path)).fit(Profile(tmp_path / "profile"))
    assert {where: vars(owner_of(where)[0])[owner_of(where)[1]] for where in WATCHED} == before


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("aten::conv2d", CONVOLUTION),
        ("autograd::engine::evaluate_function: ConvolutionBackward0", CONVOLUTION),
        ("ConvolutionBackwardBackward0", CONVOLUTION),
        ("aten::_convolution_double_backward", CONVOLUTION),
        ("aten::native_batch_norm", NORM),
        ("MaxPool2DWithIndicesBackwardBackward0", NORM),
        ("aten::threshold_backward", NORM),
        ("_NormPoolRelu", NORM),
        ("autograd::engine::evaluate_function: _GradientBackward", NORM),
        ("aten::linalg_vector_norm", None),
        ("aten::mul", None),
        ("AddmmBackward0", None),
    ],
)
def test_operators_are_put_into_families_by_name(name: str, family: str | None) -> None:
    assert by_name(name, autograd_functions()) == family


def recorded(call: Callable[[], object], tmp_path: Path, ours: Collection[str] = ()) -> dict[str, float]:
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu) as profiler, torch.profiler.record_function(STEP):
        call()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    return seconds_by_family(json.loads((tmp_path / "trace.json").read_text())["traceEvents"], ours)


def test_derivatives_belong_to_what_they_are_derivatives_of(tmp_path: Path) -> None:
    """All of a product in a range is the range's: forward, backward, and the backward of that."""
    x = torch.randn(1000, 1000, requires_grad=True)

    def call() -> None:
        with torch.profiler.record_function("ISI"):
            z = (x * x).exp()
        (g,) = torch.autograd.grad(z, x, torch.ones_like(z), create_graph=True)
        torch.autograd.grad(g, x, torch.ones_like(g))

    seconds = recorded(call, tmp_path)
    assert seconds["ISI"] > 5 * seconds[REST]
    assert seconds[CONVOLUTION] == seconds[NORM] == 0


def test_a_convolution_inside_another_function_is_a_convolution(tmp_path: Path) -> None:
    class Outside(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
            return F.conv2d(x, w)

    seconds = recorded(
        lambda: Outside.apply(torch.randn(20, 32, 40, 40), torch.randn(32, 32, 3, 3)), tmp_path, {"Outside"}
    )
    assert seconds[CONVOLUTION] > seconds[NORM] > 0
    assert set(seconds) == set(FAMILIES)


def event(name: str, ts: float, dur: float, tid: int = 1, **args: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": "cpu_op", "name": name, "ts": ts, "dur": dur, "tid": tid, "args": args}


def test_self_time_goes_to_the_innermost_family() -> None:
    trace = [
        event(STEP, 0, 100),
        event("aten::linear", 0, 10),
        event("aten::mystery", 2, 5),
        event("_Fused", 10, 40),
        event("aten::mul", 12, 3),
        event("aten::convolution", 20, 25),
        event("aten::copy_", 21, 4),
        event("homogenizer", 60, 20),
        event("aten::convolution", 61, 9),
        event("aten::elsewhere", 0, 100, tid=2),
        event("aten::conv2d", 200, 50),
    ]
    seconds = seconds_by_family(trace, {"_Fused"})
    expected = {CONVOLUTION: 25, NORM: 15, "homogenizer": 20, REST: 10, BETWEEN: 30}
    assert seconds == pytest.approx({f: 1e-6 * expected.get(f, 0) for f in FAMILIES})


def test_a_trace_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match=f"no range '{families.STEP}'"):
        seconds_by_family([event("aten::conv2d", 0, 1)])
