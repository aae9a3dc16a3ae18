"""The dump of a protocol against what the papers and code bases say, written down by hand."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from rotogbml.cli import main
from rotogbml.protocols import DATASETS, create_protocol, list_protocols, targets_of

STRONG_CARS = {
    "protocol": "strong",
    "suite": "paper",
    "target": "cars",
    "training": [
        ("miniimagenet", "base", "train", 64, 38_400),
        ("cub", "base", "train", 100, 5_885),
        ("places", "base", "train", 183, 36_600),
        ("plantae", "base", "train", 100, None),
        ("cropdiseases", "all", "all", 38, 43_456),
        ("eurosat", "all", "all", 10, 27_000),
        ("isic", "all", "all", 7, 10_015),
        ("chestx", "all", "all", 7, 25_848),
    ],
    "validation": [("miniimagenet", "validation", "val", 16, 9_600)],
    "test": [("cars", "novel", "test", 49, 2_027)],
    "minibatch": {"tasks": 4, "mix": "one-source-per-task"},
    "task": {"n_way": 5, "k_shot": 1, "n_query": 15, "groups": "apart"},
    "steps": {"1-shot": 60_000, "5-shot": 40_000, "otherwise": 60_000},
    "augmentation": "closer-look",
    "encoder": "resnet10",
    "size": 224,
    "beta": 1.5,
    "evaluation": {"shots": "as in training", "n_query": 15, "episodes": 2_000},
    "readings": {
        "pool": "all8",
        "draw": "without-replacement",
        "unsplit": "all",
        "test": "novel",
        "validation": "mini",
        "evaluation": "lrp",
        "size": 224,
    },
}
WEAK_CUB = {
    "protocol": "weak",
    "suite": "paper",
    "target": "cub",
    "training": [("cub", "base", "train", 100, 5_885)],
    "validation": [("cub", "validation", "val", 50, 2_950)],
    "test": [("cub", "novel", "test", 50, 2_953)],
    "minibatch": {"tasks": 4, "mix": "single-source"},
    "task": {"n_way": 5, "k_shot": 1, "n_query": 15, "groups": "apart"},
    "steps": {"1-shot": 60_000, "5-shot": 40_000, "otherwise": 60_000},
    "augmentation": "closer-look",
    "encoder": "conv4",
    "size": 84,
    "beta": 0.1,
    "evaluation": {"shots": "as in training", "n_query": 15, "episodes": 600},
    "readings": {"validation": "own", "evaluation": "closer-look", "size": 84},
}


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["protocol", "show", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def dumped(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    tree = json.loads(shown([*arguments, "--format", "json"], capsys))
    for name in ("training", "validation", "test"):
        tree[name] = [
            tuple(part.get(key) for key in ("dataset", "classes", "split", "count", "images")) for part in tree[name]
        ]
    return tree


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["strong", "--target", "cars"], STRONG_CARS), (["weak", "--target", "cub"], WEAK_CUB)],
)
def test_the_dump_is_what_the_papers_say(
    arguments: list[str], expected: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    tree = dumped(arguments, capsys)
    assert {name: tree[name] for name in expected} == expected
    assert set(tree) - set(expected) == {"title", "origin", "suite_is", "says", "leaves_open"}


def test_what_is_left_open_has_evidence_a_reading_and_a_switch(capsys: pytest.CaptureFixture[str]) -> None:
    """Every row of the specification's table of open questions is there."""
    tree = dumped(["strong", "--target", "cars"], capsys)
    asked = " ".join(question["about"] for question in tree["leaves_open"])
    for about in ("pool", "drawn", "classes of the training", "target", "test classes", "selection", "iterations"):
        assert about in asked
    for about in ("adaptation", "queries", "augmentation", "image size", "batch norm"):
        assert about in asked
    for name in list_protocols():
        for question in create_protocol(name, targets_of(name)[0]).questions:
            assert min(map(len, vars(question).values())) > 2


def test_text_and_markdown_hold_what_json_holds(capsys: pytest.CaptureFixture[str]) -> None:
    tree = json.loads(shown(["strong", "--target", "cars", "--format", "json"], capsys))
    for form in ("text", "markdown"):
        page = " ".join(shown(["strong", "--target", "cars", "--format", form], capsys).replace("\\", "").split())
        for part in tree["training"]:
            images = f", {part['images']:,} images" if part["images"] else ""
            words = ("all", part["count"]) if part["classes"] == "all" else (part["count"], part["classes"])
            assert f"{part['dataset']}: {words[0]} {words[1]} classes{images}" in page
        assert "cars: 49 novel classes, 2,027 images" in page
        assert "60,000 for 1-shot, 40,000 for 5-shot" in page
        assert "2,000 episodes, 15 queries a class, shots: as in training" in page
        for question in tree["leaves_open"]:
            for said in question.values():
                assert " ".join(said.split()) in page
        for said in tree["says"]:
            assert said in page


