"""Weights to begin with: what is taken, and what is refused."""

from __future__ import annotations

import json
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from rotogbml.encoders import Given, create_encoder
from rotogbml.errors import UsageError
from rotogbml.learners import LinearHead
from rotogbml.methods import load_start
from rotogbml.methods.mtl import Scaled


def write_safetensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    head, body = {"__metadata__": {"format": "pt"}}, b""
    for name, t in tensors.items():
        raw = t.detach().numpy().astype(np.float32).tobytes()
        head[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [len(body), len(body) + len(raw)]}  # type: ignore[dict-item]
        body += raw
    told = json.dumps(head).encode()
    path.write_bytes(len(told).to_bytes(8, "little") + told + body)


@pytest.mark.parametrize("kind", ["state_dict", "nested", "prefixed", "safetensors"])
def test_weights_are_taken_to_the_bit(tmp_path: Path, kind: str) -> None:
    given, mine = (create_encoder("conv4", 20, 4, "moving") for _ in range(2))
    state = {name: t.detach() + 0.5 for name, t in [*given.named_parameters(), *given.named_buffers()]}
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        write_safetensors(path, state)
    elif kind == "nested":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        prefix = "encoder." if kind == "prefixed" else ""
        torch.save({prefix + name: t for name, t in state.items()} | {"head.weight": torch.zeros(2)}, path)
    load_start(mine, str(path))
    for name, t in [*mine.named_parameters(), *mine.named_buffers()]:
        assert torch.equal(t, state[name]), name


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must never run",))


def test_what_cannot_be_taken_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # absent, whether it is installed or not
    mine = create_encoder("conv4", 20, 4)
    wide, narrow = create_encoder("conv4", 20, 8), dict(mine.named_parameters())
    torch.save(dict(wide.named_parameters()), tmp_path / "wide.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    torch.save({"a": Evil()}, tmp_path / "pickle.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    torch.save({"theta": torch.zeros(1)}, tmp_path / "theta.pt")
    holed = {name: p.detach().clone() for name, p in narrow.items()}
    holed["blocks.0.weight"][1] = torch.nan
    torch.save(holed, tmp_path / "holed.pt")
    (tmp_path / "noise.pt").write_bytes(b"noise")
    write_safetensors(tmp_path / "cut.safetensors", narrow)
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-8])
    (tmp_path / "long.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + whole[8:])
    (tmp_path / "folder").mkdir()
    for start, said in {
        "wide.pt": "'blocks.0.weight' is [8] in",
        "other.pt": "lacks 'blocks.0.weight' (it has a …)",
        "pickle.pt": "may run code",
        "list.pt": "holds a list",
        "theta.pt": "lacks 'blocks.0.weight' (it has theta …)",
        "holed.pt": "'blocks.0.weight' in",
        "noise.pt": "cannot be read as weights",
        "cut.safetensors": "no sound safetensors file",
        "long.safetensors": "no sound safetensors file",
        "folder": "no run folder",
        "absent.pt": "no weights at",
    }.items():
        with pytest.raises(UsageError) as error:
            load_start(mine, str(tmp_path / start))
        assert said in str(error.value), start
    assert "never run" not in capsys.readouterr().out
    for start, said in (("hub:a", "names no file on a hub"), ("hub:a/b/c.pt", "needs huggingface_hub")):
        with pytest.raises(UsageError) as error:
            load_start(mine, start)
        assert said in str(error.value)


def test_filters_that_mtl_scales_are_taken_as_it_uses_them(tmp_path: Path) -> None:
    given, mine = (create_encoder("conv4", 20, 4, "group") for _ in range(2))
    network = Scaled(given, LinearHead(given.feature_dim, 3))
    with torch.no_grad():
        for i, p in enumerate(network.scales.values()):
            p.mul_(i + 2)
    groups = {"theta": network.psi().theta, "phi": network.psi().phi, "statistics": network.statistics()}
    (tmp_path / "checkpoints").mkdir()
    torch.save(
        {room: {name: t.detach() for name, t in group.items()} for room, group in groups.items()},
        tmp_path / "checkpoints" / "best.pt",
    )
    load_start(mine, str(tmp_path))
    x = torch.randn(2, 3, 20, 20)
    torch.testing.assert_close(mine(x), network.features(network.psi().theta, x))


def test_statistics_that_a_norm_needs_are_not_made_up_and_those_it_leaves_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone, moving = (create_encoder("conv4", 20, 4, norm) for norm in ("group", "moving"))
    torch.save(alone.state_dict(), tmp_path / "alone.pt")
    torch.save(moving.state_dict(), tmp_path / "moving.pt")
    with pytest.raises(UsageError, match=r"lacks the running statistics 'blocks\.0\.running_mean'"):
        load_start(moving, str(tmp_path / "alone.pt"))
    load_start(alone, str(tmp_path / "alone.pt"))
    load_start(moving, str(tmp_path / "moving.pt"))
    assert not caplog.records
    load_start(alone, str(tmp_path / "moving.pt"))
    assert "running statistics, which norm group does not use" in caplog.text


def test_a_name_on_a_hub_is_fetched_by_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, mine = (create_encoder("conv4", 20, 4) for _ in range(2))
    with torch.no_grad():
        for p in given.parameters():
            p.add_(0.5)
    torch.save(dict(given.named_parameters()), tmp_path / "w.pt")
    asked: list[tuple[str, str]] = []

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(tmp_path / "w.pt")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=download))
    load_start(mine, "hub:someone/some-encoder/weights/conv4.pt")
    assert asked == [("someone/some-encoder", "weights/conv4.pt")]
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), given.parameters(), strict=True))


