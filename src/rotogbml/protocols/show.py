"""A protocol as people read it."""

from __future__ import annotations

import json
import textwrap
from typing import Any, Literal, get_args

from rotogbml.errors import UsageError, did_you_mean
from rotogbml.protocols.protocol import Protocol
from rotogbml.protocols.tree import tree

Format = Literal["text", "markdown", "json"]
WIDTH = 110


def render(protocol: Protocol, format: Format) -> str:
    """Return a protocol as one string that ends in a line feed.

    Raises:
        UsageError: there is no such format.
    """
    if format not in get_args(Format):
        known = get_args(Format)
        raise UsageError(f"no format '{format}'{did_you_mean(format, known)}: there are {', '.join(known)}")
    whole = tree(protocol)
    if format == "json":
        return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    return (_text if format == "text" else _markdown)(whole)


def _facts(whole: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return headings and what stands under each, a line each."""
    e, task = whole["evaluation"], whole["task"]
    tasks = whole["minibatch"]["tasks"]
    beta = "not a matter of this protocol" if whole["beta"] is None else f"{whole['beta']:g}"
    shots = e["shots"] if isinstance(e["shots"], str) else ", ".join(map(str, e["shots"]))
    several = {**whole["steps"]}
    otherwise = several.pop("otherwise")
    steps = [f"{n:,} for {k}" for k, n in several.items()] + [f"{otherwise:,}{' otherwise' if several else ''}"]
    return [
        ("from", [whole["origin"]]),
        ("suite", [f"{whole['suite']}: {whole['suite_is']}"]),
        ("training", [_part(part) for part in whole["training"]]),
        ("validation", [_part(part) for part in whole["validation"]] or ["none: the last state counts"]),
        ("test", [_part(part) for part in whole["test"]]),
        ("minibatch", [f"{tasks} {'tasks' if tasks > 1 else 'task'}, {whole['minibatch']['mix']}"]),
        ("task", [f"{task['n_way']}-way {task['k_shot']}-shot, {task['n_query']} queries a class"]),
        ("groups", [f"{task['groups']} (lesions, leaves, patients, where a pack names them), in training and test"]),
        ("iterations", [", ".join(steps)]),
        ("augmentation", [whole["augmentation"]]),
        ("encoder", [f"{whole['encoder']}, {whole['size']} px"]),
        ("beta of omega", [beta]),
        ("evaluation", [f"{e['episodes']:,} episodes, {e['n_query']} queries a class, shots: {shots}"]),
        ("readings", [", ".join(f"{name} {value}" for name, value in whole["readings"].items())]),
    ]


def _part(part: dict[str, Any]) -> str:
    called = " or ".join(f"'{name}'" for name in part["sources"])
    if "stand_in" in part:
        return f"{part['dataset']}, {part['classes']} classes: stand-in {called} ({part['stand_in']})"
    images = "" if part["images"] is None else f", {part['images']:,} images"
    return f"{part['dataset']}: {_classes(part)}{images} ({part['title']}; {part['rule']})"


def _classes(part: dict[str, Any]) -> str:
    if part["count"] is None:
        return f"{part['classes']} classes, as the pack splits them"
    if part["classes"] == "all":
        return f"all {part['count']:,} classes"
    return f"{part['count']:,} {part['classes']} classes"


def _text(whole: dict[str, Any]) -> str:
    called = whole["protocol"] + (f", target {whole['target']}" if whole["target"] else "")
    lines = [f"{called}: {whole['title']}", ""]
    for heading, body in _facts(whole):
        for i, line in enumerate(body):
            lines += textwrap.wrap(
                line,
                WIDTH,
                initial_indent=f"{heading if i == 0 else '':<15}",
                subsequent_indent=" " * 17,
                break_on_hyphens=False,
            )
    lines += ["", "what it says"]
    lines += [line for said in whole["says"] for line in _wrapped(said, "- ")]
    lines += ["", "what it leaves open"]
    for question in whole["leaves_open"]:
        lines += _wrapped(question["about"], "- ")
        for name in ("evidence", "reading", "switch"):
            lines += _wrapped(question[name], f"    {name:<10}")
    return "\n".join(lines) + "\n"


def _wrapped(said: str, start: str) -> list[str]:
    return textwrap.wrap(said, WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)


def _markdown(whole: dict[str, Any]) -> str:
    called = f"`{whole['protocol']}`" + (f", target `{whole['target']}`" if whole["target"] else "")
    lines = [f"### {called}", "", f"{whole['title'].capitalize()}.", "", "| what | value |", "|---|---|"]
    lines += [f"| {heading} | {'<br>'.join(map(_cell, body))} |" for heading, body in _facts(whole)]
    lines += ["", "What it says:", "", *(f"- {said}" for said in whole["says"])]
    lines += ["", "| left open | evidence | reading | otherwise |", "|---|---|---|---|"]
    columns = ("about", "evidence", "reading")
    for question in whole["leaves_open"]:
        cells = [_cell(question[name]) for name in columns]
        lines.append(f"| {' | '.join(cells)} | {_cell(question['switch'])} |")
    return "\n".join(lines) + "\n"


def _cell(said: str) -> str:
    return said.replace("|", "\\|").replace("*", "\\*")
