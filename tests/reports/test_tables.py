from __future__ import annotations

import csv
import io
import json
import re

import pytest

from rotogbml.errors import UsageError
from rotogbml.evaluation.cells import best, shorten, verdict
from rotogbml.evaluation.tables import render

from .conftest import result_row

ROWS = [
    result_row("maml+rotogbml", "lao", 0.78, ci95=0.0114),
    result_row("maml", "lao", 0.776, run="plain", ci95=0.012),
    result_row("maml", "nko", 0.5, run="plain"),
    result_row("nearest prototype on pixels", "lao", 0.30504, run=None, training_seed=None, sources=[], norm="none"),
]
PAIRED = [
    {"a": "maml+rotogbml", "b": "maml", "target": "lao", "difference": 0.004, "ci95": 0.006, "episodes": 600},
    {"a": "maml+rotogbml", "b": "maml", "target": "mean of 2", "difference": -0.02, "ci95": 0.0051, "episodes": 1200},
]
NASTY = 'a_b & 50% #1 {x} \\ ~ ^ $m$ <i>|"q"'


def test_markdown_has_a_line_for_each_row_and_the_best_of_each_target_bold() -> None:
    text = render(ROWS, PAIRED, "markdown")
    lines = text.splitlines()
    assert lines[2] == ("| maml+rotogbml | lao | **78.00 ± 1.14** | 5 | 1 | 600 | 75 | batch | 0 | greek, latin |")
    assert lines[3].startswith("| maml | lao | 77.60 ± 1.20 |")
    assert lines[5].startswith("| maml | nko | **50.00 ± 1.10** |")
    assert lines[4] == "| nearest prototype on pixels | lao | 30.50 ± 1.10 | 5 | 1 | 600 | 75 | none | – | – |"
    assert (
        "| maml+rotogbml − maml | lao | +0.40 ± 0.60 | −0.20 to +1.00 | 600 | includes 0: no difference shown |" in text
    )
    assert (
        "| maml+rotogbml − maml | mean of 2 targets | −2.00 ± 0.51 | −2.51 to −1.49 | 1200 | excludes 0: maml is"
        in text
    )


def test_markdown_cells_cannot_break_the_table() -> None:
    line = render([result_row(NASTY + "\n")], [], "markdown").splitlines()[2]
    assert len(re.findall(r"(?<!\\)\|", line)) == 11
    assert "\\<i\\>" in line


def test_text_names_every_value_and_marks_the_best() -> None:
    text = render(ROWS, PAIRED, "text")
    found = " ".join(text.split())
    assert "78.00 ± 1.14 *" in found
    assert "77.60 ± 1.20 *" not in found
    assert "50.00 ± 1.10 *" in found
    assert "includes 0: no difference shown" in found
    assert "\x1b" not in text, "no terminal codes where the output is no terminal"


def test_text_in_a_narrow_terminal_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = render(ROWS, PAIRED, "text")
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "In every row: n_way 5, k_shot 1, episodes 600, queries 75." in text
    for whole in ("78.00 ± 1.14 *", "30.50 ± 1.10", "greek +1", "−2.51 to −1.49"):
        assert whole in text


KNOWN = {"ece": 0.0512, "brier": 0.31234, "brier_ci95": 0.0123, "adapt_seconds": 0.2166, "predict_seconds": 0.00161}


