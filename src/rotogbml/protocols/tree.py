"""A protocol as a tree of plain values: what ``--format json`` prints, and what the other formats are made of."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rotogbml.protocols.datasets import SPLIT_OF, SUITES
from rotogbml.protocols.protocol import Part, Protocol, groups_in_words


def tree(protocol: Protocol) -> dict[str, Any]:
    """Return all of a protocol."""
    p, e = protocol, protocol.evaluation
    return {
        "protocol": p.name,
        "title": p.title,
        "origin": p.origin,
        "suite": p.suite,
        "suite_is": SUITES[p.suite],
        "target": p.target or None,
        "readings": dict(p.readings),
        "training": [_part(part, p) for part in p.training],
        "validation": [_part(part, p) for part in p.validation],
        "test": [_part(part, p) for part in e.parts],
        "minibatch": {"tasks": p.tasks_per_batch, "mix": p.mix},
        "task": {
            "n_way": p.n_way,
            "k_shot": p.k_shot,
            "n_query": p.n_query,
            "groups": groups_in_words(p.respect_groups),
        },
        "steps": {**{f"{k}-shot": steps for k, steps in p.steps.items()}, "otherwise": p.other_steps},
        "augmentation": p.augment,
        "encoder": p.encoder,
        "size": p.size,
        "beta": p.beta,
        "evaluation": {
            "shots": list(e.shots) or "as in training",
            "n_query": e.n_query,
            "episodes": e.episodes,
        },
        "says": list(p.says),
        "leaves_open": [asdict(question) for question in p.questions],
    }


def _part(part: Part, protocol: Protocol) -> dict[str, Any]:
    d = part.of
    common = {"dataset": d.name, "title": d.title, "classes": part.classes, "split": SPLIT_OF[part.classes]}
    if protocol.suite == "core":
        # What a pack of stand-ins holds is up to how it was packed: nothing was published of it.
        return {**common, "stand_in": d.stand_in, "sources": list(d.stands_in)}
    unsplit = d.split is None and part.classes != "all"
    return {
        **common,
        "count": None if unsplit else d.count(part.classes),
        "images": None if unsplit else d.count_images(part.classes),
        "rule": d.rule,
        "sources": list(d.aliases),
    }
