from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotogbml.errors import UsageError
from rotogbml.sources.groups import joined
from rotogbml.sources.packed import open_pack, open_source, pack_digest
from rotogbml.sources.writer import write_source


def components(images: list[tuple[str, str]]) -> list[set[int]]:
    """Return what belongs together, by walking from image to image."""
    near = defaultdict(set)
    for i, (name, digest) in enumerate(images):
        for j, (other, same) in enumerate(images):
            if i == j or (name and name == other) or (digest and digest == same):
                near[i].add(j)
    left, found = set(range(len(images))), []
    while left:
        reached, new = set(), {left.pop()}
        while new:
            reached |= new
            new = set().union(*(near[i] for i in new)) - reached
        left -= reached
        found.append(reached)
    return found


@given(st.lists(st.tuples(st.sampled_from(["", "", "p", "q", "r"]), st.sampled_from("abcdefgh")), max_size=12))
def test_joined_by_name_or_by_bytes(images: list[tuple[str, str]]) -> None:
    names = joined(images)
    together = components(images)
    if names is None:
        assert all(len(some) == 1 for some in together)
        assert not any(name for name, _ in images)
        return
    own = [name or f"alone {i}" for i, name in enumerate(names)]
    for some in together:
        assert len({own[i] for i in some}) == 1
        declared = {images[i][0] for i in some} - {""}
        assert not declared or own[min(some)] in declared
    assert len(set(own)) == len(together)


@pytest.fixture
def arguments() -> dict:
    images = np.arange(4 * 16 * 16 * 3, dtype=np.uint8).reshape(4, 16, 16, 3)
    return {
        "name": "s",
        "size": 16,
        "images": images,
        "classes": ["a", "b"],
        "offsets": [0, 2, 4],
        "splits": {"all": ["a", "b"]},
        "split_rule": "",
        "inputs": [],
        "made": {},
    }


def test_a_pack_keeps_groups(tmp_path: Path, arguments: dict) -> None:
    plain = write_source(tmp_path / "one/s", **arguments)
    assert plain.groups is None
    assert "groups" not in json.loads((tmp_path / "one/s/source.json").read_text())
    source = write_source(tmp_path / "two/s", **arguments, groups=["x", "", "x", ""])
    assert source.groups is not None
    assert source.groups.tolist() == [0, 1, 0, 2]
    assert pack_digest(open_pack(tmp_path / "one")) != pack_digest(open_pack(tmp_path / "two"))


def test_groups_that_do_not_fit_are_damage(tmp_path: Path, arguments: dict) -> None:
    with pytest.raises(ValueError, match="3 groups for 4 images"):
        write_source(tmp_path / "s", **arguments, groups=["x"] * 3)
    write_source(tmp_path / "s", **arguments, groups=["x"] * 4)
    file = tmp_path / "s/source.json"
    file.write_text(file.read_text().replace('["x", "x", "x", "x"]', '["x"]'))
    with pytest.raises(UsageError, match="1 groups for 4 images"):
        open_source(tmp_path / "s")
