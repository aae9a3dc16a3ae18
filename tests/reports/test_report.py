from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

from rotogbml.errors import UsageError
from rotogbml.reports import report

from .conftest import make_run, result_row

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """The page's tags with their attributes, its text, and whether tags are balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.stack: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def section(self, name: str) -> str:
        """Return the HTML of one section."""
        return self.source.partition(f'<section id="{name}"')[2].partition('<section id="')[0]


def test_the_page_stands_alone(whole_page: Path) -> None:
    assert whole_page.name == "report.html"
    page = Page(whole_page)
    assert not page.stack
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "poster", "action"):
            assert re.match(r"data:image/png;base64,|#", attributes.get(name) or "#"), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert attributes.get("alt")
        if attributes.get("role") in {"img", "region"}:
            assert attributes.get("aria-label")
    assert not re.search(r"https?://|@import|url\((?!#)", page.source)
    assert whole_page.stat().st_size < 5_000_000
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links == {f"#{name}" for name in ids if f'<section id="{name}"' in page.source}


def test_the_page_says_what_the_run_folder_holds(whole_page: Path) -> None:
    page = Page(whole_page)
    text = " ".join(page.text.split())
    assert "First-order MAML learnt an initialisation of conv4 with 64 filters a layer" in text
    assert "It trained for 600 steps of 4 tasks, each task of a step from another source." in text
    assert "Training sources (6): arabic, armenian, cyrillic, greek, hebrew, latin." in text
    assert "Tested on 2 sources: lao, nko." in text
    # each ± 1.1 points: √2 · 1.1 / 2
    means = {"maml+rotogbml": 79, "maml": 78.6, "untrained encoder": 42, "nearest prototype on pixels": 34}
    assert "; ".join(f"{name} {mean:.2f} ± 0.78 %" for name, mean in means.items()) in text
    for number in ("78.00 ± 1.10", "77.60 ± 1.10", "33.00 ± 1.10", "+0.40 ± 0.60", "+3.10 ± 0.40"):
        assert number in page.section("results")
    assert page.section("results").count("<strong>") == 2
    assert "ECE" not in page.section("results")  # rows of an earlier version
    assert "the 95 % interval +2.70 to +3.50 excludes 0: maml+rotogbml is better, as trained here" in text
    assert "rotate_support: true" in page.section("config")
    again = page.section("again")
    assert f"rotogbml report {whole_page.parent}" in again
    assert "rotogbml evaluate roto --target lao nko" in again
    assert "2 min 06 s" in again
    assert "torch 2.13.0" in again
    assert "112,000" in again
    assert "05" * 32 in again


def test_figures_and_pictures_are_there(whole_page: Path) -> None:
    page = Page(whole_page)
    figures = {name: page.section(name).count('role="img"') for name in ("results", "curves", "omega", "gradients")}
    assert figures == {"results": 1, "curves": 2, "omega": 1, "gradients": 5}
    episodes = page.section("episodes")
    assert episodes.count('<article class="episode">') == 3
    assert episodes.count("support image of") == 15
    assert episodes.count("<img") == 15 + 3 * 5 * 8
    with np.load(whole_page.parent / "evaluation" / "examples.npz") as arrays:
        right = int((arrays["0/pred/maml+rotogbml"] == arrays["0/query_y"]).sum())
    assert f"lao: {right} of 75 queries right" in episodes
    assert episodes.count("answered right") == episodes.count("<figcaption>✓</figcaption>")
    assert episodes.count("wrongly taken for") == episodes.count("<figcaption>✗ ")
    assert page.section("isi").count("drop probability over the same image") == 6


def test_two_runs_stand_side_by_side(tmp_path: Path, run_folder: Path) -> None:
    plain = make_run(tmp_path / "plain", method="maml", evaluated=False)
    page = Page(report([str(run_folder), str(plain)], out=str(tmp_path / "both.html")))
    text = " ".join(page.text.split())
    assert "No part of RotoGBML acted: this is the plain learner." in text
    assert "ω was off in this run: every task’s gradient counted the same." in text
    assert "ISI was off in this run: no neuron was dropped." in text
    assert "γ was off: features have no “after”." in text
    assert text.count("The two maps of features share one scale of colour.") == 1
    curves = page.section("curves")
    assert "plain, validation" in curves
    assert f"{run_folder.name}, validation of the running mean" in curves
    assert "plain, validation of the running mean" not in curves
    assert f"--out {tmp_path / 'both.html'}" in page.section("again")


def test_equal_folders_give_an_equal_page(run_folder: Path) -> None:
    first = report([str(run_folder)]).read_bytes()
    assert report([str(run_folder)]).read_bytes() == first
    assert [path.name for path in run_folder.iterdir() if "report" in path.name] == ["report.html"]


def test_names_are_escaped(tmp_path: Path) -> None:
    nasty = "<b>&\"'{{x}}"
    folder = make_run(
        tmp_path / "roto",
        sources=(nasty, "greek"),
        targets=(f"t{nasty}",),
        classes=(f"c{nasty}", "b", "c", "d", "e"),
    )
    page = Page(report([str(folder)]))
    assert "<b>" not in page.source
    assert nasty in page.text
    assert f"t{nasty}: " in page.text
    assert any(attributes.get("alt") == f"support image of c{nasty}" for _, attributes in page.tags)


@pytest.mark.parametrize(
    ("missing", "sentences"),
    [
        ("evaluation", ["Not evaluated yet: run rotogbml evaluate on this run"]),
        (
            "evaluation/examples.npz",
            ["No test episodes are kept with this run yet", "ISI was on, but there are no example images yet"],
        ),
        (
            "metrics.jsonl",
            [
                "No metrics yet: metrics.jsonl holds no training line.",
                "ω was on, but no value of it has been logged yet.",
                "No gradient norm has been logged in this run.",
                "No cosine between two sources has been logged",
            ],
        ),
    ],
)
def test_what_is_missing_is_said(run_folder: Path, missing: str, sentences: list[str]) -> None:
    path = run_folder / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    page = Page(report([str(run_folder)]))
    assert not page.stack
    for sentence in sentences:
        assert sentence in " ".join(page.text.split())


def test_only_the_configuration_is_enough(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("learner:\n  name: anil\n")
    text = " ".join(Page(report([str(tmp_path)])).text.split())
    assert "ANIL learnt an initialisation" in text
    assert "Which sources it trained on is not recorded" in text


def test_damage_is_said_and_the_rest_is_shown(run_folder: Path) -> None:
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    (run_folder / "evaluation" / "results.json").write_text("{")
    examples = run_folder / "evaluation" / "examples.npz"
    examples.write_bytes(examples.read_bytes()[:1000])
    page = Page(report([str(run_folder)]))
    text = " ".join(page.text.split())
    assert "metrics.jsonl: 1 damaged line was left out." in text
    assert "results.json is damaged and was left out." in text
    assert "examples.npz is damaged: 0 of its episodes could be read." in text
    assert page.section("curves").count('role="img"') == 2


def test_undefined_numbers_do_not_stop_the_page(run_folder: Path) -> None:
    line = {
        "kind": "train",
        "step": 620,
        "loss": None,
        "accuracy": None,
        "omega": {},
        "sources": {"greek": {}},
        "cosine": {"encoder": None},
        "pairs": [["greek", "latin", {"count": 0, "encoder": None}]],
    }
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    results = run_folder / "evaluation" / "results.json"
    results.write_text(json.dumps({"rows": [result_row(mean=None, ci95=None)], "paired": []}))
    page = Page(report([str(run_folder)]))
    assert "nan" not in page.section("results").lower()
    assert "No paired difference" in page.section("results")
    assert "It trained for 620 steps" in page.text


def test_omega_of_places_in_the_minibatch(run_folder: Path) -> None:
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "train":
            line["omega"] = {"0": 1.1, "1": 0.9}
    (run_folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    omega = Page(report([str(run_folder)])).section("omega")
    assert "ω of each place in the minibatch" in omega
    assert "place 0 from 1.1 to 1.1" in omega


def test_who_wins_and_how_far_apart_tasks_are(run_folder: Path) -> None:
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    rooms = {f"{room}_{what}": 0.5 for room in ("encoder", "features") for what in ("cosine", "before", "after")}
    for line in lines:
        if line["kind"] == "train":
            lengths = {"head_norm": 4.5, "head_weighted": 6.75}
            sources = {"greek": {"share": 0.75} | lengths, "latin": {"share": -0.25}}
            line["conflict"] = {"sources": sources, "pairs": [["greek", "latin", rooms | {"encoder_before": 1.25}]]}
    (run_folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    gradients = Page(report([str(run_folder)])).section("gradients")
    assert "Who wins" in gradients
    assert "Share of the step" in gradients
    assert "greek from 0.75 to 0.75" in gradients
    assert "1.250" in gradients
    assert "head φ" not in gradients  # a run whose head learns nothing has no such line
    assert '<th scope="row">greek and latin</th>' in gradients
    assert gradients.count("1.250") == 2  # of all pairs, and of this one
    assert "head ω‖g‖" in gradients
    assert "features ω‖g‖" not in gradients
    assert '<td class="number">4.500</td><td class="number">6.750</td></tr>' in gradients


def test_a_rival_in_omegas_place_is_said(run_folder: Path) -> None:
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    config["homogenizer"] = {"reweight": None, "rotate": None, "combine": "pcgrad", "phase": [0.0, 0.5]}
    config["isi"] |= {"T": "inf", "side": "support"}
    (run_folder / "config.yaml").write_text(yaml.safe_dump(config))
    page = Page(report([str(run_folder)]))
    assert "PCGrad stood in ω’s place and made one gradient of the tasks’." in page.text
    assert "The homogenizer acted in the share 0 to 0.5 of training alone." in page.text
    assert "plain dropout in ISI’s place on the first 2 layers" in page.text
    assert "in passes of the support alone" in page.text
    assert "Weight of each source" in page.section("omega")
    assert "every task’s gradient counted the same" not in page.section("omega")
    assert "Norm after PCGrad" in page.section("gradients")
    assert "the norms before and after are the same" not in page.section("gradients")
    config["isi"] = None
    (run_folder / "config.yaml").write_text(yaml.safe_dump(config))
    alone = Page(report([str(run_folder)])).text
    assert "No part of RotoGBML acted. PCGrad stood in ω’s place" in alone
    assert "plain learner" not in alone


def test_settings_of_isi_that_no_one_knows_are_said(run_folder: Path) -> None:
    config = run_folder / "config.yaml"
    config.write_text(config.read_text().replace("radius: 2", "reach: 2"))
    assert "The settings of ISI in config.yaml could not be used" in Page(report([str(run_folder)])).text


def test_the_worst_pictures_stay_below_five_megabytes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "roto", n_way=10, k_shot=5, side=97, photos=True, method="maml")
    assert report([str(folder)]).stat().st_size < 5_000_000


def test_wrong_folders_are_named_with_the_mend(tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no run folder '.*rotp' \(did you mean 'roto'\?\)"):
        report([str(tmp_path / "rotp")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"is no run folder: it has no config\.yaml"):
        report([str(tmp_path / "empty")])
    with pytest.raises(UsageError, match="no run folder given"):
        report([])
    with pytest.raises(UsageError, match=r"config\.yaml' is no folder; give another --out"):
        report([str(run_folder)], out=str(run_folder / "config.yaml" / "x.html"))


def test_out_may_be_a_folder_or_a_new_place(run_folder: Path, tmp_path: Path) -> None:
    assert report([str(run_folder)], out=str(tmp_path)) == tmp_path / "report.html"
    assert report([str(run_folder)], out=str(tmp_path / "new" / "page.html")).is_file()


def test_one_folder_and_paths_are_taken_as_a_list_of_names(run_folder: Path, tmp_path: Path) -> None:
    listed = report([str(run_folder)], out=str(tmp_path / "page.html")).read_text()
    assert report(run_folder, out=tmp_path / "page.html").read_text() == listed  # type: ignore[arg-type]


def test_importing_reports_loads_nothing_heavy() -> None:
    code = (
        "import sys, rotogbml.reports;"
        "print([m for m in ('torch', 'numpy', 'matplotlib', 'PIL', 'jinja2', 'rich', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_probabilities_and_seconds_have_a_table_of_their_own(run_folder: Path) -> None:
    folder = run_folder / "evaluation"
    tree = json.loads((folder / "results.json").read_text())
    for i, row in enumerate(tree["rows"]):
        row |= {"ece": 0.01 * i, "brier": 0.25, "brier_ci95": 0.01}
    (folder / "results.json").write_text(json.dumps(tree))
    key = tree["rows"][0]["key"]
    (folder / "timing.json").write_text(json.dumps({key: {"adapt_seconds": 0.1234, "predict_seconds": 0.002}}))
    section = Page(report([str(run_folder)])).section("results")
    for cell in ("ECE %", "7.00", "0.2500 ± 0.0100", "0.1234", "2.000"):
        assert cell in section
    (folder / "timing.json").write_text("{")
    page = Page(report([str(run_folder)]))
    assert "timing.json is damaged and was left out." in page.text
    assert "adapt, s" not in page.section("results")