def test_text_is_as_wide_as_a_terminal_and_markdown_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    for name in list_protocols():
        arguments = [name, "--target", targets_of(name)[0]]
        assert max(map(len, shown(arguments, capsys).splitlines())) <= 120
        page = shown([*arguments, "--format", "markdown"], capsys)
        tables = [line for line in page.splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {3, 5}


@pytest.mark.parametrize(
    ("pool", "trained", "mix"),
    [
        ("natural4", {"miniimagenet", "cub", "places", "plantae"}, "one-source-per-task"),
        ("mini-only", {"miniimagenet"}, "single-source"),
    ],
)
def test_a_smaller_pool(pool: str, trained: set[str], mix: str, capsys: pytest.CaptureFixture[str]) -> None:
    tree = dumped(["strong", "--target", "cars", "--pool", pool], capsys)
    assert {part[0] for part in tree["training"]} == trained
    assert (tree["minibatch"]["mix"], tree["readings"]["pool"]) == (mix, pool)


def test_the_suite_core_is_labelled_as_stand_ins(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["strong", "--target", "cars", "--suite", "core"]
    tree = json.loads(shown([*arguments, "--format", "json"], capsys))
    assert tree["suite_is"].startswith("STAND-INS")
    assert (tree["encoder"], tree["size"]) == ("resnet10-small", 84)
    for part in tree["training"]:
        assert part["stand_in"]
        assert "count" not in part  # the published numbers are not theirs
    page = shown(arguments, capsys)
    assert "STAND-INS" in page
    assert "'imagenet' or 'tiny-imagenet'" in page


def test_prior_protocols_have_their_own_numbers() -> None:
    closer, bscd, cdfsl = (create_protocol(name) for name in ("closer-look", "bscd-fsl", "cdfsl"))
    assert [(p.dataset, p.classes) for p in closer.training] == [("miniimagenet", "all")]
    assert [(p.dataset, p.classes) for p in closer.validation] == [("cub", "validation")]
    assert (closer.evaluation.episodes, closer.evaluation.n_query, closer.n_query) == (600, 15, 16)
    assert (closer.steps_for(1), closer.steps_for(5), closer.encoder) == (60_000, 40_000, "resnet18")
    assert [p.dataset for p in bscd.evaluation.parts] == ["cropdiseases", "eurosat", "isic", "chestx"]
    assert (bscd.evaluation.shots, bscd.evaluation.episodes, bscd.evaluation.n_query) == ((5, 20, 50), 600, 15)
    assert (bscd.validation, bscd.steps_for(5), bscd.tasks_per_batch) == ((), 40_000, 1)
    assert [p.dataset for p in cdfsl.training] == ["miniimagenet"]
    assert [(p.dataset, p.classes) for p in cdfsl.evaluation.parts] == [
        *((name, "novel") for name in ("cub", "cars", "places", "plantae")),
        *((name, "all") for name in ("cropdiseases", "eurosat", "isic", "chestx")),
    ]
    assert (cdfsl.evaluation.shots, cdfsl.evaluation.episodes, cdfsl.evaluation.n_query) == ((1, 5), 2_000, 16)
    assert all(p.encoder == "resnet10" and p.size == 224 for p in (bscd, cdfsl))


def test_groups_are_ignored_where_the_published_code_does_so_and_a_reading_keeps_them_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("closer-look", "bscd-fsl", "cdfsl"):
        for reading, given in (("ignored", []), ("apart", ["--readings.groups", "apart"])):
            tree = json.loads(shown([name, *given, "--format", "json"], capsys))
            assert (tree["task"]["groups"], tree["readings"]["groups"]) == (reading, reading)
            asked = [question for question in tree["leaves_open"] if "lesion" in question["about"]]
            assert [question["switch"] for question in asked] == ["--readings.groups ignored|apart"]
            assert re.search(rf"groups +{reading} \(lesions, leaves, patients", shown([name, *given], capsys))
    for name in ("weak", "strong"):
        tree = json.loads(shown([name, "--target", "cub", "--format", "json"], capsys))
        assert tree["task"]["groups"] == "apart"
        assert "the paper says nothing" in json.dumps(tree["leaves_open"][-1])
        assert main(["protocol", "show", name, "--target", "cub", "--readings.groups", "ignored"]) == 2
        assert "readings.groups is no question of protocol" in capsys.readouterr().err


def test_cdfsls_question_of_the_start_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {question.about: question.switch for question in create_protocol("cdfsl").questions}
    assert "--method.start RUN|FILE|hub:OWNER/NAME/FILE" in asked["where the encoder starts"]


def test_published_counts_add_up() -> None:
    for dataset in DATASETS.values():
        if dataset.split is not None:
            assert sum(dataset.split) == dataset.classes
        if dataset.images_of is not None:
            assert sum(dataset.images_of) == dataset.images


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protocol", "list"]) == 0
    page = capsys.readouterr().out
    for name in (*list_protocols(), *DATASETS, "birds", "scenes", "plants", "imagenet"):
        assert name in page
