"""Evaluation of what learners, heads, norms and ensembles bring with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import rotogbml
from rotogbml.cli import main
from rotogbml.config import EncoderConfig, EpisodeConfig, IsiConfig
from rotogbml.episodes import Episode, Examples
from rotogbml.errors import UsageError
from rotogbml.evaluation.methods import Ensemble, Spec, load
from rotogbml.evaluation.results import Results
from rotogbml.evaluation.work import Test as Fixed
from rotogbml.learners import list_learners
from rotogbml.sources.packed import PackedSource, open_pack

Evaluate = Callable[..., Results]


def hidden(tiny: list[str]) -> tuple[PackedSource, Episode]:
    """Return the held-out source and one episode of it."""
    source = open_pack(tiny[tiny.index("--sources") + 1])["hidden"]
    return source, Fixed(source, "all", 2, 1, 4, 0).episode(0)


def train(tiny: list[str], out: Path, *more: str) -> str:
    assert main(["train", *tiny, "--steps", "4", "--out", str(out), *more]) == 0
    return str(out)


@pytest.mark.parametrize("learner", list_learners())
def test_every_learner_goes_from_the_command_line_to_a_row(
    tiny: list[str], tmp_path: Path, evaluate: Evaluate, learner: str
) -> None:
    order = [] if learner in ("imaml", "reptile") else ["--learner.first_order", "true"]
    run = train(tiny, tmp_path / "run", "--learner", learner, *order)
    row = next(iter(evaluate(run).rows.values()))
    assert row["method"].startswith(learner)
    assert row["norm"] == ("per-step" if learner == "maml++" else "batch")
    assert row["episodes"] == 8


@pytest.mark.parametrize("norm", ["support", "running", "per-step", "group", "layer", "none"])
def test_the_norm_policy_is_in_the_row_and_queries_alone_get_the_same_scores(
    tiny: list[str], tmp_path: Path, evaluate: Evaluate, norm: str
) -> None:
    run = train(tiny, tmp_path / "run", "--encoder.norm", norm)
    results = evaluate(run, n_query=2)
    assert {row["norm"] for row in results.rows.values() if row["run"] == "run"} == {norm}
    source, episode = hidden(tiny)
    method = load(Spec("run", run), source.size)
    together = method.scores(episode)
    for q in range(len(episode.query.y)):
        one = replace(episode, query=Examples(episode.query.x[q : q + 1], episode.query.y[q : q + 1]))
        torch.testing.assert_close(method.scores(one)[0], together[q], rtol=1e-4, atol=1e-4)


def test_under_batch_other_queries_matter(tiny: list[str], tmp_path: Path) -> None:
    """The policy that the test above leaves out is told apart by the same measure."""
    run = train(tiny, tmp_path / "run")
    source, episode = hidden(tiny)
    method = load(Spec("run", run), source.size)
    two = replace(episode, query=Examples(episode.query.x[:2], episode.query.y[:2]))
    assert float((method.scores(two) - method.scores(episode)[:2]).abs().max()) > 1e-2


@pytest.mark.parametrize("head", ["linear-tied", "zero", "prototype"])
def test_one_checkpoint_serves_any_number_of_classes(
    tiny: list[str], tmp_path: Path, evaluate: Evaluate, head: str
) -> None:
    run = train(tiny, tmp_path / "run", "--head", head)
    for n_way in (2, 5, 10):
        results = evaluate(run, n_way=n_way, n_query=1, out=str(tmp_path / str(n_way)))
        row = next(iter(results.rows.values()))
        assert row["n_way"] == n_way
        assert f"{head} head" in row["method"]
        assert f"--n_way {n_way}" in row["command"]


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_a_head_with_a_row_for_each_class_says_which_heads_do(
    tiny: list[str], tmp_path: Path, evaluate: Evaluate, head: str
) -> None:
    run = train(tiny, tmp_path / "run", "--head", head)
    with pytest.raises(UsageError, match=rf"its {head} head has one row .* \(linear-tied, prototype, zero\)"):
        evaluate(run, n_way=3)


def test_an_ensemble_is_named_and_is_the_mean_of_its_members_probabilities(
    tiny: list[str], tmp_path: Path, evaluate: Evaluate
) -> None:
    more = ("--outer.keep_best", "2", "--outer.validate_every", "1")
    run = train(tiny, tmp_path / "run", *more)
    rows = [row for row in evaluate(run, checkpoint="ensemble").rows.values() if row["run"]]
    # The one checkpoint stands beside: an ensemble is never shown alone.
    assert [row["method"] for row in rows] == ["maml + RotoGBML, ensemble of 2 checkpoints", "maml + RotoGBML"]
    assert [row["checkpoint"] for row in rows] == ["ensemble", "best"]
    source, episode = hidden(tiny)
    method = load(Spec("run", run, "ensemble"), source.size)
    assert isinstance(method, Ensemble)
    each = [member.learner.predict(member.psi, episode).softmax(1) for member in method.members]
    assert not torch.equal(each[0], each[1])
    torch.testing.assert_close(method.scores(episode).softmax(1).float(), (each[0] + each[1]) / 2)


def test_an_ensemble_that_was_not_kept_is_refused_with_the_mend(
    tiny: list[str], tmp_path: Path, evaluate: Evaluate
) -> None:
    run = train(tiny, tmp_path / "run")
    with pytest.raises(UsageError, match=r"keeps 0 checkpoints, an ensemble needs at least 2: train with --outer"):
        evaluate(run, checkpoint="ensemble")


def test_reptile_says_how_its_queries_are_judged(tiny: list[str], tmp_path: Path, evaluate: Evaluate) -> None:
    run = train(tiny, tmp_path / "run", "--learner", "reptile", "--learner.transductive", "false")
    row = next(iter(evaluate(run).rows.values()))
    assert row["norm"] == "batch, each query beside the support"


class Own(nn.Module):
    """An encoder of a user's, with a buffer that stays."""

    isi_layers = ("conv",)

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.conv.weight.data.normal_(0, 0.2, generator=g)
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.norm(self.conv(x)).relu().mean((2, 3)) * self.scale).flatten(1)