@pytest.mark.parametrize("columns", ["80", "120"])
def test_what_else_a_row_knows_stands_in_a_table_of_its_own(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    rows = [ROWS[0] | KNOWN, ROWS[1] | {"ece": None, "brier": float("nan"), "adapt_seconds": 61.5}, ROWS[3]]
    text = render(rows, [], "text")
    assert max(map(len, text.splitlines())) <= int(columns)
    assert "78.00 ± 1.14 *" in text
    for format in ("text", "markdown", "latex"):
        found = render(rows, [], format)
        found = found.partition("How far" if format != "latex" else "how far")[2].replace("$\\pm$", "±")
        assert all(part in found for part in ("5.12", "0.3123 ± 0.0123", "0.2166", "1.610", "61.5000"))
        assert "nan" not in found
    line = next(line for line in render(rows, [], "markdown").splitlines() if "5.12" in line)
    assert line == "| maml+rotogbml | lao | 5.12 | 0.3123 ± 0.0123 | 0.2166 | 1.610 |"


def test_rows_of_an_earlier_version_have_no_such_table_and_no_empty_columns() -> None:
    assert "ECE" not in render(ROWS, PAIRED, "markdown")
    assert "seconds" not in render(ROWS, PAIRED, "text").lower()
    only = render([ROWS[0] | {"ece": 0.1}], [], "markdown")
    assert "| method | target | ECE % |" in only
    both = render([ROWS[0] | KNOWN, ROWS[0] | KNOWN | {"k_shot": 5}], [], "markdown")
    assert "| maml+rotogbml | lao | 5 | 5 | 5.12 |" in both


def test_text_takes_names_as_they_are() -> None:
    assert "[bold]maml[/bold]" in render([result_row("[bold]maml[/bold]")], [], "text")


def test_csv_read_back_equals_the_rows() -> None:
    rows = [*ROWS, result_row('x,"y"\nz')]
    read = list(csv.DictReader(io.StringIO(render(rows, PAIRED, "csv"))))
    results = [line for line in read if line["kind"] == "accuracy"]
    assert len(results) == len(rows)
    for line, row in zip(results, rows, strict=True):
        for name, value in row.items():
            if name == "sources":
                assert line[name] == ";".join(value)
            elif isinstance(value, float):
                assert float(line[name]) == value
            else:
                assert line[name] == ("" if value is None else str(value))
    pairs = [line for line in read if line["kind"] == "difference"]
    assert [(p["method"], p["versus"], p["target"]) for p in pairs] == [
        ("maml+rotogbml", "maml", "lao"),
        ("maml+rotogbml", "maml", "mean of 2"),
    ]
    assert [float(p["mean"]) for p in pairs] == [0.004, -0.02]


def test_json_read_back_equals_the_rows_and_has_no_nan() -> None:
    assert json.loads(render(ROWS, PAIRED, "json")) == {"rows": ROWS, "paired": PAIRED}
    text = render([result_row(ci95=float("nan"))], [], "json")
    assert json.loads(text)["rows"][0]["ci95"] is None


def test_latex_escapes_every_special_character() -> None:
    text = render([result_row(NASTY)], PAIRED, "latex")
    line = next(line for line in text.splitlines() if line.startswith("a"))
    assert line.startswith(
        r"a\_b \& 50\% \#1 \{x\} \textbackslash{} \textasciitilde{} \textasciicircum{} \$m\$ "
        r"\textless{}i\textgreater{}\textbar{}\textquotedbl{}q\textquotedbl{} & lao & \textbf{78.00 $\pm$ 1.10} & 5 &"
    )
    assert line.endswith(r"\\")
    assert r"n\_way" in text
    assert r"$-$2.00 $\pm$ 0.51" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2


def test_every_latex_row_has_as_many_cells_as_columns() -> None:
    text = render(ROWS, [], "latex")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {9}


def test_equal_as_printed_is_equally_best_and_seeds_stay_rows() -> None:
    rows = [result_row(mean=0.780001), result_row(mean=0.78, training_seed=1), result_row(mean=0.77, training_seed=2)]
    assert best(rows) == {0, 1}
    lines = render(rows, [], "markdown").splitlines()[2:]
    assert [line.split(" | ")[8] for line in lines] == ["0", "1", "2"]


def test_another_task_is_another_contest() -> None:
    assert best([result_row(mean=0.9, k_shot=5), result_row(mean=0.7), result_row(mean=0.6)]) == {0, 1}


@pytest.mark.parametrize(
    ("difference", "ci95", "words"),
    [
        (0.02, 0.01, "excludes 0: a is better, as trained here"),
        (-0.02, 0.01, "excludes 0: b is better, as trained here"),
        (0.01, 0.01, "includes 0: no difference shown"),
        (0.0, 0.0, "includes 0: no difference shown"),
        (0.5, None, "no interval: too few paired episodes"),
        (0.5, float("nan"), "no interval: too few paired episodes"),
    ],
)
def test_a_difference_in_words(difference: float, ci95: float | None, words: str) -> None:
    assert verdict({"a": "a", "b": "b", "difference": difference, "ci95": ci95}) == words


def test_an_undefined_number_is_a_dash_in_every_format() -> None:
    row = result_row(mean=None, ci95=None)
    assert " | – | 5 |" in render([row], [], "markdown")
    for format in ("text", "latex", "csv", "json"):
        assert "nan" not in render([row], [], format).lower()


def test_sources_are_shortened() -> None:
    assert shorten([]) == "–"
    assert shorten(["a", "b"]) == "a, b"
    assert shorten(["a", "b", "c", "d"]) == "a, b +2"


def test_an_unknown_format_names_the_near_one() -> None:
    with pytest.raises(UsageError, match=r"no table format 'markdwon' \(did you mean 'markdown'\?\)"):
        render(ROWS, [], "markdwon")  # ty: ignore[invalid-argument-type]
