"""An encoder by import path: what it builds, and what each wrong path is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rotogbml.encoders import create_encoder
from rotogbml.errors import UsageError


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An importable module ``my_nets``, beside ones that fail."""
    (tmp_path / "my_nets.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self, size):\n"
        "        super().__init__(torch.nn.Flatten(), torch.nn.Linear(3 * size * size, 7))\n"
        "def plain():\n"
        "    return Net(8)\n"
        "def demanding(depth):\n"
        "    return Net(8)\n"
        "def nothing():\n"
        "    return None\n"
        "ready = Net(8)\n"
        "number = 3\n"
    )
    (tmp_path / "my_broken.py").write_text("import no_such_dependency\n")
    (tmp_path / "my_slip.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("my_nets", "my_broken", "my_slip"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("nets")
def test_an_import_path_builds_the_same_weights_in_every_process() -> None:
    state = torch.get_rng_state()
    first, again = (create_encoder("my_nets:Net", size=8) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.feature_dim == 7
    weights = [dict(e.named_parameters())["module.1.weight"] for e in (first, again)]
    assert torch.equal(*weights)
    assert weights[0] is not weights[1]
    torch.manual_seed(5)
    assert torch.equal(dict(create_encoder("my_nets:Net", size=8).named_parameters())["module.1.weight"], weights[0])
    assert create_encoder("my_nets:plain", size=8).feature_dim == 7
    assert create_encoder("my_nets:ready", size=8).feature_dim == 7


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("my_netz:Net", "no module 'my_netz': install it, or name its folder in the environment variable PYTHONPATH"),
        ("my_nets.sub:Net", r"no module 'my_nets\.sub'"),
        ("my_nets:Nett", r"module 'my_nets' has no 'Nett' \(did you mean 'Net'\?\)"),
        ("my_broken:Net", "importing 'my_broken' fails with ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("my_slip:f", "importing 'my_slip' fails with SyntaxError"),
        ("my_nets:demanding", r"my_nets:demanding\(\) fails with TypeError: .*'depth'; only an argument named size"),
        ("my_nets:nothing", "gives a NoneType: it must return a torch.nn.Module"),
        ("my_nets:number", "is of type int: name a torch.nn.Module or a function"),
        ("my_nets:plain", r"Net fails on images \[2, 3, 9, 9\]"),
        (":Net", "is no import path: write package.module:factory"),
        ("my_nets:", "is no import path"),
    ],
)
def test_an_import_path_that_leads_nowhere_is_named(path: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refusal:
        create_encoder(path, size=9)
    assert "\n" not in str(refusal.value)