def test_a_module_of_the_users_is_trained_and_tested_from_python(pack: Path, tmp_path: Path) -> None:
    report = rotogbml.train(
        [str(pack)],
        str(tmp_path / "run"),
        holdout=["hidden"],
        steps=2,
        threads=1,
        episodes=EpisodeConfig(n_way=2, n_query=3, tasks_per_batch=3),
        encoder=Own(),  # type: ignore[arg-type]
        isi=IsiConfig(layers=1),
    )
    assert report.steps == 2
    results = rotogbml.evaluate([report.out], episodes=4, out=str(tmp_path / "out"), workers=2)
    row = next(iter(results.rows.values()))
    assert row["norm"] == "as given"
    assert np.isfinite(row["mean"])


def test_modules_of_the_users_are_told_apart_and_copied() -> None:
    """By what they are made of and hold, not by their class: weights of one never run through another."""
    one, other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh())
    names = [rotogbml.give_encoder(nn.Sequential(m, nn.AdaptiveAvgPool2d(1), nn.Flatten())) for m in (one, other)]
    assert names[0] != names[1]
    a, b = (rotogbml.create_encoder(names[0], size=16) for _ in range(2))
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.data_ptr() != q.data_ptr()


def test_a_module_behind_an_import_path_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_module.py").write_text(
        "from torch import nn\n\nnet = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    a, b = (rotogbml.create_encoder("my_module:net", size=16) for _ in range(2))
    assert all(p.data_ptr() != q.data_ptr() for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_a_run_of_an_earlier_version_is_evaluated_but_not_gone_on_with(
    tiny: list[str], tmp_path: Path, evaluate: Evaluate
) -> None:
    run = Path(train(tiny, tmp_path / "run"))
    tree = yaml.safe_load((run / "config.yaml").read_text())
    del tree["head"]
    for name in ("optimizer", "schedule", "clamp", "keep_best"):
        del tree["outer"][name]
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    for name in ("best", "last"):
        state = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)
        old = {k: v for k, v in state.items() if k not in ("alpha", "statistics", "kept")} | {"format": 1}
        torch.save(old, run / "checkpoints" / f"{name}.pt")
    (run / "checkpoints" / "previous.pt").unlink()
    assert evaluate(str(run)).rows
    assert main(["train", *tiny, "--steps", "8", "--out", str(run)]) == 2


def test_a_module_of_the_users_by_import_path(
    pack: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_encoders.py").write_text(
        "from torch import nn\n\n\ndef small(size):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    options = [o for i, o in enumerate(tiny) if o != "--encoder.width" and tiny[i - 1] != "--encoder.width"]
    own = ["--encoder", "my_encoders:small", "--isi", "off", "--steps", "2"]
    assert main(["train", *options, *own, "--out", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--episodes", "4", "--workers", "2"]) == 0
    with pytest.raises(UsageError, match="ISI cannot act on my_encoders:small, which names no layers"):
        rotogbml.train(
            [str(pack)],
            str(tmp_path / "other"),
            steps=1,
            episodes=EpisodeConfig(n_way=2, n_query=3),
            encoder=EncoderConfig("my_encoders:small"),
        )