class Net(torch.nn.Sequential):
    """A net of a user's: a layer, running statistics, and a table that stands still."""

    def __init__(self, inputs: int = 3 * 8 * 8) -> None:
        super().__init__()
        self.flat, self.fc, self.norm = torch.nn.Flatten(), torch.nn.Linear(inputs, 5), torch.nn.BatchNorm1d(5)
        self.register_buffer("table", torch.arange(3))
        self.register_buffer("made_anew", torch.ones(2), persistent=False)


def trained_elsewhere() -> Net:
    net = Net()
    with torch.no_grad():
        for t in net.state_dict().values():
            t.add_(1)
    return net


@pytest.mark.parametrize("kind", ["plain", "module.", "encoder.", "state_dict", "model", "model_state_dict", "run"])
def test_a_users_own_net_takes_up_its_own_state_dict(tmp_path: Path, kind: str) -> None:
    theirs, mine = trained_elsewhere(), Given(Net(), 8)
    state = theirs.state_dict()
    path = tmp_path / "w.pt"
    if kind == "run":  # as a run of ours keeps it
        named = {
            name: {f"module.{n}": t for n, t in tensors}
            for name, tensors in (
                ("theta", list(theirs.named_parameters())),
                ("statistics", list(theirs.named_buffers())),
            )
        }
        (tmp_path / "checkpoints").mkdir()
        torch.save({**named, "phi": {}}, tmp_path / "checkpoints/best.pt")
        path = tmp_path
    elif kind.endswith("."):
        torch.save({kind + name: t for name, t in state.items()} | {kind + "classes.weight": torch.ones(2)}, path)
    else:
        torch.save(state if kind == "plain" else {kind: state, "epoch": 3}, path)
    load_start(mine, str(path))
    for name, t in mine.module.state_dict().items():
        assert torch.equal(t, state[name]) or name.endswith("num_batches_tracked"), name


def test_a_net_whose_own_names_begin_with_module_is_no_data_parallel(tmp_path: Path) -> None:
    class Wrapping(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = Net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.module(x)

    theirs, mine = Wrapping(), Given(Wrapping(), 8)
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    load_start(mine, str(tmp_path / "w.pt"))
    assert torch.equal(mine.module.module.fc.weight, theirs.module.fc.weight)  # type: ignore[union-attr]


def test_what_a_users_net_lacks_is_named_as_the_net_names_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = trained_elsewhere().state_dict()
    for name in ("fc.weight", "norm.running_var", "table"):
        torch.save({n: t for n, t in state.items() if n != name}, tmp_path / "less.pt")
        with pytest.raises(UsageError, match=f"lacks '{name}'"):
            load_start(Given(Net(), 8), str(tmp_path / "less.pt"))
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5))
    torch.save({**plain.state_dict(), "norm.running_mean": torch.zeros(5)}, tmp_path / "more.pt")
    load_start(Given(plain, 8), str(tmp_path / "more.pt"))
    assert "has running statistics, for which Sequential has no place" in caplog.text


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of sparse and quantized tensors as these are made
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("sparse", r"is no dense tensor \(sparse_coo\)"),
        ("csr", r"is no dense tensor \(sparse_csr\)"),
        ("nested", r"is no dense tensor \(nested\)"),
        ("meta", "has a shape and no numbers"),
        ("quantized", r"is quantized \(qint8\)"),
        ("complex", "is of type complex64, and weights are real numbers"),
        ("whole", "is of type int64, and weights are real numbers"),
        ("large", "has numbers that are not finite"),
    ],
)
def test_a_tensor_of_another_kind_is_named_with_what_it_is(tmp_path: Path, kind: str, said: str) -> None:
    mine = create_encoder("conv4", 20, 4)
    state = {name: p.detach().clone() for name, p in mine.named_parameters()}
    name = "blocks.0.weight"
    t = state[name]
    made = {
        "sparse": lambda: t.reshape(len(t), -1).to_sparse(),
        "csr": lambda: t.reshape(len(t), -1).to_sparse_csr(),
        "nested": lambda: torch.nested.nested_tensor(list(t)),
        "meta": lambda: t.to("meta"),
        "quantized": lambda: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        "complex": lambda: t.to(torch.complex64),
        "whole": lambda: t.to(torch.int64),
        "large": lambda: t.double() + 1e300,
    }
    state[name] = made[kind]()
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=f"'{name}' in .*{said}"):
        load_start(mine, str(tmp_path / "w.pt"))


@pytest.mark.parametrize("pickled", [b"\x80\x02h\x05.", b"\x80\x02s.", b"\x80\x02J\x01"])
def test_an_archive_whose_pickle_is_damaged_is_refused(tmp_path: Path, pickled: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        for name, data in {"data.pkl": pickled, "version": b"3\n", "byteorder": b"little"}.items():
            archive.writestr(f"w/{name}", data)
    with pytest.raises(UsageError, match="cannot be read as weights"):
        load_start(create_encoder("conv4", 20, 4), str(tmp_path / "w.pt"))


def test_a_safetensors_file_that_is_nested_deeply_or_of_another_type_is_refused(tmp_path: Path) -> None:
    for header, said in (
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "its header is nested too deeply"),
        (b'{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', "'a' is of type F8_E4M3"),
        (b'{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,0]}}', "no sound safetensors file"),
    ):
        (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"0")
        with pytest.raises(UsageError, match=said):
            load_start(create_encoder("conv4", 20, 4), str(tmp_path / "w.safetensors"))
