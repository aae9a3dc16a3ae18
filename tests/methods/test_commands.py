"""Every compared method from the command line to a row, on drawn characters; stopped and gone on with; refused."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import rotogbml
from rotogbml.cli import main
from rotogbml.evaluation.methods import Spec, load
from rotogbml.evaluation.work import Test as Fixed
from rotogbml.method_presets import METHODS, SPELT, UNTRAINED
from rotogbml.methods import list_methods
from rotogbml.sources.packed import open_pack
from rotogbml.training import checkpoint
from rotogbml.training.naming import method_name
from rotogbml.training.run import RunFolder

ROOMS = ("theta", "phi", "alpha", "statistics", "optimizer", "step")


def test_every_name_has_a_recipe_and_a_spelling() -> None:
    assert list_methods() == sorted(METHODS) == sorted(SPELT)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_goes_from_the_command_line_to_a_row(train: Callable[..., Path], name: str) -> None:
    out = train(name)
    config = RunFolder(out).read_config()
    lines = (
        [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()] if name not in UNTRAINED else []
    )
    assert [line["step"] for line in lines if line["kind"] == "train"] == ([] if name in UNTRAINED else [1, 2])
    assert any(line["kind"] == "val" for line in lines) is (name not in UNTRAINED)
    results = rotogbml.evaluate([str(out)], episodes=4, workers=1, format="json")
    row = next(row for row in results.rows.values() if row["run"] == name)
    assert row["method"].startswith(name)
    assert row["steps"] == config.steps
    assert row["sources"] == ([] if name.startswith("random") else ["arrows", "greek"])
    assert 0 <= row["mean"] <= 1
    assert row["norm"].startswith("group")


@pytest.mark.parametrize("name", ["baseline", "relationnet-lft", "skd-gen1"])
def test_stopped_and_gone_on_with_it_ends_the_same_to_the_bit(train: Callable[..., Path], name: str) -> None:
    ends = []
    more = ["--encoder.norm", "as-published", "--outer.validate_every", "4"]
    if name == "skd-gen1":
        more += ["--method.start", str(train("skd-gen0", *more))]
    for out, lengths in (("whole", [4]), ("halves", [1, 4])):
        for steps in lengths:
            folder = train(name, *more, steps=steps, out=out)
        state = checkpoint.load(folder / "checkpoints/last.pt")
        lines = [line for line in (folder / "metrics.jsonl").read_text().splitlines() if '"train"' in line]
        ends.append((checkpoint.digest([state[room] for room in ROOMS]), lines))
    assert len(ends[0][1]) == 4
    assert ends[0] == ends[1]


def test_two_processes_train_the_same_bits(train: Callable[..., Path]) -> None:
    ends = []
    for name, devices in (("one", "1"), ("two", "2")):
        folder = train("relationnet", "--encoder.norm", "as-published", "--devices", devices, out=name)
        state = checkpoint.load(folder / "checkpoints/last.pt")
        ends.append(checkpoint.digest([state[room] for room in ROOMS]))
    assert ends[0] == ends[1]


def test_a_methods_own_configuration_gives_the_same_run(train: Callable[..., Path], tmp_path: Path) -> None:
    folder = train("protonet", "--method.source", "greek")
    again = ["train", "--config", str(folder / "config.yaml"), "--threads", "1", "--out", str(tmp_path / "again")]
    assert main(again) == 0
    assert (folder / "metrics.jsonl").read_bytes() == (tmp_path / "again/metrics.jsonl").read_bytes()
    assert yaml.safe_load((folder / "config.yaml").read_text())["method"]["source"] == "greek"


def test_single_source_is_trained_on_one_and_the_row_says_it(train: Callable[..., Path]) -> None:
    folder = train("protonet", "--method.source", "greek")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {source for line in lines for source in line["sources"]} == {"greek"}
    rows = rotogbml.evaluate([str(folder)], episodes=4, workers=1, format="json").rows.values()
    row = next(row for row in rows if row["run"] == "protonet")
    assert row["method"] == "protonet (single-source greek)"
    assert row["sources"] == ["greek"]


def test_rows_of_a_method_and_a_learner_are_paired_and_reported(
    train: Callable[..., Path], options: list[str], tmp_path: Path
) -> None:
    proto = train("protonet")
    maml = tmp_path / "maml"
    plain = ["--homogenizer", "none", "--isi", "off", "--learner.inner_steps", "1"]
    assert main(["train", *options, *plain, "--steps", "2", "--out", str(maml)]) == 0
    results = rotogbml.evaluate([str(proto), str(maml)], episodes=4, workers=1, format="json")
    (pair,) = results.paired.values()
    assert (pair["a"], pair["b"]) == ("protonet", "maml")
    assert main(["report", str(proto), str(maml)]) == 0
    page = (proto / "report.html").read_text(encoding="utf-8")
    assert "ProtoNet used conv4" in page
    assert "this is a compared method" in page


@pytest.mark.parametrize("norm", ["as-published", "group", "support"])
def test_features_that_are_kept_give_the_scores_of_whole_episodes(train: Callable[..., Path], norm: str) -> None:
    folder = train("protonet", "--encoder.norm", norm)
    source = open_pack(RunFolder(folder).read_config().sources[0])["lao"]
    method: Any = load(Spec("run", str(folder)), source.size)
    assert (method.still is None) is (norm == "support")
    for i in range(2):
        episode = Fixed(source, "all", 3, 1, 3, 0).episode(i)
        np.testing.assert_allclose(
            method.scores(episode).numpy(), method.learner.predict(method.psi, episode).numpy(), rtol=1e-3, atol=1e-3
        )


NET = """
import torch

