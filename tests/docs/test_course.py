"""The course of validation, drawn from a study's outcomes alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docs import course

FIRST = [(50, 0.25, 0.02)]
WHOLE = [*FIRST, (90, 0.31, 0.03), (120, 0.29, 0.02)]


def outcome(learner: str, setting: str, minutes: int, validation: list[tuple[int, float, float]]) -> str:
    """Return a line of a results file, with what the figure reads."""
    cell = {"seed": 0, "target": "miniimagenet", "k_shot": 1, "learner": learner, "setting": setting}
    more = {"budget": [minutes, "minutes"], "steps": 50, "validation": validation, "plan": "", "correct": {}}
    return json.dumps(cell | more) + "\n"


def test_the_largest_budget_of_each_training_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "mini.jsonl"
    lines = [outcome("maml", setting, *what) for setting in ("plain", "roto") for what in ((40, WHOLE), (20, FIRST))]
    results.write_text("".join(lines) + outcome("imaml", "plain", 20, FIRST))
    course.main([str(results), "--out", str(tmp_path / "a.svg")])
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert "roto" in said[1]
    whole = "120 steps in 40 minutes; validation at best 31.00 (step 90), at last 29.00 ± 2.00 %"
    assert [line.endswith(whole) for line in said] == [True, True, False]
    course.main([str(results), "--out", str(tmp_path / "b.svg"), "--level", "46.47"])
    plain, lined = ((tmp_path / name).read_text() for name in ("a.svg", "b.svg"))
    assert "imaml" in plain
    assert plain != lined


def test_outcomes_without_a_course_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.jsonl").write_text(outcome("maml", "plain", 20, []))
    with pytest.raises(SystemExit, match=r"old\.jsonl holds no outcome with a course of validation"):
        course.main([str(tmp_path / "old.jsonl")])
