"""What is typed, what the verbs receive, and what is said of a slip."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rotogbml
from rotogbml.cli import main
from rotogbml.config import HomogenizerConfig, IsiConfig, LearnerConfig, ReweightConfig, RotateConfig
from rotogbml.errors import RotogbmlError, UsageError
from rotogbml.verbs import VERBS

from .conftest import TRAIN, said_of

SRC = Path(rotogbml.__file__).resolve().parents[1]


def python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)


def test_help_lists_every_verb_and_imports_nothing_of_weight() -> None:
    said = python(
        "import sys; from rotogbml.cli import main; main(['--help']); "
        "heavy = {'torch', 'numpy', 'jsonargparse', 'kornia', 'rich'}; "
        "print(*sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    assert said.stderr.strip() == ""
    for name, verb in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(verb.help)}$", said.stdout, re.MULTILINE)


def test_importing_the_package_imports_nothing_of_weight() -> None:
    assert (
        python("import sys, rotogbml; print('torch' in sys.modules, 'numpy' in sys.modules)").stdout == "False False\n"
    )


def function(name: str) -> Callable[..., Any]:
    """Return the Python function of a verb: ``data scan`` is ``rotogbml.data.scan``, ``import`` is ``import_``."""
    found: Any = rotogbml
    for part in name.split():
        found = getattr(found, part if hasattr(found, part) else f"{part}_")
    return found


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_a_function_of_the_same_name(name: str) -> None:
    module, attribute = VERBS[name].where.split(":")
    assert function(name) is getattr(importlib.import_module(module), attribute)
    assert attribute.rstrip("_") == name.split()[-1]


@pytest.mark.parametrize("name", VERBS)
def test_every_parameter_is_an_option_with_a_description(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*name.split(), "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    call = function(name)
    for parameter in inspect.signature(call).parameters:
        if parameter != "insist":  # what was typed
            assert (parameter if parameter in VERBS[name].positional else f"--{parameter}") in said
        assert f"        {parameter}: " in (call.__doc__ or ""), parameter


def test_every_public_name_is_there() -> None:
    for name in rotogbml.__all__:
        assert getattr(rotogbml, name) is not None
    assert set(rotogbml.__all__) <= set(dir(rotogbml))
    with pytest.raises(AttributeError, match="module 'rotogbml' has no attribute 'nothing'"):
        _ = rotogbml.nothing


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rotogbml {rotogbml.__version__}\n"


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that gives ``rotogbml train`` some arguments and returns what the verb would receive."""
    import rotogbml.training.verb as module

    calls: list[dict[str, Any]] = []
    # Asked of the package first: it remembers what it finds, and must not remember the stand-in for the tests to come.
    signature = inspect.signature(rotogbml.train)

    def train(**given: Any) -> None:
        calls.append(given)

    train.__signature__ = signature  # ty: ignore[unresolved-attribute]
    train.__doc__, train.__annotations__ = module.train.__doc__, module.train.__annotations__
    train.__module__ = module.__name__
    monkeypatch.setattr(module, "train", train)

    def call(*arguments: str) -> dict[str, Any]:
        assert main(["train", "--sources", "a", "b", "--out", "run", *arguments]) == 0
        return calls.pop()

    return call


def test_the_defaults_of_the_command_line_are_those_of_the_function(received: Callable[..., dict[str, Any]]) -> None:
    given = received()
    defaults = {p.name: p.default for p in inspect.signature(rotogbml.train).parameters.values()}
    assert given == {**defaults, "sources": ["a", "b"], "out": "run", "insist": ["out", "sources"]}


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--isi", "off"], "isi", None),
        (["--isi=off"], "isi", None),
        (["--isi", "null"], "isi", None),
        (["--isi", "on"], "isi", IsiConfig()),
        (["--isi.T", "inf"], "isi", IsiConfig(T="inf")),
        (["--isi.layers", "all"], "isi", IsiConfig(layers="all")),
        (["--homogenizer", "none"], "homogenizer", None),
        (["--homogenizer", "on"], "homogenizer", HomogenizerConfig()),
        (["--homogenizer.reweight", "off"], "homogenizer", HomogenizerConfig(reweight=None)),
        (["--homogenizer.rotate=none"], "homogenizer", HomogenizerConfig(rotate=None)),
        (["--learner", "anil"], "learner", LearnerConfig("anil")),
        (["--learner=anil"], "learner", LearnerConfig("anil")),
        (["--learner", "anil", "--learner.inner_lr", "0.5"], "learner", LearnerConfig("anil", inner_lr=0.5)),
        (["--learner.first-order", "true"], "learner", LearnerConfig(first_order=True)),
        (["--dry-run"], "dry_run", True),
        (["--dry_run", "true"], "dry_run", True),
        (["--dry_run=false"], "dry_run", False),
        (["--holdout", "x", "y"], "holdout", ["x", "y"]),
        (["--resume", "true"], "resume", "true"),
        (["--minutes", "2"], "minutes", 2.0),
        (["--preset", "paper", "--shift", "weak"], "shift", "weak"),
    ],
)
def test_what_people_type_is_understood(
    received: Callable[..., dict[str, Any]], arguments: list[str], field: str, value: Any
) -> None:
    assert received(*arguments)[field] == value


def test_single_options_add_up_inside_a_group(received: Callable[..., dict[str, Any]]) -> None:
    given = received(
        "--homogenizer.reweight.beta", "0.5", "--homogenizer.rotate.lr", "0.1", "--episodes.k_shot", "[1, 5]"
    )
    assert given["homogenizer"].reweight.beta == 0.5
    assert given["homogenizer"].rotate.lr == 0.1
    assert given["episodes"].k_shot == (1, 5)


