"""The numbers behind the figures of the method."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from docs import figure_runs, figures, two_parameters
from rotogbml.homogenizer import Plain


def test_the_gradient_of_a_task_is_that_of_its_loss() -> None:
    z = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    for task in two_parameters.TASKS:
        (slope,) = torch.autograd.grad(task.loss(z), z)
        torch.testing.assert_close(task.slope(z.detach()), slope)


def test_plain_training_ends_where_the_two_gradients_cancel() -> None:
    course = two_parameters.train(Plain(), steps=600, inner_steps=0)
    least = torch.linalg.solve(
        sum(task.matrix() for task in two_parameters.TASKS),
        sum(task.matrix() @ torch.tensor(task.centre, dtype=torch.float64) for task in two_parameters.TASKS),
    )
    torch.testing.assert_close(course.theta[-1], least, atol=1e-4, rtol=0)
    assert course.cosine[-1] == pytest.approx(-1)


@pytest.mark.parametrize("a", [0.5, 1.0, 3.0])
def test_the_leader_oscillates_beyond_the_ratio_and_not_below(a: float) -> None:
    ratio, rate = two_parameters.smooth_ratio(a), 0.01
    below, above = (two_parameters.game(rate, lambda t, r=r: r * ratio * rate, a, 6000) for r in (0.9, 3.0))
    assert two_parameters.turns(below[:, 0]) <= 1
    assert two_parameters.turns(above[:, 0]) > 1
    matrix = np.array([[1, -a], [ratio * a, ratio]])
    assert np.linalg.eigvals(matrix).imag == pytest.approx(0, abs=1e-6)


def test_a_leader_as_quick_as_its_follower_goes_round_for_ever() -> None:
    ends = np.hypot(*two_parameters.game(0.2, lambda t: 0.2, 3.0).T)
    assert ends[-1] == pytest.approx(ends[0])
    assert two_parameters.turns(two_parameters.game(0.2, lambda t: 0.2, 3.0)[:, 0]) > 30
    slow = np.hypot(*two_parameters.game(0.2, lambda t: 0.2 / (1 + t), 3.0).T)
    assert slow[-1] < 0.01 * ends[-1]


def test_every_figure_is_drawn(tmp_path: Path) -> None:
    for name in ("two-tasks", "leader"):
        figures.main([name, "--out", str(tmp_path)])
    run = tmp_path / "run"
    run.mkdir()
    sides = {("a", "b"): (3.0, 1.5), ("a", "c"): (4.0, 2.0), ("b", "c"): (5.0, 2.5)}
    pairs = [[a, b, {"encoder_before": x, "encoder_after": y}] for (a, b), (x, y) in sides.items()]
    (run / "metrics.jsonl").write_text(json.dumps({"kind": "train", "conflict": {"pairs": pairs}}) + "\n")
    figures.main(["triangle", str(run), "a", "b", "c", "--out", str(tmp_path)])
    for name in ("two-tasks", "leader", "triangle"):
        assert 1000 < (tmp_path / f"{name}.svg").stat().st_size < 150_000
    with pytest.raises(SystemExit, match="a and d never met"):
        figures.main(["triangle", str(run), "a", "b", "d", "--out", str(tmp_path)])


def test_figures_of_runs_are_drawn_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_runs, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(figure_runs, "SCRIPTS", ("arrows", "greek", "hebrew", "lao"))
    monkeypatch.setattr(figure_runs, "CORNERS", ("arrows", "greek", "hebrew"))
    monkeypatch.setattr(figure_runs, "STEPS", {"conflict": 4})
    small = ["--encoder.width", "4", "--outer.log_every", "4", "--outer.validation_episodes", "4"]
    monkeypatch.setattr(figure_runs, "RECIPE", [*figure_runs.RECIPE, *small])
    figures.main(["triangle", "--out", str(tmp_path)])
    first = (tmp_path / "triangle.svg").read_bytes()
    figures.main(["triangle", "--out", str(tmp_path)])  # the run is there
    assert (tmp_path / "triangle.svg").read_bytes() == first
    with pytest.raises(SystemExit):
        figures.main(["saliency", "one", "--out", str(tmp_path)])
