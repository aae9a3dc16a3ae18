"""Every rival and every reading trained for real by the command, and what a run with one is called."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import rotogbml
from rotogbml.cli import main
from rotogbml.config import HomogenizerConfig, IsiConfig, LearnerConfig, ReweightConfig, RotateConfig
from rotogbml.errors import UsageError
from rotogbml.homogenizer.rivals.rival import NAMES, SPELT
from rotogbml.training.naming import method_name
from rotogbml.training.recorder import Recorder, StepRecord
from rotogbml.training.run import RunFolder
from rotogbml.training.step import meta_step

SOLVERS = {"cagrad": ("cvxpy", "clarabel"), "nash-mtl": ("cvxpy", "ecos")}
SOLVERS |= dict.fromkeys(("upgrad", "dualproj"), ("qpsolvers", "quadprog"))


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("characters") / "pack"
    return rotogbml.glyphs(out, size=16, images_per_class=6, scripts=("arrows", "greek", "lao"), workers=1)


def options(pack: Path, out: Path, *more: str) -> list[str]:
    return [
        *("train", "--sources", str(pack), "--holdout", "lao", "--threads", "1", "--encoder.width", "4"),
        *("--episodes.n_way", "2", "--episodes.n_query", "3", "--episodes.tasks_per_batch", "2", "--isi", "off"),
        *("--learner.inner_steps", "1", "--outer.validation_episodes", "2", "--steps", "3", "--out", str(out), *more),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_rival_trains(name: str, characters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs = ("torchjd", *SOLVERS.get(name, ()))
    missing = [package for package in needs if not importlib.util.find_spec(package)]
    if missing and name not in ("mean", "sum", "unit", "clip"):
        pytest.skip(f"{name} needs {' and '.join(missing)}")
    assert main(options(characters, tmp_path / "run", "--homogenizer.combine", name)) == 0
    called = "maml" if name == "mean" else f"maml + {SPELT[name]}"
    assert f"{called}, conv4-4, 2-way 1-shot" in capsys.readouterr().out
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["homogenizer"]
    assert (kept["reweight"], kept["rotate"], kept["combine"]) == (None, None, name)


@pytest.mark.parametrize("name", ["gradvac", "famo", "graddrop"])
def test_a_run_with_a_rival_goes_on_to_the_bit(name: str, characters: Path, tmp_path: Path) -> None:
    pytest.importorskip("torchjd")

    def train(out: str, steps: int) -> dict[str, Any]:
        arguments = options(characters, tmp_path / out, "--homogenizer.combine", name)
        arguments[arguments.index("--steps") + 1] = str(steps)
        assert main(arguments) == 0
        return torch.load(tmp_path / out / "checkpoints" / "last.pt", weights_only=True)

    train("stopped", 2)
    resumed, whole = train("stopped", 5), train("whole", 5)
    for group in ("theta", "phi"):
        assert all(torch.equal(resumed[group][key], whole[group][key]) for key in whole[group])
    assert str(resumed["homogenizer"]) == str(whole["homogenizer"])


READINGS: dict[str, list[str]] = {
    "adam": ["--homogenizer.reweight.optimizer", "adam"],
    "sgd, smoothed": ["--homogenizer.reweight.optimizer", "sgd", "--homogenizer.reweight.smoothing", "0.9"],
    "cayley": ["--homogenizer.rotate.update", "gradient"],
    "by class": ["--homogenizer.rotate.compare", "class"],
    "class means": ["--homogenizer.rotate.compare", "class-mean", "--homogenizer.rotate.align", "rotated"],
    "prototypes of the minibatch": [
        *("--homogenizer.rotate.compare", "prototype", "--homogenizer.rotate.align", "rotated"),
        *("--homogenizer.rotate.slots", "minibatch"),
    ],
    "edges on the support": ["--isi", "on", "--isi.mask", "edges", "--isi.side", "support"],
    "γ beside a rival": ["--homogenizer.combine", "unit", "--homogenizer.rotate.lr", "0.1"],
}


@pytest.mark.parametrize("reading", READINGS)
def test_every_reading_trains(reading: str, characters: Path, tmp_path: Path) -> None:
    assert main(options(characters, tmp_path / "run", *READINGS[reading])) == 0
    config = RunFolder(tmp_path / "run").read_config()
    name = method_name(config)
    assert name == {"edges on the support": "maml + RotoGBML", "γ beside a rival": "maml + unit gradients + γ"}.get(
        reading, "maml + ω + γ"
    )


def test_omega_beside_a_rival_is_refused(characters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = options(characters, tmp_path / "run", "--homogenizer.combine", "pcgrad", "--homogenizer.reweight.beta", "1")
    assert main(both) != 0
    assert "takes the place of omega, but homogenizer.reweight.beta is set" in capsys.readouterr().err


def test_a_configuration_of_an_earlier_version_is_read(characters: Path, tmp_path: Path) -> None:
    assert main(options(characters, tmp_path / "run")) == 0
    path = tmp_path / "run" / "config.yaml"
    tree = yaml.safe_load(path.read_text())
    now = RunFolder(tmp_path / "run").read_config()
    for part, names in {"reweight": ("optimizer", "smoothing"), "rotate": ("update", "compare")}.items():
        for name in names:
            del tree["homogenizer"][part][name]
    for name in ("combine", "clip", "slots"):
        del tree["homogenizer"][name]
    path.write_text(yaml.safe_dump(tree))
    assert RunFolder(tmp_path / "run").read_config() == now
    assert main(options(characters, tmp_path / "run")) == 0  # and it is the same run


@pytest.mark.parametrize("learner", ["maml", "imaml", "reptile", "maml++"])
@pytest.mark.parametrize("compare", ["class", "prototype"])
def test_learners_hand_over_classes(build: Callable[..., Any], learner: str, compare: Any) -> None:
    align = "rotated" if compare == "prototype" else "shared"
    for slots in ("source", "minibatch"):
        γ = RotateConfig(align=align, slots=slots, compare=compare, lr=0.1)
        parts = build(learner=LearnerConfig(learner, inner_steps=2), isi=None, homogenizer=HomogenizerConfig(None, γ))
        psi = parts.learner.network.psi()
        optimizer = torch.optim.SGD(psi.tensors(), lr=0.01)
        for step in range(2):
            record = meta_step(parts.at(0.4), psi, optimizer, parts.sampler.batch(step), step)
        assert record.feature_after.shape == (3, 2 * parts.learner.network.feature_dim)
        assert all(p.isfinite().all() for p in psi.tensors())


@pytest.mark.parametrize("learner", ["maml", "reptile"])
def test_isi_on_one_side_leaves_the_other_as_it_is(build: Callable[..., Any], learner: str) -> None:
    """Each side changes the step, and neither alone is both."""

    def step(isi: IsiConfig | None) -> torch.Tensor:
        # Three minibatches of Reptile: the last plays the query.
        parts = build(isi=isi, homogenizer=None, learner=LearnerConfig(name=learner, inner_lr=0.2, inner_steps=3))
        psi = parts.learner.network.psi()
        meta_step(parts, psi, torch.optim.SGD(psi.tensors(), lr=0.1), parts.sampler.batch(0), 0)
        return torch.cat([p.detach().flatten() for p in psi.tensors()])

    ends = [step(None), *(step(IsiConfig(rate=0.5, side=side)) for side in ("both", "support", "query"))]
    for i, a in enumerate(ends):
        assert all(not torch.equal(a, b) for b in ends[:i])
    assert torch.equal(ends[1], step(IsiConfig(rate=0.5)))


def test_lengths_under_weights_below_zero_are_lengths(tmp_path: Path) -> None:
    g = torch.eye(2)
    record = StepRecord(("a", "b"), [1.0, 1.0], [0.5, 0.5], [1.0, 1.0], [-3.0, 2.0], g, g, g)
    recorder = Recorder(tmp_path)
    recorder.add(record)
    line = recorder.line(1, {}, {})
    assert (line["sources"]["a"]["weighted_norm"], line["sources"]["a"]["omega"]) == (3.0, -3.0)
    assert line["conflict"]["sources"] == {
        "a": {
            "encoder_norm": 1.0,
            "encoder_weighted": 3.0,
            "features_norm": 1.0,
            "features_weighted": 3.0,
            "share": 0.69231,
        },
        "b": {
            "encoder_norm": 1.0,
            "encoder_weighted": 2.0,
            "features_norm": 1.0,
            "features_weighted": 2.0,
            "share": 0.30769,
        },
    }
    assert line["conflict"]["pairs"][0][2]["encoder_after"] == pytest.approx(13**0.5, abs=1e-3)


def test_from_python_too(build: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="takes the place of omega"):
        build(homogenizer=HomogenizerConfig(ReweightConfig(beta=0.0), None, combine="unit"))
    assert build(homogenizer=HomogenizerConfig(combine="unit")).homogenizer.rotations(["alpha"]) is None
