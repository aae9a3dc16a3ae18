"""What processes say to each other: everything arrives, in order, and what fails in one fails in all."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from benchmarks.wires import Counting, ends, played
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rotogbml.errors import LostError, UsageError
from rotogbml.training.interrupt import Interrupted
from rotogbml.training.ranks import ALONE, BLOCK, Ranks

worlds = st.integers(1, 6)


def of_tasks(ranks: Ranks, n: int, width: int, seed: int = 0) -> Tensor:
    """Return this rank's rows of a made-up [n, width]."""
    whole = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return whole[list(ranks.share(n))]


@given(worlds, st.integers(0, 13))
def test_every_task_is_somebodys(world: int, n: int) -> None:
    shares = [Ranks(Counting(world)).share(n)] if world == 1 else played(world, lambda ranks: ranks.share(n))
    assert sorted(i for share in shares for i in share) == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@settings(deadline=None, max_examples=25)
@given(worlds, st.integers(1, 9), st.integers(0, 3000))
def test_what_tasks_tell_arrives_in_their_order(world: int, n: int, length: int) -> None:
    def tell(ranks: Ranks) -> list[tuple[int, Tensor, dict[str, str]]]:
        return ranks.gather(
            lambda: [(i, torch.full((length + i,), float(i)), {"said": "x" * length}) for i in ranks.share(n)], n
        )

    for heard in played(world, tell):
        assert [i for i, *_ in heard] == list(range(n))
        assert all(torch.equal(u, torch.full((length + i,), float(i))) for i, u, _ in heard)


@settings(deadline=None, max_examples=25)
@given(worlds, st.integers(1, 9), st.sampled_from([1, 7, BLOCK, 3 * BLOCK + 5, 20 * BLOCK + 1]), st.booleans())
def test_columns_joined_are_the_whole(world: int, n: int, width: int, mean: bool) -> None:
    """To the bit the mean, or the weighted sum, of the rows in one piece."""
    whole = [of_tasks(ALONE, n, width, seed) for seed in range(2)]
    weights = torch.rand(n, generator=torch.Generator().manual_seed(9))

    def reduced(part: Tensor) -> Tensor:
        return part.mean(0) if mean else weights @ part / n

    def work(ranks: Ranks) -> list[Tensor]:
        columns = ranks.columns([of_tasks(ranks, n, width, seed) for seed in range(2)], n)
        assert all(len(part) == n for part in columns)
        return ranks.join([reduced(part) for part in columns], [width, width])

    for joined in played(world, work):
        for vector, rows in zip(joined, whole, strict=True):
            assert torch.equal(vector, reduced(rows))


@pytest.mark.parametrize("world", [1, 3])
def test_what_is_agreed_on_is_the_firsts(world: int) -> None:
    made: list[int] = []

    def work(ranks: Ranks) -> Any:
        def make() -> dict[str, Any]:
            made.append(ranks.rank)
            return {"state": torch.arange(5.0), "scalar": torch.tensor(3), "strided": torch.ones(2, 3, 4, 4)}

        return ranks.agree(make)

    for heard in played(world, work):
        assert torch.equal(heard["state"], torch.arange(5.0))
        assert heard["scalar"].item() == 3
    assert made == [0]


def test_numbers_of_each_and_sums() -> None:
    heard = played(3, lambda ranks: (ranks.each([ranks.rank, True]), ranks.sum([1.0, float(ranks.rank)])))
    assert heard == [([[0, 1], [1, 1], [2, 1]], [3.0, 3.0])] * 3
    assert (ALONE.each([2.5]), ALONE.sum([2.5])) == ([[2.5]], [2.5])


class UntoldError(Exception):
    """Cannot be made again from its words: it needs two."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")

    def __copy__(self) -> UntoldError:
        return UntoldError(1, 2)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (UsageError("steps is 0"), UsageError, "steps is 0"),
        (RuntimeError("can't allocate memory"), RuntimeError, "can't allocate memory"),
        (UntoldError(1, 2), RuntimeError, "UntoldError: 1 and 2"),
    ],
)
@pytest.mark.parametrize("where", ["gather", "together", "agree"])
def test_what_fails_in_one_fails_in_all_and_the_first_says_it(
    error: Exception, kind: type[Exception], said: str, where: str
) -> None:
    failing, error = 0 if where == "agree" else 1, copy.copy(error)

    def work(ranks: Ranks) -> None:
        def make() -> Any:
            if ranks.rank == failing:
                raise error
            return [1]

        if where == "gather":
            ranks.gather(make, 3)
        elif where == "together":
            ranks.together(make)
        else:
            ranks.agree(make)

    out = ends(3, work)
    for rank, raised in enumerate(out):
        assert type(raised) is (type(error) if rank == failing else kind)
        assert str(raised) == (str(error) if rank == failing else said)
        assert getattr(raised, "silent", False) is (rank > 0)


def test_the_first_process_that_fails_is_heard() -> None:
    def work(ranks: Ranks) -> None:
        def make() -> None:
            if ranks.rank:
                raise UsageError(f"process {ranks.rank}")

        ranks.together(make)

    assert [str(end) for end in ends(3, work)] == ["process 1"] * 3


def test_alone_nothing_is_caught_copied_or_asked() -> None:
    groups = [torch.ones(2, 3)]
    assert ALONE.columns(groups, 2) is groups
    assert ALONE.join(groups, [3]) is groups
    with pytest.raises(ZeroDivisionError):
        ALONE.gather(lambda: [1 // 0], 1)
    assert ALONE.first
    assert not vars(ALONE.shared(Interrupted("stopped"))).get("silent")


def test_who_cannot_be_reached_is_told_to_nobody() -> None:
    """A wire that is cut is not asked once more to say so."""
    wire = Counting(2)

    def cut(*_: Any) -> Any:
        raise LostError("gone")

    wire.all_gather = cut  # ty: ignore[invalid-assignment]
    ranks = Ranks(wire)
    with pytest.raises(LostError, match="gone"):
        ranks.gather(lambda: ranks.gather(lambda: [1], 2), 2)