def test_options_win_over_the_configuration_file(received: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("seed: 4\nsteps: 9\nhomogenizer:\n  rotate: null\nlearner:\n  inner_lr: 0.5\n")
    given = received("--config", str(tmp_path / "c.yaml"), "--seed", "5")
    assert (given["seed"], given["steps"], given["learner"].inner_lr) == (5, 9, 0.5)
    assert given["homogenizer"].rotate is None
    assert given["homogenizer"].reweight is not None


@pytest.mark.parametrize(
    ("tree", "arguments", "field", "value"),
    [
        ({"isi": None}, ["--isi", "on"], "isi", IsiConfig()),
        ({"isi": {"radius": 1}}, ["--isi=on"], "isi", IsiConfig(radius=1)),
        ({"homogenizer": None}, ["--homogenizer", "on"], "homogenizer", HomogenizerConfig()),
        ({"homogenizer": {"reweight": None}}, ["--homogenizer", "true"], "homogenizer", HomogenizerConfig()),
        (
            {"homogenizer": {"reweight": None, "rotate": None}},
            ["--homogenizer.rotate", "on"],
            "homogenizer",
            HomogenizerConfig(reweight=None),
        ),
    ],
)
def test_what_is_off_in_a_configuration_is_turned_on(
    received: Callable[..., dict[str, Any]],
    tmp_path: Path,
    tree: dict[str, Any],
    arguments: list[str],
    field: str,
    value: Any,
) -> None:
    (tmp_path / "c.yaml").write_text(json.dumps(tree))
    assert received("--config", str(tmp_path / "c.yaml"), *arguments)[field] == value


@pytest.mark.parametrize("before", [False, True])
def test_a_preset_beside_a_configuration_of_another_is_refused(
    received: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str], before: bool
) -> None:
    (tmp_path / "c.yaml").write_text("preset: default\nshift: strong\n")
    file = ["--config", str(tmp_path / "c.yaml")]
    for given, parts in (
        (
            ["--preset", "paper"],
            ["was filled with preset default", "--homogenizer.rotate.align rotated", "--isi.radius 3"],
        ),
        (["--shift=weak"], ["was filled with shift strong", "--episodes.mix single-source"]),
    ):
        said = said_of([*TRAIN, *(given + file if before else file + given)], capsys)
        for part in [*parts, "only fills fields that are not set"]:
            assert part in said
    assert received(*file, "--preset", "default", "--shift", "strong")["preset"] == "default"
    (tmp_path / "c.yaml").write_text("seed: 3\n")
    assert received(*file, "--preset", "paper")["preset"] == "paper"


def test_help_lists_what_is_inside_the_groups_that_can_be_off(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    printed = capsys.readouterr().out
    assert not [line for line in printed.splitlines() if line.startswith(" " * 24) and "  " in line.strip()]
    said = " ".join(printed.split())
    for prefix, group in (
        ("homogenizer.reweight", ReweightConfig),
        ("homogenizer.rotate", RotateConfig),
        ("isi", IsiConfig),
    ):
        for field in dataclasses.fields(group):
            assert f"--{prefix}.{field.name} " in said
    assert "--homogenizer.rotate.align {rotated,shared} Make gradients agree" in said
    assert "(preset: shared; paper: rotated)" in said
    assert "(preset: 0.1 if weak, 1.5 if strong)" in said
    assert "(eta_base). (preset: 0.01; reptile: 0.001)" in said
    assert "(of imaml: 11.0; paper: 0.0)" in said
    for short in ("--learner anil", "--homogenizer none", "--isi off"):
        assert short in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "no verb 'trian' (did you mean 'train'?): see rotogbml --help"),
        (["data", "pak", "x"], "no verb 'data pak' (did you mean 'pack'?): there are data check,"),
        (["train"], "nothing was given for sources, out: see rotogbml train --help"),
        (["evaluate"], "nothing was given for runs: see rotogbml evaluate --help"),
        (["demo", "--oout", "x"], "unknown option 'oout' (did you mean 'out'?): see rotogbml demo --help"),
    ],
)
def test_a_verb_or_an_argument_that_is_not_there(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in said_of(arguments, capsys)


def test_a_group_alone_lists_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in ((["data"], 2), (["data", "--help"], 0)):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == code
        said = capsys.readouterr().out
        assert "data scan" in said
        assert "train" not in said


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("a\nb"), 2, "rotogbml: a b\n"),
        (RotogbmlError("it failed"), 1, "rotogbml: it failed\n"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), 1, "rotogbml: a/b: No such file or directory\n"),
        (OSError("odd"), 1, "rotogbml: odd\n"),
        (KeyboardInterrupt(), 130, "rotogbml: interrupted\n"),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("rotogbml.cli._run", fail)
    assert main(["train"]) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("typed", [("1", "5"), ("1,5",), ("[1, 5]",)])
def test_several_whole_numbers_are_given_as_several_names_are(
    typed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rotogbml.comparison import verb

    found: list[Any] = []

    def compare(sources: list[str], k_shot: list[int] | None = None) -> None:
        """Compare."""
        found.append(k_shot)

    monkeypatch.setattr(verb, "compare", compare)
    assert main(["compare", "--sources", "glyphs", "--k_shot", *typed]) == 0
    assert found == [[1, 5]]
    assert main(["compare", "--sources", "glyphs", "--k_shot", "x"]) == 2
    assert "option 'k_shot' cannot be 'x': give whole numbers, such as 1 5" in capsys.readouterr().err