class Net(torch.nn.Sequential):
    def __init__(self, weight=0.0):
        super().__init__(torch.nn.Conv2d(3, 4, 5, stride=3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
        torch.nn.init.constant_(self[1].bias, weight)

def trained():
    return Net(7.0)
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the name of an importable module of a user's."""
    (tmp_path / "nets_of_users.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    yield "nets_of_users"
    sys.modules.pop("nets_of_users", None)


@pytest.mark.parametrize("given", ["file", "built"])
def test_an_encoder_of_the_users_stands_frozen_with_its_own_weights(
    options: list[str], net: str, tmp_path: Path, given: str
) -> None:
    module = importlib.import_module(net)
    torch.save({"model": module.trained().state_dict()}, tmp_path / "theirs.pt")
    start = ["--encoder", f"{net}:trained"]
    if given == "file":
        start = ["--encoder", f"{net}:Net", "--method.start", str(tmp_path / "theirs.pt")]
    options = [o for i, o in enumerate(options) if "--encoder.width" not in options[max(0, i - 1) : i + 1]]
    out = tmp_path / "run"
    assert main(["train", *options, "--method", "frozen-prototype", *start, "--out", str(out)]) == 0
    theta = checkpoint.load(out / "checkpoints/last.pt")["theta"]
    assert theta["module.1.bias"].tolist() == [7.0] * 4
    row = next(iter(rotogbml.evaluate([str(out)], episodes=4, workers=1, format="json").rows.values()))
    said = {"file": "from theirs.pt", "built": f"with the weights of {net}:trained"}
    assert row["method"] == f"frozen-prototype ({said[given]})"


def test_mtl_scales_the_weights_of_a_users_encoder_and_gen1_wants_a_run(
    options: list[str], net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [o for i, o in enumerate(options) if "--encoder.width" not in options[max(0, i - 1) : i + 1]]
    options += ["--encoder", f"{net}:trained", "--steps", "1"]
    assert (
        main(["train", *options, "--method", "mtl", "--method.inner_steps", "3", "--out", str(tmp_path / "mtl")]) == 0
    )
    state = checkpoint.load(tmp_path / "mtl/checkpoints/last.pt")
    built = importlib.import_module(net).trained()
    assert state["statistics"]["module.0.weight"].shape == built[0].weight.shape
    assert method_name(RunFolder(tmp_path / "mtl").read_config()) == f"mtl (with the weights of {net}:trained)"
    assert main(["train", *options, "--method", "skd-gen1", "--out", str(tmp_path / "gen1")]) == 2
    assert "skd-gen1 begins with weights: give --method.start" in capsys.readouterr().err


def test_omega_and_isi_go_with_a_method_when_asked(train: Callable[..., Path]) -> None:
    folder = train("protonet", "--homogenizer.reweight.beta", "0.5", "--isi.rate", "0.2")
    assert method_name(RunFolder(folder).read_config()) == "protonet + ω + ISI"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--method", "protonett"], "no method 'protonett' (did you mean 'protonet'?)"),
        (["--method", "protonet", "--learner", "anil"], "protonet has no inner loop"),
        (["--method", "protonet", "--head", "zero"], "protonet has a head of its own"),
        (["--method", "protonet", "--method.loss", "mse"], "--method.loss mse does not go with protonet"),
        (["--method", "baseline", "--homogenizer.reweight.beta", "1"], "omega weighs tasks, and baseline has none"),
        (["--method", "protonet", "--homogenizer.rotate.lr", "1"], "gamma turns the features of a learner's tasks"),
        (
            ["--method", "protonet", "--isi.side", "support"],
            "isi.side is support, and protonet sees support and queries",
        ),
        (["--method", "protonet", "--method.hard_tasks", "5"], "--method.hard_tasks 5 does not go with protonet"),
        (["--method", "protonet", "--method.hard_tasks", "0"], "leave it out, or take --method mtl"),
        (["--method", "mtl", "--method.start", "w.pt", "--method.hard_tasks", "1"], "method.hard_tasks is 1: give 0"),
        (["--method", "finetune"], "finetune begins with weights: give --method.start"),
        (["--method", "protonet", "--method.source", "grek"], "no source 'grek' to train on (did you mean 'greek'?)"),
        (["--method", "relationnet-lft", "--method.source", "greek"], "does not go with relationnet-lft"),
        (["--method", "relationnet-lft", "--holdout", "lao", "greek"], "there is only 'arrows' to train on"),
        (["--method", "protonet", "--encoder.norm", "per-step"], "per-step has a scale for each inner step"),
        (["--method", "baseline", "--method.batch_size", "1"], "a minibatch has at least 2 images"),
        (["--method", "baseline", "--method.test_lr", "0"], "method.test_lr is 0.0: it must be above 0"),
        (["--method", "random-frozen", "--dry_run"], "random-frozen trains nothing"),
        (["--method.source", "greek"], "--method.source is of a compared method"),
        (["--method", "baseline", "--episodes.mix", "uniform"], "episodes.mix is uniform, and baseline draws images"),
        (["--method", "relationnet-lft", "--episodes.mix", "uniform"], "relationnet-lft draws pairs of tasks"),
        (
            ["--method", "protonet", "--method.source", "greek", "--episodes.mix", "uniform"],
            "episodes.mix is uniform, and protonet trains on greek alone",
        ),
        (["--encoder.norm", "as-published"], "norm as-published is for compared methods"),
        (["--encoder.norm", "moving"], "norm moving is for compared methods"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main(["train", *options, *more, "--steps", "2", "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_source_of_few_images_is_told(
    train: Callable[..., Path], characters: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrows = open_pack(characters)["arrows"]
    images = sum(len(arrows.rows(c)) for c in arrows.classes_of("train"))
    alone = ["--method.source", "arrows", "--method.batch_size"]
    train("baseline", *alone, str(images), steps=1, out="enough")
    assert "repeat in it" not in caplog.text
    train("baseline", *alone, str(images + 1), steps=1, out="few")
    assert f"those of arrows ({images} training images) repeat in it" in caplog.text


def test_a_method_bound_to_its_ways_says_so_and_others_serve_any(
    train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert rotogbml.evaluate([str(train("relationnet"))], n_way=4, episodes=2, workers=1, format="json")
    mtl = str(train("mtl"))
    with pytest.raises(rotogbml.UsageError, match="cannot be tested 4-way") as refusal:
        rotogbml.evaluate([mtl], n_way=4, episodes=2, workers=1)
    assert "--head" not in str(refusal.value)  # which mtl does not take


def test_steps_at_test_are_mtls_and_refused_of_what_has_none(train: Callable[..., Path]) -> None:
    run = str(train("mtl"))
    for steps in (0, 40):
        method = load(Spec("run", run, "last", steps), 16)
        assert method.learner.test_steps == steps  # ty: ignore[unresolved-attribute]
    with pytest.raises(rotogbml.UsageError, match="protonet has no inner steps: leave --test_steps out"):
        rotogbml.evaluate([str(train("protonet"))], test_steps=3, episodes=4, workers=1)


def test_explain_says_that_it_follows_learners(train: Callable[..., Path]) -> None:
    pytest.importorskip("captum")
    with pytest.raises(rotogbml.UsageError, match="explain follows learners"):
        rotogbml.explain([str(train("protonet"))], target=["lao"])
