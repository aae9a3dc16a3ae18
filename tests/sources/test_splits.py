from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotogbml.errors import UsageError
from rotogbml.sources.containers import Container
from rotogbml.sources.splits import default_split, read_split_file, split_classes
from rotogbml.sources.tree import Entry, FoundSource

NAMES = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=120, unique=True)


def found(name: str, classes, **folders: str) -> FoundSource:
    entries = tuple(Entry(f"{c}/1.png", c, "", 0, 0) for c in sorted(classes))
    splits = {label: frozenset(where.split()) for label, where in folders.items()}
    return FoundSource(name, Container("folder", Path()), entries, splits, "")


class TestDefault:
    @given(classes=NAMES, seed=st.integers(0, 5), n_way=st.integers(2, 10))
    def test_every_class_stands_in_one_split(self, classes, seed, n_way):
        splits = default_split("s", classes, seed=seed, n_way=n_way).splits
        members = [c for split in splits.values() for c in split]
        assert sorted(members) == sorted(classes)
        assert all(split == sorted(split) for split in splits.values())
        if len(classes) < 3 * n_way:
            assert list(splits) == ["all"]
        else:
            assert list(splits) == ["train", "val", "test"]
            assert min(map(len, splits.values())) >= n_way

    @given(classes=NAMES, seed=st.integers(0, 5), order=st.randoms(use_true_random=False))
    def test_depends_on_seed_name_and_classes_alone(self, classes, seed, order):
        shuffled = list(classes)
        order.shuffle(shuffled)
        assert default_split("s", classes, seed=seed, n_way=5) == default_split("s", shuffled, seed=seed, n_way=5)

    @pytest.mark.parametrize(
        ("n", "sizes"), [(100, [64, 16, 20]), (50, [32, 8, 10]), (15, [5, 5, 5]), (20, [10, 5, 5])]
    )
    def test_shares(self, n, sizes):
        splits = default_split("s", [f"{i:03}" for i in range(n)], seed=0, n_way=5).splits
        assert [len(splits[split]) for split in ("train", "val", "test")] == sizes

    def test_other_seed_or_source_other_split(self):
        classes = [str(i) for i in range(100)]
        drawn = [
            default_split(name, classes, seed=seed, n_way=5).splits for name, seed in [("a", 0), ("a", 1), ("b", 0)]
        ]
        assert len({tuple(d["test"]) for d in drawn}) == 3

    def test_too_few_is_said(self):
        split = default_split("s", list("abcdefg"), seed=0, n_way=5)
        assert "usable only for training or only as a target" in split.rule


class TestFolders:
    def test_win_over_the_default(self):
        source = found("s", "abc", a="train", b="val", c="test")
        split = split_classes(source, "abc", file=None, seed=0, n_way=2)
        assert split.splits == {"train": ["a"], "val": ["b"], "test": ["c"]}
        assert "folders" in split.rule
        assert len(split.notes) == 3
        assert "1 classes in 'train', fewer than n_way = 2" in split.notes[0]

    def test_a_class_in_two_is_named(self):
        source = found("s", "ab", a="train test", b="train")
        with pytest.raises(UsageError, match=r"'s'.*class 'a' lies in the folders test and train.*--split"):
            split_classes(source, "ab", file=None, seed=0, n_way=5)

    def test_a_dropped_class_leaves_its_split(self):
        source = found("s", "abc", a="train", b="train", c="test")
        assert split_classes(source, "ac", file=None, seed=0, n_way=1).splits == {"train": ["a"], "test": ["c"]}


class TestFile:
    @pytest.fixture
    def read(self, tmp_path):
        def read(given, *sources):
            path = tmp_path / "mine.json"
            path.write_text(given if isinstance(given, str) else json.dumps(given), encoding="utf-8")
            return read_split_file(path, sources or (found("birds", ["crow", "owl", "jay"]), found("cars", "ab")))

        return read

    def test_wins_over_folders_and_default(self, read):
        source = found("s", "abc", a="train test", b="val", c="test")
        file = read({"s": {"train": ["b"], "test": ["a", "c"]}}, source)
        split = split_classes(source, "abc", file=file, seed=0, n_way=1)
        assert split.splits == {"train": ["b"], "test": ["a", "c"]}
        assert split.rule.startswith("given by the split file mine.json (sha256 ")

    def test_a_source_that_it_does_not_name_keeps_the_default(self, read):
        file = read({"birds": {"all": ["crow", "owl", "jay"]}})
        cars = found("cars", "ab")
        assert split_classes(cars, "ab", file=file, seed=0, n_way=5) == default_split("cars", "ab", seed=0, n_way=5)

    def test_a_single_source_needs_no_name(self, read):
        source = found("s", "ab")
        file = read({"train": ["a"], "test": ["b"]}, source)
        assert split_classes(source, "ab", file=file, seed=0, n_way=1).splits == {"train": ["a"], "test": ["b"]}
        with pytest.raises(UsageError, match="names no source, and there are 2"):
            read({"train": ["a"]})

    def test_a_missing_class_is_said(self, read):
        source = found("birds", ["crow", "owl", "jay"])
        split = split_classes(source, source.classes, file=read({"birds": {"all": ["owl"]}}), seed=0, n_way=1)
        assert split.splits == {"all": ["owl"]}
        assert any("2 classes stand in no split ('crow', 'jay')" in note for note in split.notes)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("{", "cannot be read as JSON"),
            ([], "holds no object"),
            ({"bird": {}}, r"no source 'bird' \(did you mean 'birds'\?\)"),
            ({"birds": {"train": ["crowe"]}}, r"source 'birds': no class 'crowe' \(did you mean 'crow'\?\)"),
            ({"birds": {"trian": ["crow"]}}, r"no split 'trian' \(did you mean 'train'\?\)"),
            ({"birds": {"train": ["crow"], "val": ["crow"]}}, "class 'crow' stands in 'train' and again in 'val'"),
            ({"birds": {"train": ["crow", "crow"]}}, "class 'crow' stands in 'train' and again in 'train'"),
            ({"birds": {"all": ["crow"], "val": ["owl"]}}, "'all' cannot stand beside"),
            ({"birds": {"train": [0, 1]}}, "'train' must be a list of class names"),
            ({"birds": {"train": "crow"}}, "'train' must be a list of class names"),
            ({"birds": ["crow"]}, "expected"),
            ({"birds": {"train": []}}, "no class in any split"),
        ],
    )
    def test_what_does_not_fit(self, read, given, message):
        with pytest.raises(UsageError, match=message):
            read(given)

    def test_absent(self, tmp_path):
        with pytest.raises(UsageError, match="no split file at"):
            read_split_file(tmp_path / "absent.json", ())
