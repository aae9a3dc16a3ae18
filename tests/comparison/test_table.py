"""The table of outcomes that are made up: whatever the numbers, it says them right."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from rotogbml.comparison.cells import table_of
from rotogbml.comparison.figures import figures
from rotogbml.comparison.page import page
from rotogbml.comparison.parts import Part, part_of, parts_of
from rotogbml.comparison.published import published_beside
from rotogbml.comparison.render import render
from rotogbml.comparison.roster import BLOCKS
from rotogbml.comparison.rows import CompareRow, compare_rows
from rotogbml.studies.ledger import Ledger

METHODS = ("pixels", "finetune", "skd-gen1", "protonet", "protonet-single", "maml")


def named(rows: list[CompareRow]) -> dict[str, CompareRow]:
    return {row.name: row for row in rows}


def test_rows_are_in_blocks_and_ours_is_what_all_are_compared_with(made: Callable[..., Ledger]) -> None:
    ledger = made(methods=METHODS)
    rows = compare_rows(ledger, 1)
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    order = [BLOCKS.index(row.block) for row in rows]
    assert order == sorted(order)
    assert set(named(rows)) == {*METHODS, "rotogbml-maml"}  # starts are no rows
    ours = named(rows)["rotogbml-maml"]
    assert ours.study.difference is None
    assert ours.study.holm is None
    for row in rows:
        if row is not ours:
            assert row.study.difference is not None
            gap = row.study.mean - ours.study.mean
            assert row.study.difference.mean == pytest.approx(gap)
            assert row.study.holm is not None
            assert row.study.holm >= row.study.difference.p
    p = {name: row.study.difference.p for name, row in named(rows).items() if row.study.difference is not None}
    smallest = min(p, key=lambda name: p[name])
    assert named(rows)[smallest].study.holm == pytest.approx(min(1, len(p) * p[smallest]))  # starts are not counted


def test_what_a_row_begins_with_is_said_and_counted(made: Callable[..., Ledger]) -> None:
    rows = named(compare_rows(made(), 1))
    assert rows["finetune"].training_seconds == pytest.approx(10.5)  # all of it Linear's, a mean of two seeds
    assert rows["finetune"].label == "full fine-tuning (from Linear (Baseline), 4 steps)"
    assert rows["finetune"].images == 4 * 32
    assert rows["skd-gen1"].training_seconds == pytest.approx(21.0)
    assert rows["skd-gen1"].label == "SKD-GEN1 (2 steps of SKD-GEN0, then 2 steps)"
    assert rows["pixels"].training_seconds == 0
    assert rows["pixels"].trained_on == "nothing: no network"
    assert rows["pixels"].memory is None
    assert rows["protonet"].trained_on == "multi-source: 3"
    assert rows["protonet-single"].trained_on == "single-source: imagenet"
    assert rows["maml"].untrained is not None
    assert rows["maml"].untrained[0] == pytest.approx(0.25, abs=0.03)
    assert rows["maml"].course == [(5.0, pytest.approx(0.3)), (10.0, pytest.approx(0.4))]


def test_the_best_of_each_column_is_bold(made: Callable[..., Ledger]) -> None:
    ledger = made()
    table = table_of(ledger.plan, part_of(ledger, 1))
    titles = [column.title for column in table.columns]
    for name in ("cars", "eurosat", "average"):
        c = titles.index(name)
        cells = [
            (line[c], c in bold)
            for (_, ls), bs in zip(table.blocks, table.bold, strict=True)
            for line, bold in zip(ls, bs, strict=True)
        ]
        best = max(float(cell.split()[0]) for cell, _ in cells)
        assert {cell for cell, bold in cells if bold} == {cell for cell, _ in cells if float(cell.split()[0]) == best}
    assert "ECE, %" not in titles
    assert "trainings" not in titles


def test_calibration_has_its_place(made: Callable[..., Ledger]) -> None:
    ledger = made()
    for found in ledger.done.values():
        found["ece"], found["brier"] = {"best": 0.0512}, {"best": 0.61}
    text = render(ledger.plan, [part_of(ledger, 1)], "text")
    assert "ECE, %  Brier" in text
    assert "5.12  0.610" in text


def test_a_table_of_a_part_says_so(made: Callable[..., Ledger]) -> None:
    ledger = made(lambda cell: cell.setting == "maml" or (cell.setting == "protonet" and cell.seed == 1))
    table = table_of(ledger.plan, part_of(ledger, 1))
    protonet = next(line for _, lines in table.blocks for line in lines if line[1] == "ProtoNet")
    assert protonet[-1] == "2 of 4"
    assert "Not begun: MAML." in table.below


def test_an_average_of_fewer_targets_stands_beside_no_other(made: Callable[..., Ledger]) -> None:
    """ProtoNet has but one target yet, and there it is the best."""
    ledger = made(lambda cell: cell.setting == "protonet" and cell.target == "eurosat")
    rows = compare_rows(ledger, 1)
    table = table_of(ledger.plan, Part(1, rows))
    c = [column.title for column in table.columns].index("average")
    number = str(named(rows)["protonet"].number)
    cells = {line[0]: line[c] for _, lines in table.blocks for line in lines}
    assert {row for row, cell in cells.items() if cell == "–"} == {number}
    assert "average: only of rows that have every target of the table." in table.below
    bold = [
        line[0]
        for (_, lines), bolds in zip(table.blocks, table.bold, strict=True)
        for line, best in zip(lines, bolds, strict=True)
        if c in best
    ]
    assert bold
    assert number not in bold
    against = figures(rows, "ours")[0]
    assert f"{number} ProtoNet " not in against.alt
    assert "MAML" in against.alt


def test_every_format_has_every_row(made: Callable[..., Ledger]) -> None:
    ledger = made()
    rows = compare_rows(ledger, 1)
    tables = [Part(1, rows)]
    text = render(ledger.plan, tables, "text")
    assert all(f"-- {block}" in text for block in {row.block for row in rows})
    assert "STAND-INS" in text
    markdown = render(ledger.plan, tables, "markdown")
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len(lines) == 2 + len(rows) + len({row.block for row in rows})
    latex = render(ledger.plan, tables, "latex")
    body = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len({line.count(" & ") for line in body}) == 1
    assert latex.count(r"\textbf{") == 3
    read = list(csv.DictReader(io.StringIO(render(ledger.plan, tables, "csv"))))
    assert [line["name"] for line in read] == [row.name for row in rows]
    assert float(read[0]["accuracy cars"]) == rows[0].study.targets["cars"][0]
    tree = json.loads(render(ledger.plan, tables, "json"))
    assert tree["stand_ins"] is True
    assert [row["name"] for row in tree["rows"]] == [row.name for row in rows]
    assert tree["rows"][1]["difference"]["low"] <= tree["rows"][1]["difference"]["high"]


class Tags(HTMLParser):
    """What a page refers to, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag not in ("meta", "br", "path", "line", "use", "image"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_page_stands_alone(made: Callable[..., Ledger]) -> None:
    ledger = made(k_shot=(1, 5))
    tables = parts_of(ledger)
    text = page(ledger.plan, tables, "rotogbml compare table --out <here>")
    assert page(ledger.plan, tables, "rotogbml compare table --out <here>") == text
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "script" not in tags.seen
    assert all(reference.startswith("#") for reference in tags.references)
    assert "http" not in text.replace("http://www.w3.org/", "")
    assert tags.seen.count("figure") == 2 * 4
    assert "&lt;here&gt;" in text
    assert "STAND-INS" in text
    assert "Accuracy against seconds of adaptation" in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(set(ids)) == len(ids)


def test_published_numbers_stand_apart(made: Callable[..., Ledger]) -> None:
    """Protocol, target and shots agree, or nothing stands there; of stand-ins it says that they do not compare."""
    weak = {"protocol": "weak", "targets": ("miniimagenet",), "methods": ("baseline", "protonet", "maml")}
    ledger = made(**weak)
    rows = compare_rows(ledger, 1)
    assert {row.name: [round(100 * p.mean, 2) for p in row.published] for row in rows} == {
        "baseline": [42.11],
        "protonet": [44.42],
        "maml": [46.47],
        "rotogbml-maml": [],
    }
    # Which of its two machines a table means it does not say.
    both = {name: published_beside(ledger.plan, name, 1) for name in ("metaoptnet", "metaoptnet-svm")}
    assert both["metaoptnet"] == both["metaoptnet-svm"] != []
    table = table_of(ledger.plan, Part(1, rows))
    assert table.columns[-1].title == "PUBLISHED, other pipelines"
    assert not any(len(table.columns) - 1 in bold for bolds in table.bold for bold in bolds)
    notes = [line for line in table.below if line.startswith("[")]
    assert notes
    assert all("NOT COMPARABLE, here are stand-ins" in line and "Table I of" in line for line in notes)
    csv_line = next(csv.DictReader(io.StringIO(render(ledger.plan, [Part(1, rows)], "csv"))))
    assert (csv_line["protocol"], csv_line["stand_ins"], csv_line["ours"]) == ("weak", "True", "rotogbml-maml")
    assert csv_line["published_elsewhere"].startswith(
        "miniimagenet 0.4211 ± 0.0071 (NOT COMPARABLE, here are stand-ins"
    )
    assert "pipeline: " in csv_line["published_elsewhere"]
    latex = render(ledger.plan, [Part(1, rows)], "latex").splitlines()
    printed = [line for line in latex if not line.startswith("%")]
    assert any(line.startswith(r"\par\footnotesize [a] NOT COMPARABLE") for line in printed)
    assert any("Stand-ins for the protocol's datasets" in line for line in printed)
    without = replace(ledger.plan, protocol="")
    for plan, k_shot, setting in (
        (without, 1, "baseline"),
        (ledger.plan, 20, "baseline"),
        (ledger.plan, 1, "baseline-single"),
        (replace(ledger.plan, protocol="strong"), 1, "maml"),
    ):
        assert published_beside(plan, setting, k_shot) == []
    assert published_beside(ledger.plan, "baseline", 1)
    assert published_beside(ledger.plan, "baseline", 1, 20) == []
    strong = replace(ledger.plan, protocol="strong", targets=("cub", "eurosat"), suite="paper")
    assert [p.target for p in published_beside(strong, "random-frozen", 5)] == ["eurosat"]
    (maml,) = published_beside(strong, "maml", 5)
    assert "NOT COMPARABLE" not in maml.note("paper")
    assert "Table II of the RotoGBML paper" in maml.note("paper")
    theirs = replace(strong, protocol="closer-look", targets=("cub",))
    order = {row: published_beside(theirs, row, 5)[0] for row in ("maml", "baseline", "matchingnet", "baseline++")}
    assert sorted(order, key=lambda row: -order[row].mean) == ["baseline", "baseline++", "matchingnet", "maml"]
    assert "RotoGBML" not in order["maml"].note("paper")
